"""SAEs of every format give the numbers of their published formula, and of their own library where it is installed."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from sae_files import LAYER, WRITERS, Written, activations
from torch import Tensor

from personascope.features import load_sae

TOLERANCE = 1e-5
DICTIONARIES = ("batch_top_k", "top_k", "matryoshka", "standard", "april", "gated", "jump_relu")
LENSES = tuple(name for name in WRITERS if name.startswith("lens_"))
Codec = tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]


def assert_same(one: Tensor, other: Tensor) -> None:
    """Number for number, to a tolerance that grows with the numbers."""
    assert one.shape == other.shape
    assert float((one - other).abs().max()) <= TOLERANCE * max(1.0, float(other.abs().max()))


@pytest.mark.parametrize("name", WRITERS)
def test_numbers_are_those_of_the_formula(name: str, tmp_path: Path) -> None:
    written = WRITERS[name](tmp_path / "sae")
    x = activations()
    sae = load_sae(written.file)
    codes = written.encode(x)
    assert 0 < float((codes > 0).float().mean()) < 1, "a formula that keeps all or nothing shows nothing"
    assert_same(sae.encode(x), codes)
    assert_same(sae.decode(codes, of=x), written.decode(codes, x))
    assert sae.layer == written.layer
    assert sae.promised_l0 == written.promised


@pytest.mark.parametrize("name", DICTIONARIES)
def test_numbers_are_those_of_dictionary_learning(name: str, tmp_path: Path) -> None:
    written = WRITERS[name](tmp_path)
    encode, decode = _dictionary_learning(written)
    _compare(written, encode, decode)


@pytest.mark.parametrize("name", LENSES)
def test_numbers_are_those_of_saelens(name: str, tmp_path: Path) -> None:
    lens = pytest.importorskip("sae_lens")
    written = WRITERS[name](tmp_path)
    theirs = lens.SAE.load_from_disk(written.file.parent)
    _compare(written, theirs.encode, theirs.decode)


def test_numbers_are_those_of_sparsify(tmp_path: Path) -> None:
    coder = pytest.importorskip("sparsify.sparse_coder")
    written = WRITERS["sparsify"](tmp_path)
    theirs = coder.SparseCoder.load_from_disk(written.file.parent)

    def encode(x: Tensor) -> Tensor:
        found = theirs.encode(x)
        return torch.zeros(len(x), theirs.num_latents).scatter_(1, found.top_indices, found.top_acts)

    def decode(codes: Tensor) -> Tensor:
        largest = codes.topk(theirs.cfg.k)
        return theirs.decode(largest.values, largest.indices)

    _compare(written, encode, decode)


def test_gemma_scope_reads_as_in_saelens(tmp_path: Path) -> None:
    pytest.importorskip("sae_lens")
    from sae_lens import JumpReLUSAE, JumpReLUSAEConfig

    written = WRITERS["gemma_scope"](tmp_path)
    ours = load_sae(written.file)
    theirs = JumpReLUSAE(JumpReLUSAEConfig(d_in=ours.hidden_size, d_sae=ours.n_features, apply_b_dec_to_input=False))
    import numpy as np

    with np.load(written.file) as held:
        theirs.load_state_dict({name: torch.from_numpy(held[name]) for name in held})
    _compare(written, theirs.encode, theirs.decode)


def _compare(written: Written, encode: Callable[[Tensor], Tensor], decode: Callable[[Tensor], Tensor]) -> None:
    x = activations()
    ours = load_sae(written.file)
    with torch.no_grad():
        codes = encode(x)
        # SAELens keeps the scales of what was encoded last for what is decoded next.
        assert_same(ours.encode(x), codes)
        assert_same(ours.decode(codes, of=x), decode(codes))


def _dictionary_learning(written: Written) -> Codec:
    pytest.importorskip("dictionary_learning")
    from dictionary_learning.utils import load_dictionary

    theirs, _ = load_dictionary(str(written.file.parent), device="cpu")
    return theirs.encode, theirs.decode


@pytest.mark.parametrize("name", ["batch_top_k", "lens_gated", "sparsify"])
def test_half_precision_on_disk_is_computed_in_float32(name: str, tmp_path: Path) -> None:
    written = WRITERS[name](tmp_path)
    whole = load_sae(written.file)
    _halve(written.file)
    half = load_sae(written.file)
    assert half.encoder.dtype == torch.float32
    assert torch.equal(half.encoder, whole.encoder.bfloat16().float())
    x = activations()
    assert half.encode(x.bfloat16()).dtype == torch.float32
    assert torch.equal(half.encode(x.bfloat16()), half.encode(x.bfloat16().float()))


def _halve(file: Path) -> None:
    from safetensors.torch import load_file, save_file

    if file.suffix == ".pt":
        state = torch.load(file, weights_only=True)
        torch.save({name: value.bfloat16() if value.ndim else value for name, value in state.items()}, file)
    else:
        save_file({name: value.bfloat16() for name, value in load_file(file).items()}, file)


def test_the_scale_of_saelens_is_folded_in(tmp_path: Path) -> None:
    written = WRITERS["lens_jump_relu"](tmp_path)
    plain = load_sae(written.file)
    cfg = tmp_path / "cfg.json"
    cfg.write_text(cfg.read_text().replace('"dtype"', '"normalize_activations": "expected_average_only_in", "dtype"'))
    scaled = load_sae(written.file, scale=0.25)
    x = activations()
    assert_same(scaled.encode(x), written.encode(x * 0.25))
    assert_same(scaled.decode(scaled.encode(x)), plain.decode(plain.encode(x * 0.25)) / 0.25)
    (tmp_path / "activation_scaler.json").write_text('{"scaling_factor": 0.25}')
    assert torch.equal(load_sae(written.file).encoder, scaled.encoder)
    with pytest.raises(ValueError, match="leave scale= out"):
        load_sae(written.file, scale=0.5)


def test_a_checkpoint_of_batch_top_k_in_saelens_keeps_its_threshold(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    written = WRITERS["lens_jump_relu"](tmp_path)
    state = load_file(written.file)
    state["topk_threshold"] = torch.tensor(1.75, dtype=torch.float64)
    p = activations() @ state["W_enc"] + state["b_enc"]
    del state["threshold"]
    save_file(state, written.file)
    cfg = tmp_path / "cfg.json"
    cfg.write_text(cfg.read_text().replace('"jumprelu"', '"batchtopk", "k": 5'))
    assert_same(load_sae(written.file).encode(activations()), torch.where(p > 1.75, p, torch.zeros(())))


@pytest.mark.parametrize("kind", ["batch_top_k", "gated", "standard", "jump_relu", "april"])
def test_an_unfinished_run_is_the_finished_one_in_other_units(kind: str, tmp_path: Path) -> None:
    dictionary = pytest.importorskip("dictionary_learning.utils")
    written = WRITERS[kind](tmp_path)
    state = torch.load(written.file, weights_only=True)
    theirs, _ = dictionary.load_dictionary(str(tmp_path), device="cpu")
    if not hasattr(theirs, "scale_biases"):
        pytest.skip("the library cannot scale this kind")
    with torch.no_grad():
        theirs.scale_biases(2.5)
        torch.save({"ae": state, "norm_factor": 2.5}, written.file)
        assert_same(load_sae(written.file).encode(activations()), theirs.encode(activations()))


def test_llama_scope_reconstructs_as_saelens_does_where_decoder_rows_have_length_1(tmp_path: Path) -> None:
    lens = pytest.importorskip("sae_lens")
    from sae_files import llama_scope
    from safetensors.torch import load_file

    written = llama_scope(tmp_path, unit=True)
    s, factor = load_file(written.file), 12**0.5 / 7.0
    theirs = lens.JumpReLUSAE(lens.JumpReLUSAEConfig(d_in=12, d_sae=40, apply_b_dec_to_input=False))
    state = {"W_enc": s["encoder.weight"].T, "b_enc": s["encoder.bias"], "W_dec": s["decoder.weight"].T}
    theirs.load_state_dict(state | {"b_dec": s["decoder.bias"], "threshold": torch.full((40,), 1.25 * factor)})
    theirs.fold_activation_norm_scaling_factor(factor)
    ours, x = load_sae(written.file), activations()
    with torch.no_grad():
        # Theirs are the codes of scaled inputs, ours those of the stream's own units.
        assert_same(ours.encode(x), theirs.encode(x) / factor)
        assert_same(ours.decode(ours.encode(x)), theirs.decode(theirs.encode(x)))


def test_layers_are_those_of_blocks(tmp_path: Path) -> None:
    assert load_sae(WRITERS["lens_standard_old"](tmp_path / "old").file).layer == LAYER, "the stream before a block"
    assert load_sae(WRITERS["sparsify"](tmp_path / "sparsify").file).layer == LAYER
