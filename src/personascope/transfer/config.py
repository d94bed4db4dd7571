"""What a transfer experiment is asked for: a YAML or JSON file, checked before anything is loaded."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_validator,
)

from personascope.transfer.conditions import FEW, METHODS, Method
from personascope.transfer.normalizing import Normalize
from personascope.transfer.pairing import Positions
from personascope.transfer.ridge import LAMBDAS


def _number(given: Any) -> Any:
    # To Python, true is 1.
    if isinstance(given, bool):
        raise ValueError(f"{str(given).lower()} is no number")
    return given


def _layer(given: Any, check: ValidatorFunctionWrapHandler) -> Any:
    try:
        return check(_number(given))
    except (ValidationError, ValueError) as error:
        raise ValueError(f"{given!r} is no layer; give its number, counted from 0, or auto") from error


def _list(given: Any) -> Any:
    if isinstance(given, str | int | float | dict):
        raise ValueError(f"{given!r} is no list" + ("" if isinstance(given, dict) else f"; write [{given}]"))
    return given


Number = Annotated[float, BeforeValidator(_number)]
Whole = Annotated[int, BeforeValidator(_number)]
Layer = Annotated[Literal["auto"] | Annotated[int, Field(ge=0)], WrapValidator(_layer)]
Alpha = Annotated[Number, Field(allow_inf_nan=False)]
Count = Annotated[Whole, Field(ge=1)]
Alphas = Annotated[tuple[Alpha, ...], BeforeValidator(_list)]
Methods = Annotated[tuple[Method, ...], BeforeValidator(_list)]


class PersonaDataset(BaseModel):
    """A persona by contrasting texts. description: what it is, in a sentence; the judge and the system prompt use it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    description: str = ""
    positive_texts: Annotated[tuple[str, ...], Field(min_length=1)]
    negative_texts: Annotated[tuple[str, ...], Field(min_length=1)]


