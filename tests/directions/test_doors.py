"""Directions from other tools' files and into them: round trips, and what is refused."""

import contextlib
import json
import os
import pickle
import struct
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

import personascope as ps
from personascope.cli.main import run
from personascope.directions.doors import export_directions, import_directions, load_directions
from personascope.directions.gguf import read_gguf
from personascope.personas import load_persona

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


def capping(**entry: object) -> dict[str, object]:
    """A capping file whose one vector, or one intervention, is as said."""
    vector = {"vector": torch.ones(HIDDEN), "layer": 4}
    intervention = {"vector": "axis", "cap": 1.5}
    return {
        "vectors": entry.get("vectors", {"axis": entry.get("vector", vector)}),
        "experiments": entry.get("experiments", [{"id": "p25", "interventions": [entry.get("by", intervention)]}]),
    }


def bundle(names: object = ("a", "b"), personas: object = None) -> dict[str, object]:
    return {
        "contrast_vectors": torch.ones(2, 3, HIDDEN),
        "persona_names": names,
        "personas": {"personas": personas or {}},
    }


TORCH = {
    "two names that are equal": (bundle(["a", "a"]), "two personas named 'a'"),
    "names that are one text": (bundle("ab"), "a list of as many texts"),
    "names that are numbers": (bundle([1, 2]), "a list of as many texts"),
    "personas that are a list": (bundle(personas=["a", "b"]), "an object for each name"),
    "personas that are texts": (bundle(personas={"a": "A"}), "an object for each name"),
    "a vector without a layer": (capping(vector={"vector": torch.ones(HIDDEN)}), "vector 'axis' has no 'layer'"),
    "a layer that is no number": (capping(vector={"vector": torch.ones(HIDDEN), "layer": "x"}), "should be a number"),
    "half a layer": (capping(vector={"vector": torch.ones(HIDDEN), "layer": 1.5}), "a whole number"),
    "an intervention without a cap": (capping(by={"vector": "axis"}), "an intervention of p25 has no 'cap'"),
    "a cap of NaN": (capping(by={"vector": "axis", "cap": float("nan")}), "the cap of p25 is nan"),
    "vectors that are a list": (capping(vectors=[torch.ones(HIDDEN)]), "an object for each name"),
    "a bare vector": (capping(vector=torch.ones(HIDDEN)), "vector 'axis' has no 'vector'"),
    "experiments that are none": (capping(experiments=3), "experiments should be a list"),
    "an experiment that is a list": (capping(experiments=[[1]]), "an experiment has no 'id'"),
    "a sparse tensor": ({"axis": torch.eye(HIDDEN).to_sparse()}, "sparse or packed"),
    "a tensor without numbers": ({"axis": torch.ones(3, HIDDEN, device="meta")}, "sparse or packed"),
    "complex numbers": ({"axis": torch.ones(3, HIDDEN, dtype=torch.complex64)}, "complex numbers"),
    "numbers beyond float32": ({"axis": torch.full((3, HIDDEN), 1e300, dtype=torch.float64)}, "NaN or infinity"),
}


@pytest.mark.parametrize(("value", "said"), TORCH.values(), ids=TORCH)
def test_a_torch_file_of_another_shape_is_one_sentence(value: object, said: str, tmp_path: Path) -> None:
    torch.save(value, tmp_path / "x.pt")
    for read in (import_directions, load_directions):
        with pytest.raises(ps.UserError, match=said):
            read(tmp_path / "x.pt")


