"""Configurations of transfer experiments as files, and those that are shipped."""

import difflib
import json
from collections.abc import Mapping
from importlib import resources
from os import PathLike
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from personascope.errors import UserError
from personascope.transfer.config import PersonaDataset, Sweep, TransferConfig, is_file
from personascope.transfer.corpora import is_given

_SHIPPED = resources.files(__package__) / "experiments"
# Other names that the same thing goes by.
_ALIASES = {"persona_datasets": "personas", "lambda_values": "lambdas", "alphas": "alpha_values"}


def load_config(source: str | Path | Mapping[str, Any] | TransferConfig, **fields: Any) -> TransferConfig:
    """A configuration from a .yaml or .json file, the name of a shipped one, or plain values. fields: in place of its own.

    Persona files and other paths in a file may be given from where it lies. Raises `UserError` naming the field; an
    unknown one with the nearest known.
    """
    if isinstance(source, TransferConfig):
        return (
            _checked({**source.model_dump(exclude_unset=True), **fields}, "the configuration", None)
            if fields
            else source
        )
    if isinstance(source, Mapping):
        return _checked({**source, **fields}, "the configuration", None)
    if not isinstance(source, str | PathLike):
        raise UserError(f"{source!r:.60} is no experiment; give a .yaml or .json file, a shipped name, or plain values")
    path = Path(source)
    if not path.suffix and not path.exists():
        return _shipped(str(source), fields)
    if path.suffix.lower() not in (".yaml", ".yml", ".json"):
        raise UserError(f"{path} is of no known kind; write the experiment as .yaml or .json")
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UserError(
            f"{path} does not exist; give a .yaml or .json file as --config, or one that is shipped by its name alone: "
            f"{', '.join(_shipped_names())}"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    return _checked({**_parsed(text, path), **fields}, str(path), path.parent)


def _shipped_names() -> list[str]:
    return sorted(entry.name.removesuffix(".yaml") for entry in _SHIPPED.iterdir() if entry.name.endswith(".yaml"))


def _shipped(name: str, fields: Mapping[str, Any]) -> TransferConfig:
    names = _shipped_names()
    if name not in names:
        raise UserError(f"no experiment {name!r} is shipped; give a .yaml or .json file, or one of {', '.join(names)}")
    text = (_SHIPPED / f"{name}.yaml").read_text(encoding="utf-8")
    return _checked({**_parsed(text, Path(f"{name}.yaml")), **fields}, name, None)


class _Loader(yaml.SafeLoader):
    """YAML in which a key may be given once: of two, the first would be dropped without a word."""

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)  # type: ignore[no-untyped-call]
        seen = set()
        for key, _ in node.value:
            if (key.tag, str(key.value)) in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} is there twice", problem_mark=key.start_mark)
            seen.add((key.tag, str(key.value)))
        return node


def _once(pairs: list[tuple[str, Any]], path: Path) -> dict[str, Any]:
    """An object of JSON. Raises `UserError` where a key is there twice."""
    held: dict[str, Any] = {}
    for key, value in pairs:
        if key in held:
            raise UserError(f"{path}: the key {key!r} is there twice; keep one of them")
        held[key] = value
    return held


def _parsed(text: str, path: Path) -> dict[str, Any]:
    try:
        if path.suffix.lower() == ".json":
            found = json.loads(text, object_pairs_hook=lambda pairs: _once(pairs, path))
        else:
            found = yaml.load(text, _Loader)
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path}, line {error.lineno}: {error.msg.lower().removesuffix(' at')}; correct the JSON there"
        ) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{path}{line}: {getattr(error, 'problem', None) or error}; correct the YAML there") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} must hold keys and values, such as source_model: organism:llama")
    return found


def _checked(given: dict[str, Any], where: str, folder: Path | None) -> TransferConfig:
    plain = dict(given)
    for other, name in _ALIASES.items():
        if other in plain:
            if name in plain:
                raise UserError(f"{where} has both {name} and {other}, which are the same; keep one of them")
            plain[name] = plain.pop(other)
    known = [*TransferConfig.model_fields, *_ALIASES, "layer_idx"]
    _refuse_unknown(plain, known, where)
    _refuse_empty(plain, TransferConfig, where)
    if isinstance(plain.get("sweep"), dict):
        _refuse_unknown(plain["sweep"], list(Sweep.model_fields), f"{where}, sweep")
        _refuse_empty(plain["sweep"], Sweep, f"{where}, sweep")
    personas = plain.get("personas")
    listed = personas if isinstance(personas, list | tuple) else [personas]
    for name, one in [pair for each in listed if isinstance(each, dict) for pair in each.items()]:
        # A list's entry of several keys is no persona at all, and said to be so.
        if isinstance(one, dict):
            _refuse_unknown(one, list(PersonaDataset.model_fields), f"{where}, persona {name}")
    try:
        config = TransferConfig.model_validate(plain)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"] if part not in ("PersonaDataset", "str")) or "as a whole"
        field = "layer_idx" if "layer_idx" in plain and field in ("source_layer", "target_layer") else field
        raise UserError(f"{where}, {field}: {first['msg'].removeprefix('Value error, ')}") from error
    return config if folder is None else _from_folder(config, folder)


def _refuse_unknown(given: Mapping[str, Any], known: list[str], where: str) -> None:
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            raise UserError(f"{where} has an unknown key {key!r}; {hint}")


def _refuse_empty(given: Mapping[str, Any], model: type[BaseModel], where: str) -> None:
    """A key without a value is null to YAML."""
    for key, value in given.items():
        if value is None and (key not in model.model_fields or model.model_fields[key].default is not None):
            none = ", or write judge: none" if key == "judge" else ""
            raise UserError(f"{where}, {key}: there is no value; give one{none}, or leave the line out")


def _from_folder(config: TransferConfig, folder: Path) -> TransferConfig:
    """Files that lie where the configuration does, by paths that lead there."""

    def placed(path: str | Path) -> str:
        beside = folder / path
        return str(beside) if not Path(path).exists() and beside.exists() else str(path)

    personas = {
        name: placed(one) if isinstance(one, str) and is_file(one) else one for name, one in config.personas.items()
    }
    prompts = None if config.prompts is None else Path(placed(config.prompts))
    update: dict[str, Any] = {"personas": personas, "prompts": prompts}
    if is_given(config.corpus):
        update["corpus"] = placed(config.corpus)
    # What is updated counts as given, and a corpus that was not must not.
    return config.model_copy(update=update)