class Sweep(BaseModel):
    """Ablations beside the experiment itself. layers: (source, target), or one number for both. n_training_samples: of so
    many texts. methods, alpha_values: what is run at each; by default the middle one of the experiment's α, as those were
    when it was first started."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    layers: Annotated[tuple[tuple[Whole, Whole], ...], BeforeValidator(_list)] = ()
    n_training_samples: Annotated[tuple[Annotated[Whole, Field(ge=2)], ...], BeforeValidator(_list)] = ()
    methods: Methods = ("ridge_mapped", "oracle")
    alpha_values: Alphas = ()

    @field_validator("layers", mode="before")
    @classmethod
    def _one_for_both(cls, layers: Any) -> Any:
        return [(one, one) if isinstance(one, int) else one for one in layers] if isinstance(layers, list) else layers


class TransferConfig(BaseModel):
    """One experiment.

    source_layer, target_layer: `auto` chooses by CKA; layer_idx sets both. n_training_samples: texts that both models
    read; corpus: `mixed`, `neutral`, `leave-persona-out` (of organisms), `shipped`, or a file, a folder or hf:DATASET;
    where none is given for models that are no organisms, `shipped`, as many texts as there are; positions, lambdas,
    relative, folds, center: as in `pair_activations` and `fit_map`. prompts: a file, or the shipped neutral questions; the
    first n_development_prompts choose α, the next n_test_prompts report. seeds: responses to each test prompt. personas:
    names, persona files or contrasting texts. normalize: see `normalizing.scaled`. extraction_…: as in `extract`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source_model: str
    target_model: str
    output_dir: Path
    personas: dict[str, PersonaDataset | str | None]
    source_layer: Layer = "auto"
    target_layer: Layer = "auto"
    n_training_samples: Annotated[Whole, Field(ge=2)] = 5_000
    corpus: str = "mixed"
    column: str | None = None
    positions: Positions = "aligned"
    lambdas: Annotated[tuple[Annotated[Number, Field(ge=0, allow_inf_nan=False)], ...], BeforeValidator(_list)] = (
        LAMBDAS
    )
    relative: bool = False
    folds: Annotated[Whole, Field(ge=2)] = 5
    center: bool = True
    prompts: Path | None = None
    n_test_prompts: Count = 30
    n_development_prompts: Count = 10
    methods: Methods = METHODS
    alpha_values: Alphas = (0.5, 1.0, 2.0, 3.0, 5.0)
    seeds: Count = 3
    max_new_tokens: Count = 100
    temperature: Annotated[Number, Field(ge=0, allow_inf_nan=False)] = 1.0
    normalize: Normalize = "residual"
    residual_fraction: Annotated[Number, Field(gt=0, allow_inf_nan=False)] = 0.25
    judge: str = "auto"
    judge_scale: Literal["0-100", "1-5"] = "0-100"
    judge_fraction: Annotated[Number, Field(gt=0, le=1)] = 1.0
    extraction_samples: Count = 2
    extraction_questions: Count | None = None
    extraction_max_new_tokens: Count = 200
    sweep: Sweep = Sweep()
    seed: Annotated[Whole, Field(ge=0)] = 0

    @model_validator(mode="before")
    @classmethod
    def _one_layer_for_both(cls, given: Any) -> Any:
        if not isinstance(given, dict) or "layer_idx" not in given:
            return given
        both = dict.fromkeys(("source_layer", "target_layer"), given["layer_idx"])
        if both.keys() & given.keys():
            raise ValueError("layer_idx sets both layers; give it, or source_layer and target_layer")
        return {**{name: value for name, value in given.items() if name != "layer_idx"}, **both}

    @field_validator("personas", mode="before")
    @classmethod
    def _listed(cls, personas: Any) -> Any:
        if isinstance(personas, str):
            personas = [personas]
        if not isinstance(personas, list | tuple):
            return personas
        named: dict[str, Any] = {}
        for one in personas:
            if isinstance(one, dict) and len(one) == 1:
                ((name, held),) = one.items()
            elif isinstance(one, str):
                name, held = Path(one).stem if is_file(one) else one, one
            else:
                raise ValueError(f"{one!r} is no persona; write a name, a file, or NAME: and under it what it is")
            if name in named:
                raise ValueError(f"two personas are called {name!r}; list one, or write NAME: FILE with another name")
            named[name] = held
        return named

    @model_validator(mode="after")
    def _holds_together(self) -> "TransferConfig":
        for name, values in (("alpha_values", self.alpha_values), ("sweep.alpha_values", self.sweep.alpha_values)):
            if len(set(values)) < len(values):
                raise ValueError(f"{name} names an α twice")
            if 0 in values:
                raise ValueError(f"{name} holds 0, which is the baseline; leave it out")
        for name, found, why in (
            ("alpha_values", self.alpha_values, "give at least one α, such as [1.0]"),
            ("personas", self.personas, "give at least one persona"),
            ("lambdas", self.lambdas, "give at least one penalty, such as [1.0]"),
            ("methods", self.methods, f"give some of {', '.join(METHODS)}"),
        ):
            if not found:
                raise ValueError(f"{name} is empty; {why}")
        asked = self.methods if "methods" in self.model_fields_set else ()
        for one in (*asked, *self.sweep.methods):
            if one in self._lacking:
                needs = f"{FEW[one]} texts of each pole" if one in FEW else "two personas"
                raise ValueError(f"methods has {one}, which needs {needs}; give them, or leave it out")
        return self

    @property
    def _lacking(self) -> set[str]:
        """Methods that the personas do not allow: the wrong persona needs two, an oracle from so many contrast pairs as many
        texts of each pole."""
        given = [one for one in self.personas.values() if isinstance(one, PersonaDataset)]
        pairs = min((len(texts) for one in given for texts in (one.positive_texts, one.negative_texts)), default=None)
        too_many = {one for one, count in FEW.items() if pairs is not None and count > pairs}
        return {*too_many, *(("wrong_persona",) if len(self.personas) < 2 else ())}

    @property
    def steered(self) -> tuple[Method, ...]:
        """The methods once each that the personas allow, without the baseline, which is always run."""
        return tuple(one for one in dict.fromkeys(self.methods) if one not in {"baseline", *self._lacking})

    @property
    def swept_alphas(self) -> tuple[float, ...]:
        return self.sweep.alpha_values or (sorted(self.alpha_values)[(len(self.alpha_values) - 1) // 2],)


def is_file(name: str) -> bool:
    return name.endswith(".json") or "/" in name
