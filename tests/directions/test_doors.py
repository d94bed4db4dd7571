"""Directions from other tools' files and into them: round trips, and what is refused."""

import contextlib
import os
import pickle
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import personascope as ps
from personascope.cli.main import run
from personascope.directions.doors import export_directions, import_directions, load_directions
from personascope.directions.gguf import read_gguf

HIDDEN = 8


def directions(layers: tuple[int, ...] = (1, 2, 5), name: str = "evil", of: int = 8) -> ps.DirectionSet:
    vectors = torch.randn(len(layers), HIDDEN, generator=torch.Generator().manual_seed(sum(layers)))
    return ps.DirectionSet(name, layers, vectors, provenance={"layers": of, "model": "tiny"})


@pytest.mark.parametrize("ending", [".gguf", ".pt", ".npz", ".safetensors"])
def test_what_goes_out_comes_in_again(ending: str, tmp_path: Path) -> None:
    one = directions()
    # GGUF and ours keep the name inside the file.
    name = {".pt": "evil_response_avg_diff", ".npz": "evil"}.get(ending, "mine")
    written = export_directions(one, tmp_path / f"{name}{ending}")
    (back,) = import_directions(written)
    assert back.name == "evil"
    assert back.layers == one.layers
    assert torch.equal(back.vectors, one.vectors)
    assert [path.name for path in tmp_path.iterdir()] == [written.name], "nothing else is left behind"


@given(st.sets(st.integers(1, 90), min_size=1, max_size=9))
def test_gguf_is_what_its_own_library_reads(tmp_path_factory: pytest.TempPathFactory, layers: set[int]) -> None:
    path = tmp_path_factory.mktemp("gguf") / "evil.gguf"
    one = directions(tuple(sorted(layers)))
    export_directions(one, path)
    reader = gguf.GGUFReader(path)
    assert bytes(reader.fields["general.architecture"].parts[-1]).decode() == "controlvector"
    assert bytes(reader.fields["controlvector.model_hint"].parts[-1]).decode() == "tiny"
    assert int(reader.fields["controlvector.layer_count"].parts[-1][0]) == len(layers)
    # llama.cpp adds direction.N to the output of block N.
    found = {int(tensor.name.removeprefix("direction.")): tensor.data for tensor in reader.tensors}
    assert set(found) == layers
    for layer, values in found.items():
        np.testing.assert_array_equal(values, one[layer].vector.numpy())


def test_gguf_that_its_own_library_writes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "happy.gguf"
    writer = gguf.GGUFWriter(path, "controlvector")
    writer.add_string("controlvector.model_hint", "mistral")
    writer.add_uint32("controlvector.layer_count", 2)
    writer.add_array("general.tags", ["one", "two"])
    rows = {3: np.arange(HIDDEN, dtype=np.float32), 7: np.ones(HIDDEN, dtype=np.float32)}
    for layer, values in rows.items():
        writer.add_tensor(f"direction.{layer}", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    (one,) = import_directions(path)
    assert one.name == "happy"
    assert one.provenance["model_hint"] == "mistral"
    assert one.layers == (3, 7)
    for layer, values in rows.items():
        np.testing.assert_array_equal(one[layer].vector.numpy(), values)


@given(st.data())
def test_a_gguf_cut_short_or_damaged_is_refused_in_one_sentence(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("gguf") / "evil.gguf"
    export_directions(directions(), path)
    whole = path.read_bytes()
    if data.draw(st.booleans()):
        path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 64))])
        with pytest.raises(ps.UserError, match="is not a GGUF control vector"):
            read_gguf(path)
        return
    place = data.draw(st.integers(0, 300))
    path.write_bytes(whole[:place] + bytes([data.draw(st.integers(0, 255))]) + whole[place + 1 :])
    # Some damage, such as a number in a vector, cannot be seen; what is seen must not come as another error.
    with contextlib.suppress(ps.UserError):
        read_gguf(path)


def test_the_rows_of_persona_vectors_are_one_more_than_the_blocks(tmp_path: Path) -> None:
    rows = torch.arange(5.0)[:, None].expand(5, HIDDEN) + 1
    torch.save(rows.clone(), tmp_path / "sycophantic_prompt_last_diff.pt")
    (one,) = import_directions(tmp_path / "sycophantic_prompt_last_diff.pt")
    assert one.name == "sycophantic"
    assert one.layers == (0, 1, 2)
    for layer in one.layers:
        assert torch.equal(one[layer].vector, rows[layer + 1])
    assert one.provenance["tokens"] == "prompt[-1]"
    assert "row r of 5 is block r - 1" in one.provenance["rows"]
    back = torch.load(export_directions(one, tmp_path / "again.pt"), weights_only=True)
    assert back.shape == rows.shape and back.dtype == torch.float32
    assert torch.equal(back[1:-1], rows[1:-1])


