"""An SAE as a value: chosen features are exact, cheap and checked; its directions; whether it fits a subject."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sae_files import LAYER, WRITERS, D, F, activations
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import personascope as ps
from personascope.errors import NonFinite, UserError
from personascope.features import SAE, load_sae
from personascope.features import encoder as encoder_file
from personascope.features.activation import Relu, Threshold, TopK
from personascope.features.sae import check_fits, sae_layer
from personascope.features.sparsity import sparsity_of

KINDS = {name: WRITERS[name] for name in ("batch_top_k", "top_k", "gated", "jump_relu", "lens_top_k", "lens_standard")}


@pytest.fixture(scope="module")
def saes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SAE]:
    return {name: load_sae(write(tmp_path_factory.mktemp(name)).file) for name, write in KINDS.items()}


def made(n_features: int = 6, width: int = 3, **given: Any) -> SAE:
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(n_features, width, generator=generator) for _ in range(2)]
    parts = {"encoder": weights[0], "encoder_bias": torch.zeros(n_features), "decoder": weights[1]}
    parts |= {"decoder_bias": torch.zeros(width), "activation": Relu(), "layer": 1, "name": "mine"}
    return SAE(**(parts | given))


@dataclass
class Model:
    """What an SAE asks of a subject."""

    name: str = "tiny/model"
    n_layers: int = 4
    hidden_size: int = D


@given(chosen=st.lists(st.integers(0, F - 1), max_size=2 * F), name=st.sampled_from(sorted(KINDS)))
def test_chosen_features_are_columns_of_all_features(saes: dict[str, SAE], chosen: list[int], name: str) -> None:
    sae, x = saes[name], activations(7)
    whole = sae.encode(x)
    torch.testing.assert_close(sae.encode(x, chosen), whole[:, chosen], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(sae.encode(x, torch.tensor(chosen, dtype=torch.int64)), whole[:, chosen])


@pytest.mark.parametrize("name", KINDS)
def test_shapes_before_the_width_are_kept(saes: dict[str, SAE], name: str) -> None:
    sae, x = saes[name], activations(24)
    codes = sae.encode(x)
    blocks = x.reshape(2, 3, 4, D)
    torch.testing.assert_close(sae.encode(blocks), codes.reshape(2, 3, 4, F))
    torch.testing.assert_close(sae.encode(blocks, [3, 3, 1]), codes.reshape(2, 3, 4, F)[..., [3, 3, 1]])
    torch.testing.assert_close(sae.encode(x[0], [3]), codes[0, [3]])
    assert sae.encode(x[:0], [3]).shape == (0, 1)
    torch.testing.assert_close(sae.decode(codes.reshape(2, 3, 4, F), of=blocks).reshape(24, D), sae.decode(codes, of=x))


@pytest.mark.parametrize("name", KINDS)
def test_an_encoder_of_some_features_is_exact_or_never_below(saes: dict[str, SAE], name: str) -> None:
    sae, x, features = saes[name], activations(), [5, 0, 17]
    encoder, exact = sae.chosen(features), sae.encode(x, features)
    assert encoder.features == (5, 0, 17)
    assert encoder.is_exact == (not isinstance(sae.activation, TopK))
    assert encoder(x).dtype == torch.float32
    if encoder.is_exact:
        torch.testing.assert_close(encoder(x), exact)
    else:
        assert bool((encoder(x) >= exact - 1e-5).all())
        assert bool((encoder(x) > exact + 1e-3).any()), "otherwise there would be no difference to speak of"
    whole = sae.chosen(None)
    assert whole.is_exact
    torch.testing.assert_close(whole(x), sae.encode(x))


class Sizes(TorchDispatchMode):
    """The numbers that each operation makes, by how many."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[int] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        self.made += [
            value.numel() for value in (out if isinstance(out, tuple | list) else [out]) if hasattr(value, "numel")
        ]
        return out


@pytest.mark.parametrize("name", ["batch_top_k", "gated", "jump_relu", "lens_top_k"])
def test_choosing_features_touches_their_rows_only(saes: dict[str, SAE], name: str) -> None:
    features = [5, 0, 17]
    with Sizes() as sizes:
        encoder = saes[name].chosen(features, "meta")
    assert sizes.made and max(sizes.made) <= len(features) * D
    held = [encoder.weight, encoder.bias, *vars(encoder.activation).values()]
    assert all(value.device.type == "meta" for value in held if isinstance(value, Tensor))
    assert encoder(torch.zeros(4, D, device="meta")).shape == (4, 3)


