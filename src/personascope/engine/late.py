"""Means over tokens that count from a response's end: known once it has ended, and read then in one pass more."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

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
        """The rows with the means of all selections, where they asked for any."""
        out = [generation for _, generation in ended]
        late = [one for one in self.means if not one.is_forward]
        asking = [place for place, (request, one) in enumerate(ended) if request.reads and one.error is None]
        if not late or not asking:
            return out
        for place in asking:
            request, generation = ended[place]
            passage = Passage(request.prompt, tuple(generation.response_ids), request.writes)
            try:
                found = means_of(self.subject, [passage], self.layers, late, allows_empty=True)[0]
            except NonFinite as error:
                out[place] = replace(generation, finish="non-finite", error=str(error))
                continue
            sources = iter(() if generation.means is None else generation.means.unbind(1)), iter(found)
            columns = [next(sources[not one.is_forward]) for one in self.means]
            out[place] = replace(generation, means=torch.stack(columns, dim=1))
        return out