def test_bundles_roles_axes_and_caps(tmp_path: Path) -> None:
    contrast = torch.randn(2, 3, HIDDEN)
    torch.save(
        {
            "activations": contrast,
            "contrast_vectors": contrast,
            "persona_names": ["pirate", "chef"],
            "personas": {"personas": {"pirate": {"readable_name": "A pirate"}}},
        },
        tmp_path / "bundle.pt",
    )
    pirate, chef = import_directions(tmp_path / "bundle.pt")
    assert [one.digest for one in load_directions(tmp_path / "bundle.pt")] == [pirate.digest, chef.digest]
    assert (pirate.name, chef.name) == ("pirate", "chef")
    assert torch.equal(chef[2].vector, contrast[1, 2])
    assert pirate.provenance["readable_name"] == "A pirate"

    torch.save({"vector": contrast[0], "type": "role", "role": "pirate"}, tmp_path / "role.pt")
    (role,) = import_directions(tmp_path / "role.pt")
    assert role.name == "pirate" and torch.equal(role.vectors, contrast[0])

    torch.save({"axis": contrast[1], "metadata": {}}, tmp_path / "axis.pt")
    assert torch.equal(import_directions(tmp_path / "axis.pt")[0].vectors, contrast[1])

    torch.save({"vector": contrast[0, 1], "role": "pirate"}, tmp_path / "single.pt")
    with pytest.raises(ps.UserError, match="give --layer"):
        import_directions(tmp_path / "single.pt")
    assert import_directions(tmp_path / "single.pt", layer=9)[0].layers == (9,)

    caps = {
        "vectors": {"axis": {"vector": contrast[0, 0], "layer": 4}},
        "experiments": [{"id": "p25", "interventions": [{"vector": "axis", "cap": 1.5}]}],
    }
    torch.save(caps, tmp_path / "caps.pt")
    (capped,) = import_directions(tmp_path / "caps.pt")
    assert capped.layers == (4,)
    assert capped.choices["ceilings"] == {"p25": 1.5}


class Code:
    def __reduce__(self):  # type: ignore[no-untyped-def]
        return (os.system, ("touch personascope-was-here",))


def test_what_cannot_be_taken_in_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    nan = torch.ones(4, HIDDEN)
    nan[2, 1] = float("nan")
    bad = {
        "code.pt": (Code(), "holds more than tensors"),
        "list.pt": ([1, 2], "holds a list"),
        "other.pt": ({"weights": torch.ones(2)}, "none of the known kinds"),
        "bare.pt": (torch.ones(4, HIDDEN), "--as persona-vectors"),
        "nan_response_avg_diff.pt": (nan, "NaN or infinity in row 2"),
        "zero_response_avg_diff.pt": (torch.zeros(4, HIDDEN), "zeros only"),
        "bundle.pt": (
            {"contrast_vectors": torch.ones(2, 3, HIDDEN), "persona_names": ["a"]},
            "1 persona names and 2 rows",
        ),
    }
    for name, (value, said) in bad.items():
        if isinstance(value, Code):
            (tmp_path / name).write_bytes(pickle.dumps(value))
        else:
            torch.save(value, tmp_path / name)
        with pytest.raises(ps.UserError, match=said):
            import_directions(tmp_path / name)
    assert not (tmp_path / "personascope-was-here").exists()
    (tmp_path / "x.gguf").write_bytes(b"GGML")
    np.savez(tmp_path / "x.npz", weights=np.ones(3))
    for name, said in {"x.gguf": "does not begin", "x.npz": "layer.0", "x.bin": "does not exist"}.items():
        with pytest.raises(ps.UserError, match=said):
            import_directions(tmp_path / name)
    with pytest.raises(ps.UserError, match="no place for layer 0"):
        export_directions(directions((0, 1)), tmp_path / "y.gguf")
    with pytest.raises(ps.UserError, match="no row for the last of 6 blocks"):
        export_directions(directions(of=6), tmp_path / "y.pt")
    assert not (tmp_path / "y.gguf").exists()


def test_the_commands_take_in_and_give_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(torch.randn(6, HIDDEN), tmp_path / "evil_response_avg_diff.pt")
    assert run(["import", str(tmp_path / "evil_response_avg_diff.pt"), "--out", str(tmp_path / "in")]) == 0
    assert "row r of 6 is block r - 1" in capsys.readouterr().out
    target = tmp_path / "evil.gguf"
    assert run(["export", str(tmp_path / "in"), str(target), "--layers", "0-2"]) == 2
    assert "no place for layer 0" in capsys.readouterr().err
    assert run(["export", str(tmp_path / "in"), str(target)]) == 0
    assert "no place for layer 0; it is left out" in capsys.readouterr().err
    assert set(read_gguf(target).directions) == {1, 2, 3}
    assert run(["export", str(tmp_path / "in"), str(target), "--layers", "1,2-3"]) == 0
    assert set(read_gguf(target).directions) == {1, 2, 3}
    assert run(["export", str(tmp_path / "in"), str(tmp_path / "out.pt"), "--n-layers", "5"]) == 0
    assert [one.layers for one in import_directions(tmp_path / "out.pt", kind="persona-vectors")] == [(0, 1, 2, 3)]
    assert run(["export", str(tmp_path / "in"), str(target), "--trait", "good"]) == 2
    assert "there is no 'good' to export" in capsys.readouterr().err
    assert run(["export", str(tmp_path / "in"), str(target), "--layers", "3-1"]) == 2