def test_memory_stays_bounded_where_all_features_must_be_encoded(
    saes: dict[str, SAE], monkeypatch: pytest.MonkeyPatch
) -> None:
    sae, x = saes["top_k"], activations(50)
    whole = sae.encode(x)[:, [3, 4]]
    monkeypatch.setattr(encoder_file, "_CHUNK", 4 * F)
    with Sizes() as sizes:
        chosen = sae.encode(x, [3, 4])
    assert max(sizes.made) <= max(4 * F, x.numel(), F * D)
    torch.testing.assert_close(chosen, whole)


def test_some_codes_decode_as_all_with_the_others_at_0(saes: dict[str, SAE]) -> None:
    sae, x = saes["lens_standard"], activations()
    codes = sae.encode(x)
    alone = torch.zeros_like(codes)
    alone[:, [3, 9]] = codes[:, [3, 9]]
    torch.testing.assert_close(sae.decode(codes[:, [3, 9]], [3, 9], of=x), sae.decode(alone, of=x))
    with pytest.raises(UserError, match="as of="):
        sae.decode(codes)
    with pytest.raises(UserError, match=f"decodes {F} codes a token"):
        sae.decode(codes[:, :3], of=x)


def test_a_direction_is_the_decoders_row(saes: dict[str, SAE]) -> None:
    sae = saes["batch_top_k"]
    one = sae.direction(7)
    assert isinstance(one, ps.Direction)
    assert (one.layer, one.name) == (LAYER, "feature 7")
    assert torch.equal(one.vector, sae.decoder[7])
    plain = torch.zeros(1, F)
    torch.testing.assert_close(sae.decode(plain + torch.eye(F)[7]) - sae.decode(plain), one.vector[None])


@pytest.mark.parametrize("index", [-1, F, 10**12])
def test_an_index_that_is_not_there_says_which_are(saes: dict[str, SAE], index: int) -> None:
    sae = saes["gated"]
    for ask in (
        lambda: sae.direction(index),
        lambda: sae.encode(activations(), [0, index]),
        lambda: sae.chosen([index]),
    ):
        with pytest.raises(UserError, match=rf"has no feature {index}; its features are 0 to {F - 1}"):
            ask()


def test_an_index_is_a_whole_number(saes: dict[str, SAE]) -> None:
    with pytest.raises(UserError, match="features are whole numbers from 0"):
        saes["gated"].encode(activations(), [0.5])  # type: ignore[list-item]


def test_a_direction_needs_a_layer() -> None:
    with pytest.raises(UserError, match="load it with layer="):
        made(layer=None).direction(0)


def test_nan_and_shapes_that_disagree_are_refused() -> None:
    broken = torch.ones(6, 3)
    broken[4, 1] = float("nan")
    with pytest.raises(NonFinite, match="NaN or infinity in row 4 of its decoder"):
        made(decoder=broken)
    with pytest.raises(NonFinite, match="of its threshold"):
        made(activation=Threshold(torch.tensor(float("inf"))))
    with pytest.raises(UserError, match=r"6 features of width 3, but its centre has shape \[4\]"):
        made(centre=torch.zeros(4))
    with pytest.raises(UserError, match=r"its threshold has shape \[5\]"):
        made(activation=Threshold(torch.zeros(5)))
    with pytest.raises(UserError, match="float32 on the CPU"):
        made(decoder=torch.ones(6, 3, dtype=torch.float64))


def test_activations_of_another_width_are_refused(saes: dict[str, SAE]) -> None:
    for name in ("gated", "top_k"):
        with pytest.raises(UserError, match=f"reads activations of width {D}, and was given"):
            saes[name].encode(torch.zeros(5, D + 1), [0])


def test_a_row_of_zeros_stays_finite_where_tokens_are_scaled(saes: dict[str, SAE]) -> None:
    for name in ("lens_standard", "lens_top_k"):
        x = torch.zeros(2, D)
        assert torch.isfinite(saes[name].decode(saes[name].encode(x), of=x)).all()


