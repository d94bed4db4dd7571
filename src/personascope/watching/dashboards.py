"""Projections per token that another tool measured: a trait dashboard's JSON, as a watch run."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from personascope.errors import UserError

_PARTS = ("prompt", "response")
_NAMES_OF_NORMS = ("token_norms", "activation_norms", "norms")


class _Series(NamedTuple):
    trait: str
    layer: int
    values: np.ndarray
    norms: np.ndarray | None


@dataclass(frozen=True)
class Dashboard:
    """One text with the projections that were measured on it.

    tokens: prompt and response; prompt_length: how many are the prompt's. projections: by `name@layer`, [tokens]; norms:
    by layer, [tokens], where the file has them.
    """

    label: str
    tokens: list[str]
    prompt_length: int
    projections: dict[str, np.ndarray]
    norms: dict[int, np.ndarray] = field(default_factory=dict)


def read_dashboard(
    path: str | Path, tokens: str | Path | None = None, name: str | None = None, layer: int | None = None
) -> Dashboard:
    """A dashboard's JSON: prompt and response apart, one list of numbers per trait and layer, norms beside them.

    Understood are `projections` of one trait ({"prompt": […], "response": […]}, or a list of such with a `layer` each), of
    several ({trait: {layer: {"prompt", "response"}}}), and norms under `token_norms`, `activation_norms` or `norms`.
    tokens: the file that holds `tokens` and `prompt_end`, where this one doesn't. name, layer: where the file says
    neither. Raises `UserError` naming what is missing or of another length.
    """
    path = Path(path)
    plain = _load(path)
    pieces, length, label = _tokens(path, plain if tokens is None else _load(Path(tokens)))
    found = list(_series(path, plain, name, layer))
    projections: dict[str, np.ndarray] = {}
    norms: dict[int, np.ndarray] = {}
    for one in found:
        key = f"{one.trait}@{one.layer}"
        for what, values in (("projections", one.values), ("norms", one.norms)):
            if values is not None and len(values) != len(pieces):
                raise UserError(f"{path}: {len(values)} {what} of {key} for {len(pieces)} tokens; they must agree")
        projections[key] = one.values
        if one.norms is not None:
            norms[one.layer] = one.norms
    return Dashboard(label, pieces, length, projections, norms)


def dashboard_run(dashboards: Sequence[Dashboard]) -> dict[str, Any]:
    """`watch.json` of some dashboards, of equal traits and layers. Zero and unit of z are those of these texts
    themselves, prompt and response apart: without the model there is nothing neutral to measure on.

    Raises `UserError` where their traits or layers differ.
    """
    keys = sorted(dashboards[0].projections)
    for one in dashboards:
        if sorted(one.projections) != keys:
            raise UserError(f"{one.label!r} has other traits or layers than {dashboards[0].label!r}; import them apart")
    scales: dict[str, dict[str, dict[str, float]]] = {part: {} for part in _PARTS}
    for key in keys:
        for part in _PARTS:
            values = np.concatenate([_part(one, one.projections[key], part) for one in dashboards])
            unit = float(values.std()) if len(values) > 1 else 0.0
            scales[part][key] = {"zero": float(values.mean()) if len(values) else 0.0, "unit": max(unit, 1e-9)}
    names = list(dict.fromkeys(key.rpartition("@")[0] for key in keys))
    layers = sorted({int(key.rpartition("@")[2]) for key in keys})
    held = {
        name: sorted(int(key.rpartition("@")[2]) for key in keys if key.rpartition("@")[0] == name) for name in names
    }
    return {
        "traits": [
            {
                "name": name,
                "positive_pole": "",
                "read_layer": held[name][len(held[name]) // 2],
                "layers": held[name],
                "doubt": None,
            }
            for name in names
        ],
        "layers": layers,
        "calibration": scales,
        "rule": None,
        "rows": [_row(one, scales) for one in dashboards],
    }


def _row(one: Dashboard, scales: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, Any]:
    z = {}
    for key, values in one.projections.items():
        parts = []
        for part in _PARTS:
            scale = scales[part][key]
            parts.append((_part(one, values, part) - scale["zero"]) / scale["unit"])
        z[key] = np.concatenate(parts).tolist()
    layers = sorted({int(key.rpartition("@")[2]) for key in one.projections})
    return {
        "label": one.label,
        "prompt": "".join(one.tokens[: one.prompt_length]),
        "text": "".join(one.tokens[one.prompt_length :]),
        "tokens": one.tokens,
        "token_ids": [],
        "prompt_length": one.prompt_length,
        "turns": [],
        "seed": None,
        "finish": "imported",
        "error": None,
        "writes": [],
        "projections": {key: values.tolist() for key, values in one.projections.items()},
        "z": z,
        # A norm of zero stands for one that was not measured: there is no cosine.
        "norms": {str(layer): one.norms.get(layer, np.zeros(len(one.tokens))).tolist() for layer in layers},
        "points": [],
        "verdicts": [],
    }


def _part(one: Dashboard, values: np.ndarray, part: str) -> np.ndarray:
    return values[: one.prompt_length] if part == "prompt" else values[one.prompt_length :]


def _load(path: Path) -> dict[str, Any]:
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; give a dashboard's JSON") from error
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not readable JSON: {error}") from error
    if not isinstance(plain, dict):
        raise UserError(f"{path} holds no JSON object")
    if "instruction" in plain and "questions" in plain:
        raise UserError(f"{path} is a persona file, and is used as it is: --trait {path}")
    if "conversation" in plain and "projections" not in plain:
        raise UserError(f"{path} is a transcript, and is used as it is: --prompts or --responses {path}")
    return plain


def _tokens(path: Path, plain: Mapping[str, Any]) -> tuple[list[str], int, str]:
    """All tokens, how many are the prompt's, and a label."""
    halves: list[Any] = []
    for part in _PARTS:
        inside = plain.get(part)
        held = inside.get("tokens") if isinstance(inside, dict) else plain.get(f"{part}_tokens")
        halves.append(held)
    if all(isinstance(half, list) for half in halves):
        pieces, length = [*halves[0], *halves[1]], len(halves[0])
    elif isinstance(plain.get("tokens"), list) and isinstance(plain.get("prompt_end"), int):
        pieces, length = plain["tokens"], plain["prompt_end"]
    else:
        raise UserError(
            f"{path} does not say what its tokens are (prompt and response with tokens each, or tokens and prompt_end); "
            "give the file that does with --tokens"
        )
    if not all(isinstance(piece, str) for piece in pieces) or not 0 <= length <= len(pieces):
        raise UserError(f"{path}: tokens must be texts, and the prompt must end among them")
    said = plain.get("prompt")
    said = said.get("text") if isinstance(said, dict) else said
    label = said if isinstance(said, str) else "".join(pieces[:length])
    return list(pieces), length, label if len(label) <= 60 else label[:57] + "…"


