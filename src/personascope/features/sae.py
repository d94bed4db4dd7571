"""A sparse autoencoder of the residual stream at one layer."""

import hashlib
import html
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor

from personascope.directions.direction import Direction
from personascope.errors import NonFinite, UserError
from personascope.features.activation import Activation, tensors
from personascope.features.encoder import FeatureEncoder
from personascope.features.scaling import Scaling


class Residuals(Protocol):
    """What an SAE asks of a subject."""

    name: str

    @property
    def n_layers(self) -> int: ...

    @property
    def hidden_size(self) -> int: ...


@dataclass(frozen=True, eq=False)
class SAE:
    """Sparse codes f = activation(W(s(x) − centre) + b) of a layer's activations, and x̂ = f·W_dec + b_dec.

    encoder, decoder: [F, D], a row for each feature. encoder_bias: [F]. decoder_bias: [D]. centre: [D], subtracted from
    the input, or None. scaling: of each input, before all else; None if there is none. All tensors float32 on the CPU.
    layer: the block whose output it reads; None if nobody said. promised_l0: how many features a token should have, where
    the SAE says. model: what it says it was trained on. config: its own settings, as they stand in its file. notes:
    sentences that a user should read. Raises `UserError` on shapes that do not agree, `NonFinite` on NaN or infinity.
    """

    encoder: Tensor
    encoder_bias: Tensor
    decoder: Tensor
    decoder_bias: Tensor
    activation: Activation
    centre: Tensor | None = None
    scaling: Scaling | None = None
    layer: int | None = None
    name: str = "sae"
    promised_l0: float | None = None
    model: str | None = None
    format: str = "made"
    config: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.encoder.ndim != 2 or not self.encoder.numel():
            raise UserError(f"{self.name} needs an encoder of shape [features, width], not {list(self.encoder.shape)}")
        if self.layer is not None and (not isinstance(self.layer, int) or self.layer < 0):
            raise UserError(f"{self.name} needs a layer from 0 up, not {self.layer!r}")
        features, width = self.encoder.shape
        wanted = {"encoder": (features, width), "decoder": (features, width), "centre": (width,)}
        wanted |= {"encoder_bias": (features,), "decoder_bias": (width,)}
        for part, value in self._tensors().items():
            shape = wanted.get(part, () if value.ndim == 0 else (features,))
            if tuple(value.shape) != shape:
                raise UserError(
                    f"{self.name} has {features} features of width {width}, but its {part} has shape {list(value.shape)}"
                )
            if value.dtype != torch.float32 or value.device.type != "cpu":
                raise UserError(f"{self.name} needs its {part} as float32 on the CPU, not {value.dtype}")
            _check_finite(self.name, part, value)

    @property
    def n_features(self) -> int:
        return len(self.encoder)

    @property
    def hidden_size(self) -> int:
        return self.encoder.shape[1]

    @cached_property
    def digest(self) -> str:
        """A hash of the layer, all settings and biases and a sample of the weights, hex: tells two SAEs apart without
        reading them whole."""
        plain = {name: value for name, value in vars(self.activation).items() if not isinstance(value, Tensor)}
        kind = (self.encoder.shape, self.layer, type(self.activation).__name__, plain, self.scaling)
        hashed = hashlib.blake2b(repr(kind).encode(), digest_size=16)
        for name, part in self._tensors().items():
            if part.ndim < 2:
                hashed.update(name.encode() + part.numpy().tobytes())
        step = max(1, self.n_features // 64)
        for rows in (self.encoder[::step], self.decoder[::step]):
            hashed.update(rows.contiguous().numpy().tobytes())
        return hashed.hexdigest()

    def encode(self, x: Tensor, features: Sequence[int] | Tensor | None = None) -> Tensor:
        """Codes of activations [..., D] in any dtype: float32 [..., F], or [..., K] for K features in the order given.

        Exact for chosen features of every kind: where they depend on the others (TopK), all are encoded a chunk of tokens
        at a time. Computed on the CPU, returned on x's device. Raises `UserError` on another width and on an index that
        the SAE does not have.
        """
        if features is None or self.activation.is_per_feature:
            return self.chosen(features)(x).to(x.device)
        indices = self._checked(features)
        whole = self.chosen(None)
        chunks = [codes[:, indices] for _, codes in whole.in_chunks(x.reshape(-1, x.shape[-1]))]
        return torch.cat(chunks).reshape(*x.shape[:-1], len(indices)).to(x.device)

    def decode(self, codes: Tensor, features: Sequence[int] | Tensor | None = None, of: Tensor | None = None) -> Tensor:
        """Activations float32 [..., D] in residual-stream units, of codes [..., F], or [..., K] of K features.

        of: [..., D], the activations that were encoded; needed where each token was scaled on its own, and used for nothing
        else. Raises `UserError` if it is needed and missing, and on codes of another width.
        """
        indices = None if features is None else self._checked(features)
        rows = self.decoder if indices is None else self.decoder.index_select(0, indices)
        if codes.shape[-1:] != (len(rows),):
            raise UserError(f"{self.name} decodes {len(rows)} codes a token, and was given {list(codes.shape)}")
        decoded = codes.to("cpu", torch.float32) @ rows + self.decoder_bias
        if self.scaling is not None:
            if of is None:
                raise UserError(f"{self.name} scales each token on its own; give decode the activations as of=")
            decoded = self.scaling.undo(decoded, of.to("cpu", torch.float32))
        return decoded.to(codes.device)

    def chosen(
        self, features: Sequence[int] | Tensor | None, device: str | torch.device | None = None
    ) -> FeatureEncoder:
        """An encoder of these features on a device, the CPU if None, which holds their rows and nothing else.

        An index may come twice and has two columns then. features=None: all of them, exact for every kind. Raises
        `UserError` on an index that the SAE does not have.
        """
        device = torch.device(device or "cpu")
        centre = None if self.centre is None else self.centre.to(device)
        if features is None:
            weight, bias, activation = self.encoder, self.encoder_bias, self.activation
            names, is_exact = tuple(range(self.n_features)), True
        else:
            indices = self._checked(features)
            weight, bias = self.encoder.index_select(0, indices), self.encoder_bias.index_select(0, indices)
            activation, is_exact = self.activation.at(indices), self.activation.is_per_feature
            names = tuple(indices.tolist())
        return FeatureEncoder(
            weight.to(device), bias.to(device), centre, activation.to(device), self.scaling, names, is_exact
        )

    def direction(self, feature: int) -> Direction:
        """A feature's row of the decoder, `feature 7`: what one unit of its code adds to the residual stream.

        Where each token is scaled on its own, it is that for a token of the length √width. Raises `UserError` on an index
        that the SAE does not have, and where no layer is known.
        """
        (index,) = self._checked([feature]).tolist()
        source = {"source": "SAE decoder", "sae": self.name, "feature": index}
        return Direction(self.decoder[index], self._known_layer(), f"feature {index}", source)

    def at_scale(self, factor: float) -> "SAE":
        """The same SAE for inputs that were multiplied by a constant factor before it saw them, as one that takes them as
        they are. Source: the fold of SAELens.
        """
        return replace(
            self,
            encoder=self.encoder * factor,
            decoder=self.decoder / factor,
            decoder_bias=self.decoder_bias / factor,
            centre=None if self.centre is None else self.centre / factor,
        )

    def _known_layer(self) -> int:
        if self.layer is None:
            raise UserError(f"{self.name} does not say which layer it reads; load it with layer=")
        return self.layer

    def _tensors(self) -> dict[str, Tensor]:
        parts = {"encoder": self.encoder, "encoder_bias": self.encoder_bias, "decoder": self.decoder}
        parts |= {"decoder_bias": self.decoder_bias} | tensors(self.activation)
        return parts if self.centre is None else parts | {"centre": self.centre}

    def _checked(self, features: Sequence[int] | Tensor) -> Tensor:
        """Indices as int64 [K]. Raises `UserError` on any that is not 0 … F − 1."""
        try:
            listed = [operator.index(feature) for feature in features]
        except TypeError as error:
            raise UserError(f"features are whole numbers from 0 to {self.n_features - 1}, not {features!r}") from error
        wrong = next((feature for feature in listed if not 0 <= feature < self.n_features), None)
        if wrong is not None:
            raise UserError(f"{self.name} has no feature {wrong}; its features are 0 to {self.n_features - 1}")
        return torch.tensor(listed, dtype=torch.int64)

    def __repr__(self) -> str:
        kind = type(self.activation).__name__
        return f"SAE({self.name!r}, {kind}, features={self.n_features}, hidden={self.hidden_size}, layer={self.layer})"

    def _repr_html_(self) -> str:
        return f"<code>{html.escape(repr(self))}</code>"


def _check_finite(name: str, part: str, value: Tensor) -> None:
    # Nothing of the matrix' size is allocated, as long as it is read in the order it lies in; NaN comes through.
    low, high = (value.T if value.ndim == 2 and not value.is_contiguous() else value).aminmax()
    if torch.isfinite(low) and torch.isfinite(high):
        return
    row = int((~torch.isfinite(value)).nonzero()[0][0]) if value.ndim else 0
    raise NonFinite(f"{name} holds NaN or infinity in row {row} of its {part}; download or train it again")


# Names of TransformerLens for models that are called otherwise elsewhere.
_ALIASES = {"gpt2-small": "gpt2"}


def check_fits(sae: SAE, subject: Residuals) -> list[str]:
    """Whether an SAE can read a subject: sentences on what may be wrong, none if nothing is known to be.

    Raises `UserError` on another width, and on a layer that the subject does not have. Another model of the same width is a
    doubt and no error: SAEs of a base model are often read on its chat model.
    """
    if sae.hidden_size != subject.hidden_size:
        raise UserError(
            f"{sae.name} reads activations of width {sae.hidden_size}, and {subject.name} has {subject.hidden_size}; it was "
            f"trained on {sae.model or 'another model'}"
        )
    if sae.layer is not None and sae.layer >= subject.n_layers:
        raise UserError(
            f"{sae.name} reads layer {sae.layer}, and {subject.name} has layers 0 to {subject.n_layers - 1}"
        )
    doubts = list(sae.notes)
    if sae.model and _plain(sae.model) != _plain(subject.name):
        doubts.append(
            f"{sae.name} was trained on {sae.model} and is read on {subject.name}; look at its measured L0 before you trust "
            "its features"
        )
    return doubts


def sae_layer(sae: SAE, subject: Residuals) -> int:
    """The layer of a subject that an SAE reads. Raises `UserError` where it is not known, and where `check_fits` does."""
    check_fits(sae, subject)
    return sae._known_layer()


def _plain(model: str) -> str:
    """A model's name without its owner, so that names of several libraries can be compared."""
    name = model.rstrip("/").replace("\\", "/").rsplit("/", 1)[-1].lower()
    return _ALIASES.get(name, name)
