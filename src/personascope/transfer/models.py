"""The two models of an experiment, of which one at a time need be in memory."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from personascope.engine import load
from personascope.subject import Subject
from personascope.transfer.reader import Reader


@dataclass
class Models:
    """Loads a model when it is its turn, and lets go of the one before. given: those that are loaded already, by name, and
    stay. settings: as for `load`. readers: of those that were loaded, by name."""

    given: dict[str, Subject] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    held: tuple[str, Subject] | None = None
    readers: dict[str, Reader] = field(default_factory=dict)

    def open(self, name: str) -> Subject:
        if name in self.given:
            return self.given[name]
        if self.held is None or self.held[0] != name:
            self.held = None
            self.held = name, load(name, **self.settings)
        return self.held[1]

    def opener(self, name: str) -> Callable[[], Subject]:
        """How to get a model when its turn comes."""
        return lambda: self.open(name)

    def reader(self, name: str) -> Reader:
        """What reads text as a model does; it is loaded for that the first time alone."""
        if name not in self.readers:
            self.readers[name] = Reader.of(self.open(name))
        return self.readers[name]