def _series(path: Path, plain: Mapping[str, Any], name: str | None, layer: int | None) -> Iterator[_Series]:
    projections = plain.get("projections")
    norms = next((plain[key] for key in _NAMES_OF_NORMS if key in plain), None)
    metadata = plain.get("metadata", {})
    metadata = metadata if isinstance(metadata, dict) else {}
    source = metadata.get("vector_source", metadata)
    known_layer = layer if layer is not None else source.get("layer") if isinstance(source, dict) else None
    known_name = name or metadata.get("trait") or plain.get("trait") or path.stem
    if isinstance(projections, list):
        for one in projections:
            own = next((one[key] for key in _NAMES_OF_NORMS if key in one), norms) if isinstance(one, dict) else None
            yield _one(path, str(known_name), one.get("layer") if isinstance(one, dict) else None, one, own)
    elif isinstance(projections, dict) and set(_PARTS) <= set(projections):
        yield _one(path, str(known_name), known_layer, projections, norms)
    elif isinstance(projections, dict) and projections:
        for trait, layers in projections.items():
            if isinstance(layers, dict) and set(_PARTS) <= set(layers):
                yield _one(path, trait, known_layer, layers, norms)
                continue
            for at, one in layers.items() if isinstance(layers, dict) else ():
                number = re.fullmatch(r"(?:layer[_ ]?)?(\d+)", str(at))
                beside = norms.get(at) if isinstance(norms, dict) and at in norms else norms
                yield _one(path, trait, int(number[1]) if number else None, one, beside)
    else:
        raise UserError(f"{path} has no projections: lists of numbers for prompt and response")


def _one(path: Path, trait: str, layer: Any, one: Any, norms: Any) -> _Series:
    if not isinstance(layer, int) or layer < 0:
        raise UserError(f"{path} does not say at which layer {trait!r} was measured; give --layer")
    values = _numbers(path, trait, one)
    if values is None:
        raise UserError(f"{path}: the projections of {trait!r} are not lists of numbers for prompt and response")
    return _Series(trait.replace("/", " "), layer, values, _numbers(path, "norms", norms))


def _numbers(path: Path, what: str, halves: Any) -> np.ndarray | None:
    """Prompt and response joined; None where there are no such lists. Raises `UserError` on NaN."""
    if not isinstance(halves, dict) or not all(isinstance(halves.get(part), list) for part in _PARTS):
        return None
    try:
        values = np.asarray([*halves["prompt"], *halves["response"]], dtype=np.float64)
    except (TypeError, ValueError):
        return None
    if values.ndim != 1 or not np.isfinite(values).all():
        raise UserError(f"{path}: {what!r} holds NaN or infinity in place of a number")
    return values
