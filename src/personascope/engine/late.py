"""Means over tokens that count from a response's end: known once it has ended, and read then in one pass more."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from personascope.engine.forward import Passage, means_of
from personascope.engine.rows import Generation, Request
from personascope.engine.selection import Selection
from personascope.errors import NonFinite
from personascope.subject import Subject


@dataclass(frozen=True)
class LateMeans:
    """Completes what was read while rows ran. means: all selections that were asked for, in order."""

    subject: Subject
    means: tuple[Selection, ...]
    layers: tuple[int, ...]

    @property
    def early(self) -> tuple[Selection, ...]:
        """Those that are read while a row runs."""
        return tuple(one for one in self.means if one.is_forward)

    def completed(self, ended: Sequence[tuple[Request, Generation]]) -> list[Generation]:
        """The rows with the means of all selections, where they asked for any and were not cancelled before they began."""
        out = [generation for _, generation in ended]
        late = [one for one in self.means if not one.is_forward]
        asking = [
            place
            for place, (request, one) in enumerate(ended)
            if late and request.reads and one.error is None and (one.means is not None or not self.early)
        ]
        if not asking:
            return out
        passages = [_passage(*ended[place]) for place in asking]
        for place, found in zip(asking, self._read(passages, late), strict=True):
            if isinstance(found, NonFinite):
                out[place] = replace(out[place], finish="non-finite", error=str(found))
                continue
            early = out[place].means
            sources = iter(() if early is None else early.unbind(1)), iter(found)
            columns = [next(sources[not one.is_forward]) for one in self.means]
            out[place] = replace(out[place], means=torch.stack(columns, dim=1))
        return out

    def _read(self, passages: Sequence[Passage], late: Sequence[Selection]) -> list[Tensor | NonFinite]:
        """Of each passage [selections, layers, hidden]: of all in one pass, and of each alone where some have no number."""
        try:
            return list(means_of(self.subject, passages, self.layers, late, allows_empty=True))
        except NonFinite as error:
            return [error] if len(passages) == 1 else [self._read([one], late)[0] for one in passages]


def _passage(request: Request, generation: Generation) -> Passage:
    return Passage(request.prompt, tuple(generation.response_ids), request.writes)
