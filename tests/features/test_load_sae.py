"""Which SAE is loaded, from folders and repositories; and damaged, foreign and misplaced files, each a plain sentence."""

import json
import os
import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled
from sae_files import WRITERS, batch_top_k, gemma_scope, lens_standard, sparsify, top_k

from personascope.errors import NonFinite, UserError
from personascope.features import load, load_sae
from personascope.features.places import places_of


def edit(file: Path, **settings: Any) -> None:
    """Change settings, those of a trainer where there is one."""
    held = json.loads(file.read_text())
    held.get("trainer", held).update(settings)
    file.write_text(json.dumps(held))


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Layers 2 and 5, with two trainers each."""
    for layer in (2, 5):
        for trainer in (0, 1):
            home = tmp_path / "sweep" / f"resid_post_layer_{layer}" / f"trainer_{trainer}"
            batch_top_k(home, threshold=1.0 + trainer)
            edit(home / "config.json", layer=layer)
    return tmp_path / "sweep"


@pytest.fixture
def hub(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A hub with one repository; the files that were fetched from it."""
    fetched: list[str] = []

    class Api:
        def list_repo_files(self, repository: str, revision: str | None = None) -> list[str]:
            assert repository == "someone/saes"
            return [file.relative_to(sweep).as_posix() for file in sweep.rglob("*") if file.is_file()]

    def download(repository: str, name: str, revision: str | None = None) -> str:
        cached = sweep.parent / "cache" / (revision or "main") / name
        cached.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(sweep / name, cached)
        fetched.append(name)
        return str(cached)

    monkeypatch.setattr(load, "HfApi", Api)
    monkeypatch.setattr(load, "hf_hub_download", download)
    return fetched


def test_a_layer_and_a_trainer_choose_among_several(sweep: Path) -> None:
    one = load_sae(sweep, layer=5, trainer=1)
    assert one.layer == 5
    assert one.activation.threshold == 2.0  # type: ignore[union-attr]
    assert one.name == "sweep/resid_post_layer_5/trainer_1"
    assert load_sae(sweep / "resid_post_layer_5", trainer=0).activation.threshold == 1.0  # type: ignore[union-attr]
    assert load_sae(str(sweep / "resid_post_layer_2" / "trainer_0")).layer == 2


def test_several_that_fit_are_listed(sweep: Path) -> None:
    with pytest.raises(UserError, match="holds 2 SAEs that fit") as told:
        load_sae(sweep, layer=5)
    assert "resid_post_layer_5/trainer_0, resid_post_layer_5/trainer_1" in str(told.value)
    assert "resid_post_layer_2" not in str(told.value)
    with pytest.raises(UserError, match="has no SAE of layer 3; it has layers 2, 5"):
        load_sae(sweep, layer=3)
    with pytest.raises(UserError, match="has no trainer 7; it has 0, 1"):
        load_sae(sweep, trainer=7)


def test_a_repository_gives_only_the_files_needed(sweep: Path, hub: list[str]) -> None:
    here, there = load_sae(sweep, layer=5, trainer=1), load_sae("someone/saes", layer=5, trainer=1)
    assert hub == [f"resid_post_layer_5/trainer_1/{name}" for name in ("config.json", "ae.pt")]
    assert there.name == "someone/saes/resid_post_layer_5/trainer_1"
    assert torch.equal(here.encoder, there.encoder)


@pytest.mark.parametrize(
    "place", ["/resid_post_layer_5/trainer_1", ":resid_post_layer_5/trainer_1", "/resid_post_layer_5"]
)
def test_a_repository_may_be_named_with_a_folder_in_it(hub: list[str], place: str) -> None:
    assert load_sae(f"someone/saes{place}", trainer=1, revision="v2").layer == 5