def test_whether_an_sae_fits_a_subject(saes: dict[str, SAE], tmp_path: Path) -> None:
    sae = saes["batch_top_k"]
    assert check_fits(sae, Model()) == []
    assert check_fits(sae, Model("elsewhere/model")) == [], "the owner is no part of a model's name"
    assert sae_layer(sae, Model()) == LAYER
    (doubt,) = check_fits(sae, Model("tiny/model-it"))
    assert "trained on tiny/model and is read on tiny/model-it" in doubt
    with pytest.raises(UserError, match=f"width {D}, and tiny/model has 99"):
        check_fits(sae, Model(hidden_size=99))
    with pytest.raises(UserError, match=f"reads layer {LAYER}, and tiny/model has layers 0 to 1"):
        check_fits(sae, Model(n_layers=2))
    with pytest.raises(UserError, match="load it with layer="):
        sae_layer(made(layer=None, encoder=torch.ones(6, 3)), Model(hidden_size=3))
    old = WRITERS["lens_standard_old"](tmp_path).file
    assert check_fits(load_sae(old), Model("gpt2")) == [], "TransformerLens calls it gpt2-small"


def test_sparsity_counts_and_doubts(saes: dict[str, SAE]) -> None:
    sae, x = saes["batch_top_k"], activations(300)
    found = sparsity_of(sae, x)
    codes = sae.encode(x)
    assert found.l0 == pytest.approx(float((codes > 0).sum(1).float().mean()))
    residual, spread = (x - sae.decode(codes)).double(), (x - x.mean(0)).double()
    assert found.explained == pytest.approx(float(1 - residual.square().sum() / spread.square().sum()))
    assert found.promised == 5 and found.l0 > 10
    assert found.doubt is not None and "was trained for 5" in found.doubt
    assert found.describe()["tokens"] == 300


@pytest.mark.parametrize(
    ("promised", "is_doubted"), [(2.0, False), (4.0, False), (1.4, True), (6.2, True), (None, False)]
)
def test_an_l0_within_a_factor_of_two_is_believed(promised: float | None, is_doubted: bool) -> None:
    eye = torch.eye(6)
    sae = made(6, 6, encoder=eye, decoder=eye, encoder_bias=torch.zeros(6), promised_l0=promised)
    x = torch.zeros(10, 6)
    x[:, :3] = torch.arange(1.0, 31.0).reshape(10, 3)
    found = sparsity_of(sae, x)
    assert found.l0 == 3.0
    assert found.explained == pytest.approx(1.0)
    assert (found.doubt is not None) == is_doubted


def test_sparsity_of_a_stranger(saes: dict[str, SAE]) -> None:
    dead = made(6, 3, encoder_bias=torch.full((6,), -1e6), promised_l0=4.0)
    assert "0 of 6 features are active" in str(sparsity_of(dead, torch.randn(20, 3)).doubt)
    far = made(6, 3, decoder_bias=torch.full((3,), 50.0))
    assert "worse than their mean" in str(sparsity_of(far, torch.randn(20, 3)).doubt)
    assert sparsity_of(far, torch.ones(1, 3)).explained is None
    with pytest.raises(NonFinite, match="in row 1"):
        sparsity_of(far, torch.tensor([[1.0, 2.0, 3.0], [1.0, float("nan"), 1.0]]))
    with pytest.raises(UserError, match="activations \\[tokens, width\\]"):
        sparsity_of(far, torch.ones(3))


def test_an_sae_shows_itself_in_a_line(saes: dict[str, SAE]) -> None:
    assert "TopK, features=40, hidden=12, layer=2" in repr(saes["top_k"])
    assert saes["top_k"]._repr_html_().startswith("<code>")


def test_saes_that_differ_in_anything_have_digests_of_their_own():
    weights, bias, nothing = torch.eye(6), torch.zeros(6), torch.zeros(6)
    ones = torch.ones(6)
    made = [
        SAE(weights, bias, weights, nothing, Relu()),
        SAE(weights, bias, weights, nothing, Relu(), layer=1),
        SAE(weights, bias, weights, nothing, Relu(), layer=2),
        SAE(weights, bias, weights, nothing, TopK(2)),
        SAE(weights, bias, weights, nothing, TopK(3)),
        SAE(weights, bias, weights, nothing, Relu(), centre=nothing),
        SAE(weights, bias, weights, nothing, Relu(), centre=ones),
        SAE(weights, ones, weights, nothing, Relu()),
        SAE(weights, bias, weights, ones, Relu()),
        SAE(weights, bias, weights, nothing, Threshold(torch.tensor(0.5))),
        SAE(weights, bias, weights, nothing, Threshold(torch.tensor(0.6))),
    ]
    assert len({one.digest for one in made}) == len(made)
    assert made[0].digest == SAE(weights, bias, weights, nothing, Relu(), name="another").digest