ARRAYS = {
    "texts": ({"layer.1": np.array(["a", "b"])}, "<U1 values"),
    "complex numbers": ({"layer.1": np.ones(HIDDEN, dtype=complex)}, "complex128 values"),
    "a figure that is no digit": ({"layer.²": np.ones(HIDDEN)}, "an array 'layer.²'"),
    "a layer twice": ({"layer.1": np.ones(HIDDEN), "layer.01": np.ones(HIDDEN)}, "two arrays of layer 1"),
    "a matrix": ({"layer.1": np.ones((2, HIDDEN))}, "one-dimensional"),
    "numbers beyond float32": ({"layer.1": np.full(HIDDEN, 1e300)}, "NaN or infinity"),
    "Python objects": ({"layer.1": np.array([{}], dtype=object)}, "not a readable .npz"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("arrays", "said"), ARRAYS.values(), ids=ARRAYS)
def test_arrays_that_are_no_directions_are_one_sentence(
    arrays: dict[str, np.ndarray], said: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(ps.UserError, match=said):
        load_directions(tmp_path / "x.npz")


def damaged_files(folder: Path) -> dict[str, bytes]:
    one = directions()
    npz = export_directions(one, folder / "whole.npz").read_bytes()
    start = npz.index(one[1].vector.numpy().tobytes())
    np.save(folder / "array.npy", np.ones(HIDDEN))
    return {
        "text.pt": b"hello",
        "empty.pt": b"",
        "short.npz": npz[:-40],
        "flipped.npz": npz[:start] + bytes([npz[start] ^ 1]) + npz[start + 1 :],
        "empty.npz": b"",
        "text.npz": b"hello",
        "array.npz": (folder / "array.npy").read_bytes(),
    }


def test_damaged_files_are_one_sentence_and_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, content in damaged_files(tmp_path).items():
        (tmp_path / name).write_bytes(content)
        assert run(["import", str(tmp_path / name), "--out", str(tmp_path / "in")]) == 2, name
        said = capsys.readouterr().err
        assert f"{name} is not a readable" in said or f"{name} holds a single array" in said
        assert said.count("\n") == 1
    assert not (tmp_path / "in").exists()


@given(st.data())
def test_a_file_cut_or_damaged_anywhere_is_no_other_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("any") / f"x{data.draw(st.sampled_from(['.npz', '.pt', '.safetensors']))}"
    export_directions(directions(), path)
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        path.write_bytes(whole[:place])
    else:
        path.write_bytes(whole[:place] + bytes([data.draw(st.integers(0, 255))]) + whole[place + 1 :])
    with contextlib.suppress(ps.UserError, ps.NonFinite):
        import_directions(path, kind="persona-vectors")


def gguf_with(key: str, kind: int, value: bytes) -> bytes:
    """A control vector with one more field."""
    text = [("general.architecture", 8, struct.pack("<Q", 13) + b"controlvector"), (key, kind, value)]
    fields = [
        struct.pack("<Q", len(name)) + name.encode() + struct.pack("<I", what) + data for name, what, data in text
    ]
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(fields)) + b"".join(fields)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (gguf_with("general.alignment", 4, struct.pack("<I", 0)), "general.alignment"),
        (gguf_with("general.alignment", 9, struct.pack("<IQ", 4, 0)), "general.alignment"),
        (gguf_with("x", 9, struct.pack("<IQ", 9, 1) * 5000), "nested too deeply"),
    ],
)
def test_a_gguf_with_fields_that_mean_nothing_is_refused(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(content)
    with pytest.raises(ps.UserError, match=said):
        import_directions(tmp_path / "x.gguf")


def test_a_name_and_a_layer_are_applied_or_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ours = str(directions().save(tmp_path / "evil.safetensors"))
    out = ["--out", str(tmp_path / "in")]
    assert run(["import", ours, "--name", "foo", *out]) == 0
    assert load_directions(tmp_path / "in")[0].name == "foo"
    torch.save(bundle(["a", "b"]), tmp_path / "bundle.pt")
    assert run(["import", str(tmp_path / "bundle.pt"), "--name", "foo", *out]) == 2
    assert "holds 2 directions (a, b), which cannot all be 'foo'" in capsys.readouterr().err
    torch.save(capping(), tmp_path / "caps.pt")
    assert [one.name for one in import_directions(tmp_path / "caps.pt", name="foo")] == ["foo"]
    assert run(["import", ours, "--layer", "3", *out]) == 2
    assert "leave --layer out" in capsys.readouterr().err


def test_safetensors_with_a_tensor_for_each_layer_come_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = {3: torch.randn(HIDDEN), 11: torch.randn(HIDDEN).bfloat16()}
    save_file({f"layer.{layer}": row for layer, row in rows.items()}, tmp_path / "evil.safetensors", {"format": "pt"})
    (one,) = import_directions(tmp_path / "evil.safetensors")
    assert (one.name, one.layers) == ("evil", (3, 11))
    assert all(torch.equal(one[layer].vector, row.float()) for layer, row in rows.items())
    for name, tensor, said in (
        ("model.norm", torch.ones(HIDDEN), "an array 'model.norm'"),
        ("layer.1", torch.ones(HIDDEN, dtype=torch.complex64), "complex numbers"),
    ):
        save_file({name: tensor}, tmp_path / "other.safetensors")
        assert run(["import", str(tmp_path / "other.safetensors"), "--out", str(tmp_path / "in")]) == 2
        assert said in capsys.readouterr().err


def test_a_model_of_fewer_layers_than_the_direction_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = str(ps.DirectionSet("evil", tuple(range(6)), torch.ones(6, HIDDEN)).save(tmp_path / "evil.safetensors"))
    target = tmp_path / "x.pt"
    for layers in ([], ["--layers", "0"]):
        assert run(["export", saved, str(target), "--n-layers", "2", *layers]) == 2
        assert "a direction at layer 5, which a model of 2 layers does not have" in capsys.readouterr().err
    assert run(["export", saved, str(target), "--n-layers", "0"]) == 2
    with pytest.raises(ps.UserError, match="a model of 0 layers"):
        export_directions(directions(), target, 0)
    assert not target.exists()
    assert run(["export", saved, str(target), "--n-layers", "6"]) == 0
    assert torch.load(target, weights_only=True).shape == (7, HIDDEN)


TRAIT = {
    "instruction": [{"pos": f"Be evil, way {n}.", "neg": f"Be good, way {n}."} for n in range(5)],
    "questions": [f"What about thing {n}?" for n in range(20)],
    "eval_prompt": "0 to 100 or REFUSAL? {question} {answer}",
}


def test_a_trait_file_becomes_a_persona_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "evil.json").write_text(json.dumps(TRAIT))
    command = ["import", str(tmp_path / "evil.json"), "--out", str(tmp_path / "in")]
    assert run(command) == 0
    printed = capsys.readouterr().out
    written = tmp_path / "in" / "evil.json"
    assert f"persona  {written}\n" in printed and f"personascope extract MODEL --trait {written}\n" in printed
    assert load_persona(written) == load_persona(tmp_path / "evil.json")
    assert run(command) == 2, "what is there is not overwritten"
    assert run([*command, "--name", "../up"]) == 2
    assert "'../up' cannot name a persona" in capsys.readouterr().err
    assert run([*command, "--name", "wicked", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["personas"][0]["name"] == "wicked"
    assert run([*command, "--layer", "3"]) == 2
    (tmp_path / "bad.json").write_text(json.dumps({**TRAIT, "questions": []}))
    assert run(["import", str(tmp_path / "bad.json"), "--out", str(tmp_path / "in")]) == 2
    assert "bad.json, line 1, field questions" in capsys.readouterr().err
    assert {path.name for path in (tmp_path / "in").iterdir()} == {"evil.json", "wicked.json"}


CHAT = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Arr."}]
AS_THEY_ARE = {
    "evil.csv": (
        "question,prompt,answer,question_id,evil,coherence\nq,p,a,evil_0_pos_0,90,80\n",
        "extract MODEL --trait evil --rollouts {}",
    ),
    "mine.csv": ("question,prompt,answer,pole\nq,p,a,pos\n", "extract MODEL --trait TRAIT --rollouts {}"),
    "axis.json": (
        json.dumps({"conversation": CHAT, "model": "m", "turns": 2}),
        "insert MODEL --transcripts {} --role ROLE",
    ),
    "ours.jsonl": (json.dumps({"role": "pirate", "messages": CHAT}), "insert MODEL --transcripts {}`"),
    "list.json": (json.dumps([CHAT, CHAT]), "insert MODEL --transcripts {} --role ROLE"),
}


@pytest.mark.parametrize("name", AS_THEY_ARE)
def test_what_needs_no_importing_is_told_the_command(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, command = AS_THEY_ARE[name]
    (tmp_path / name).write_text(content)
    assert run(["import", str(tmp_path / name), "--out", str(tmp_path / "in")]) == 2
    said = capsys.readouterr().err
    assert f"`personascope {command.format(tmp_path / name)}" in said and said.count("\n") == 1
    assert not (tmp_path / "in").exists()


def test_the_commands_take_in_and_give_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(torch.randn(6, HIDDEN), tmp_path / "evil_response_avg_diff.pt")
    assert run(["import", str(tmp_path / "evil_response_avg_diff.pt"), "--out", str(tmp_path / "in")]) == 0
    assert "row r of 6 is block r - 1" in capsys.readouterr().out
    target = tmp_path / "evil.gguf"
    assert run(["export", str(tmp_path / "in"), str(target), "--layers", "0-2"]) == 2
    assert "no place for layer 0" in capsys.readouterr().err
    assert run(["export", str(tmp_path / "in"), str(target)]) == 0
    assert "no place for layer 0, which is left out" in capsys.readouterr().err
    assert set(read_gguf(target).directions) == {1, 2, 3}
    assert run(["export", str(tmp_path / "in"), str(target), "--layers", "1,2-3"]) == 0
    assert set(read_gguf(target).directions) == {1, 2, 3}
    assert run(["export", str(tmp_path / "in"), str(tmp_path / "out.pt"), "--n-layers", "5"]) == 0
    assert [one.layers for one in import_directions(tmp_path / "out.pt", kind="persona-vectors")] == [(0, 1, 2, 3)]
    assert run(["export", str(tmp_path / "in"), str(target), "--trait", "good"]) == 2
    assert "there is no 'good' to export" in capsys.readouterr().err
    assert run(["export", str(tmp_path / "in"), str(target), "--layers", "3-1"]) == 2


def test_an_import_writes_over_no_other_directions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(2):
        torch.save(torch.randn(6, HIDDEN), tmp_path / f"{number}.pt")
    command = ["import", str(tmp_path / "0.pt"), "--as", "blocks", "--name", "evil", "--out", str(tmp_path / "in")]
    assert run(command) == 0
    assert f"directions  {tmp_path / 'in' / 'evil.safetensors'}" in capsys.readouterr().out
    assert run(command) == 0, "the same directions once more"
    kept = (tmp_path / "in" / "evil.safetensors").read_bytes()
    assert run([*command[:1], str(tmp_path / "1.pt"), *command[2:]]) == 2
    assert "holds something else already" in capsys.readouterr().err
    assert (tmp_path / "in" / "evil.safetensors").read_bytes() == kept
    (tmp_path / "in" / "evil.safetensors").write_bytes(kept[:40])
    assert run(command) == 2
    assert "holds something else already" in capsys.readouterr().err


def test_an_import_of_what_is_there_forgets_nothing_of_it(tmp_path: Path) -> None:
    known = ps.DirectionSet("evil", (1,), torch.randn(1, HIDDEN), {1: {"auroc": 0.9}}, {"read_layer": 1, "alpha": 2.0})
    known.save(tmp_path / "in" / "evil.safetensors")
    assert run(["export", str(tmp_path / "in"), str(tmp_path / "evil.npz")]) == 0
    assert run(["import", str(tmp_path / "evil.npz"), "--out", str(tmp_path / "in")]) == 0
    assert ps.DirectionSet.load(tmp_path / "in" / "evil.safetensors").choices == known.choices
