"""The settings that other tools leave beside an SAE's weights."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personascope.errors import UserError


@dataclass(frozen=True)
class Config:
    """A JSON object of settings, and the file it stands in. Each reader raises `UserError` on a value of another kind."""

    path: Path
    values: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> "Config":
        """Raises `UserError` where there is no such file, and where it holds no JSON object."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise UserError(f"{path.parent} has weights but no {path.name}, which says how to read them") from error
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"{path} is not a readable JSON file: {error}") from error
        if not isinstance(values, dict):
            raise UserError(f"{path} holds a {type(values).__name__} and no settings")
        return cls(path, values)

    @classmethod
    def read_if_there(cls, path: Path) -> "Config":
        return cls.read(path) if path.is_file() else cls(path, {})

    def part(self, key: str) -> "Config":
        """The settings under a key; none where it is absent or null."""
        value = self.values.get(key)
        return Config(self.path, {} if value is None else self._kind(key, value, dict, "an object"))

    def text(self, key: str) -> str | None:
        value = self.values.get(key)
        return None if value is None else self._kind(key, value, str, "a text")

    def whole(self, key: str) -> int | None:
        """A number from 0 up without a fraction."""
        number = self.number(key)
        if number is not None and (number < 0 or number != int(number)):
            raise UserError(f"{self.path} has {key}={number}, which should be a whole number from 0 up")
        return None if number is None else int(number)

    def number(self, key: str) -> float | None:
        value = self.values.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < float("inf"):
            raise UserError(f"{self.path} has {key}={value!r}, which should be a number")
        return float(value)

    def is_on(self, key: str, otherwise: bool = False) -> bool:
        value = self.values.get(key)
        return otherwise if value is None else self._kind(key, value, bool, "true or false")

    def _kind(self, key: str, value: Any, kind: type, words: str) -> Any:
        if not isinstance(value, kind):
            raise UserError(f"{self.path} has {key}={value!r}, which should be {words}")
        return value