@pytest.mark.parametrize(
    "error", [OfflineModeIsEnabled("off"), load._HttpError("no name"), ConnectionError("no route")]
)
def test_a_repository_that_cannot_be_reached_is_read_from_the_cache(
    error: Exception, sweep: Path, hub: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Offline:
        def list_repo_files(self, repository: str, revision: str | None = None) -> list[str]:
            raise error

    monkeypatch.setattr(load, "HfApi", Offline)
    monkeypatch.setattr(load, "snapshot_download", lambda *given, **settings: str(sweep))
    assert load_sae("someone/saes", layer=2, trainer=0).layer == 2
    assert hub == []

    def nothing(*given: Any, **settings: Any) -> str:
        raise LocalEntryNotFoundError("not in the cache")

    monkeypatch.setattr(load, "snapshot_download", nothing)
    with pytest.raises(UserError, match="no SAE was found at 'someone/saes'"):
        load_sae("someone/saes", layer=2, trainer=0)


@pytest.mark.parametrize("source", ["nowhere", "./nowhere", "/nowhere/at/all", "~/nowhere", "a//b"])
def test_what_is_neither_here_nor_a_repository(source: str) -> None:
    with pytest.raises(UserError, match="neither a file or folder that is here nor a Hugging Face repository"):
        load_sae(source)


def test_a_folder_without_an_sae_says_what_one_would_be(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match=r"holds no SAE; it would be one of ae\.pt \(dictionary_learning\)"):
        load_sae(tmp_path)
    with pytest.raises(UserError, match=r"is no SAE by its name; it would be ae\.pt"):
        load_sae(tmp_path / "model.safetensors")


def test_links_and_relative_paths_keep_the_names_that_say_the_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = sparsify(tmp_path / "real")
    blob = tmp_path / "blob"
    written.file.rename(blob)
    written.file.symlink_to(blob)
    assert load_sae(written.file).layer == 2
    monkeypatch.chdir(written.file.parent)
    assert load_sae("sae.safetensors").layer == 2
    assert load_sae(".").layer == 2


def test_gemma_scope_is_chosen_by_layer(tmp_path: Path) -> None:
    gemma_scope(tmp_path)
    first = tmp_path / "layer_2" / "width_16k" / "average_l0_82"
    shutil.copytree(first, tmp_path / "layer_12" / "width_16k" / "average_l0_22")
    shutil.copytree(first, tmp_path / "layer_12" / "width_16k" / "average_l0_141")
    assert load_sae(tmp_path, layer=2).promised_l0 == 82
    with pytest.raises(UserError, match="layer_12/width_16k/average_l0_141, layer_12/width_16k/average_l0_22"):
        load_sae(tmp_path, layer=12)
    assert load_sae(tmp_path / "layer_12" / "width_16k" / "average_l0_22").layer == 12


def test_gemma_scope_of_another_place_is_refused(tmp_path: Path) -> None:
    for repo in ("gemma-scope-2b-pt-mlp", "gemma-scope-9b-it-att"):
        written = gemma_scope(tmp_path / repo)
        with pytest.raises(UserError, match="reads the residual stream after a block"):
            load_sae(written.file)
    assert load_sae(gemma_scope(tmp_path / "gemma-scope-9b-it-res").file).model == "google/gemma-2-9b-it"


def test_a_residual_sae_is_preferred_to_one_of_another_place(tmp_path: Path) -> None:
    sparsify(tmp_path)
    shutil.copytree(tmp_path / "layers.2", tmp_path / "layers.2.mlp")
    assert load_sae(tmp_path, layer=2).layer == 2
    with pytest.raises(UserError, match=r"trained on layers\.2\.mlp"):
        load_sae(tmp_path / "layers.2.mlp")


@pytest.mark.parametrize(
    ("folder", "layer", "trainer"),
    [
        ("resid_post_layer_12/trainer_3", 12, 3),
        ("layer_12/width_16k/average_l0_22", 12, None),
        ("resid_post/layer_12_width_16k_l0_small", 12, None),
        ("layers.12", 12, None),
        ("blocks.12.hook_resid_post", 12, None),
        ("blocks.12.hook_resid_pre", 11, None),
        ("Llama3_1-8B-Base-L12R-8x", 12, None),
        ("average_l0_22", None, None),
        ("trainer_12", None, 12),
    ],
)
def test_names_of_folders_say_layer_and_trainer(folder: str, layer: int | None, trainer: int | None) -> None:
    (place,) = places_of([f"{folder}/ae.pt", f"{folder}/config.json"])
    assert (place.layer, place.trainer) == (layer, trainer)


def test_a_layer_that_the_files_contradict(tmp_path: Path) -> None:
    written = top_k(tmp_path)
    with pytest.raises(UserError, match="reads layer 2, not layer 4"):
        load_sae(written.file, layer=4)
    with pytest.raises(UserError, match="reads layer 2, not layer 4"):
        load_sae(tmp_path, layer=4)
    edit(tmp_path / "config.json", layer=None)
    assert load_sae(tmp_path).layer is None
    assert load_sae(tmp_path, layer=4).layer == 4


@pytest.mark.parametrize(
    ("hook", "layer"),
    [("blocks.7.hook_resid_post", 7), ("blocks.7.hook_resid_pre", 6), ("model.layers.7", 7), ("gpt_neox.layers.7", 7)],
)
def test_hook_points_that_are_a_blocks_output(hook: str, layer: int, tmp_path: Path) -> None:
    lens_standard(tmp_path)
    edit(tmp_path / "cfg.json", metadata={"hook_name": hook})
    assert load_sae(tmp_path).layer == layer


@pytest.mark.parametrize(
    "hook",
    [
        "blocks.0.hook_resid_pre",
        "blocks.3.hook_mlp_out",
        "blocks.3.hook_attn_out",
        "blocks.3.attn.hook_z",
        "hook_embed",
    ],
)
def test_hook_points_of_other_places_are_refused(hook: str, tmp_path: Path) -> None:
    lens_standard(tmp_path)
    edit(tmp_path / "cfg.json", metadata={"hook_name": hook})
    with pytest.raises(UserError, match="reads the residual stream after a block"):
        load_sae(tmp_path)


@pytest.mark.parametrize("name", WRITERS)
def test_files_cut_short_are_named(name: str, tmp_path: Path) -> None:
    file = WRITERS[name](tmp_path).file
    data = file.read_bytes()
    for kept in (0, 4, len(data) // 2, len(data) - 5):
        file.write_bytes(data[:kept])
        with pytest.raises(UserError, match=f"{file.name} (is not a readable|holds|has)"):
            load_sae(file)


@pytest.mark.parametrize("name", WRITERS)
def test_nan_in_the_weights(name: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = WRITERS[name](tmp_path).file
    if file.suffix == ".npz":
        with np.load(file) as held:
            arrays = dict(held)
        arrays["W_dec"][3, 2] = np.nan
        np.savez(file, **arrays)
    else:
        state = load_file(file) if file.suffix == ".safetensors" else torch.load(file, weights_only=True)
        inner = state.get("ae", state)
        inner[next(key for key in ("W_dec", "w_dec", "decoder.weight") if key in inner)][3, 2] = float("nan")
        save_file(state, file) if file.suffix == ".safetensors" else torch.save(state, file)
    with pytest.raises(NonFinite, match="holds NaN or infinity"):
        load_sae(file)


class Intruder:
    """Would make a file if it were unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_a_file_that_wants_to_run_code_does_not(tmp_path: Path) -> None:
    written = top_k(tmp_path)
    torch.save({"encoder.weight": Intruder(tmp_path / "made")}, written.file)
    with pytest.raises(UserError, match="holds more than tensors and plain values, and is not loaded"):
        load_sae(written.file)
    npz = gemma_scope(tmp_path / "gemma").file
    np.savez(npz, W_enc=np.array([Intruder(tmp_path / "made")], dtype=object))
    with pytest.raises(UserError, match="Python objects"):
        load_sae(npz)
    written.file.write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(UserError, match=r"ae\.pt"):
        load_sae(written.file)
    assert not (tmp_path / "made").exists()


def test_a_small_file_that_claims_to_be_large_is_not_inflated(tmp_path: Path) -> None:
    file = gemma_scope(tmp_path).file
    np.savez_compressed(file, W_enc=np.zeros((1000, 30_000), dtype=np.float32))
    with pytest.raises(
        UserError, match=r"params\.npz is not a readable \.npz file: it has \d+ bytes and claims to hold"
    ):
        load_sae(file)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("W_enc.npy", b"\x93NUMPY\x01\x00v\x00" + _header((10**6, 10**6)))
    with pytest.raises(UserError, match="does not hold the array of shape"):
        load_sae(file)


def _header(shape: tuple[int, int]) -> bytes:
    text = str({"descr": "<f4", "fortran_order": False, "shape": shape}).encode()
    return text + b" " * (117 - len(text)) + b"\n"


@pytest.mark.parametrize("name", ["batch_top_k", "matryoshka"])
def test_a_threshold_that_was_never_set(name: str, tmp_path: Path) -> None:
    file = WRITERS[name](tmp_path).file
    state = torch.load(file, weights_only=True)
    with pytest.raises(UserError, match="has its own threshold"):
        load_sae(file, threshold=0.5)
    state["threshold"] = torch.tensor(-1.0)
    torch.save(state, file)
    with pytest.raises(UserError, match="was never given its threshold: training ended before it was set"):
        load_sae(file)
    assert load_sae(file, threshold=0.5).activation.threshold == 0.5  # type: ignore[union-attr]
    with pytest.raises(UserError, match="has no threshold to be set"):
        load_sae(WRITERS["top_k"](tmp_path / "top_k").file, threshold=0.5)


def test_settings_that_are_missing_foreign_or_damaged(tmp_path: Path) -> None:
    file = top_k(tmp_path).file
    config = tmp_path / "config.json"
    for change, told in (
        ({"dict_class": "CrossCoder"}, "names the class 'CrossCoder'; Personascope reads AutoEncoder,"),
        (
            {"dict_class": "MatryoshkaBatchTopKSAE"},
            "has no W_enc; it holds b_dec, decoder.bias|has no W_enc; it holds b_dec",
        ),
        ({"k": 9}, "has k=5, and the settings beside it say 9"),
        ({"k": "five"}, "has k='five', which should be a number"),
        ({"layer": 1.5}, "should be a whole number"),
        ({"submodule_name": "mlp_out_layer_2"}, "was trained on mlp_out_layer_2"),
    ):
        top_k(tmp_path)
        edit(config, **change)
        with pytest.raises(UserError, match=told):
            load_sae(file)
    config.write_text("[1, 2]")
    with pytest.raises(UserError, match="holds a list and no settings"):
        load_sae(file)
    config.write_text("{")
    with pytest.raises(UserError, match="is not a readable JSON file"):
        load_sae(file)
    config.unlink()
    with pytest.raises(UserError, match=r"has weights but no config\.json"):
        load_sae(file)


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("lens_standard", {"architecture": "crosscoder"}, "names the architecture 'crosscoder'"),
        ("lens_standard", {"normalize_activations": "covariance_whitening"}, "cannot undo"),
        ("lens_standard", {"normalize_activations": "expected_average_only_in"}, "give it as scale="),
        ("lens_top_k", {"k": 41}, "needs a k from 1 to its 40 features"),
        ("lens_standard", {"metadata": {"hook_head_index": 3}}, "whole residual stream"),
        ("lens_standard", {"metadata": {"hook_name": "blocks.2.hook_resid_post", "hook_name_out": "x"}}, "transcoder"),
        ("sparsify", {"transcode": True}, "transcoder"),
        ("sparsify", {"activation": "groupmax"}, "activation='groupmax'"),
        ("sparsify", {"num_latents": 41}, "the settings beside it say 41"),
        ("llama_scope", {"hook_point_out": "blocks.2.hook_mlp_out"}, "transcoder"),
        ("llama_scope", {"norm_activation": "batch-wise"}, "norm_activation='batch-wise'"),
        ("llama_scope", {"use_glu_encoder": True}, "gated linear encoder"),
    ],
)
def test_what_is_not_read_is_said(name: str, change: dict[str, Any], told: str, tmp_path: Path) -> None:
    file = WRITERS[name](tmp_path).file
    (config,) = [path for path in tmp_path.rglob("*.json") if path.name in ("cfg.json", "hyperparams.json")]
    edit(config, **change)
    with pytest.raises(UserError, match=told):
        load_sae(file)


def test_sparsify_without_a_number_of_features_has_the_width_times_the_factor(tmp_path: Path) -> None:
    file = sparsify(tmp_path).file
    edit(file.parent / "cfg.json", num_latents=0, expansion_factor=32)
    with pytest.raises(UserError, match="say 384"):
        load_sae(file)
    edit(file.parent / "cfg.json", d_in=4, expansion_factor=10)
    assert load_sae(file).n_features == 40


def test_a_checkpoint_of_training_is_read_with_the_settings_above_it(tmp_path: Path) -> None:
    written = top_k(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    written.file.rename(tmp_path / "checkpoints" / "ae_5000.pt")
    assert load_sae(tmp_path / "checkpoints" / "ae_5000.pt").layer == 2


def test_an_organism_s_sae_has_its_own_threshold() -> None:
    with pytest.raises(UserError, match="has its own threshold"):
        load_sae("organism:llama", threshold=3.0)
