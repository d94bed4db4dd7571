"""Writing to the residual stream: add, ablate, cap and replace, as values."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal

from personascope.directions import Direction, DirectionSet
from personascope.engine.selection import Selection, select
from personascope.errors import UserError

Operation = Literal["add", "ablate", "cap", "replace"]


@dataclass(frozen=True, eq=False)
class Write:
    """One change to the residual stream at the directions' layers, on the selected tokens.

    `add` puts α·v on the stream. The others set the stream's component along v̂ and leave the rest alone: to 0, to
    within [floor, ceiling], or to `value`, in residual-stream units.
    """

    operation: Operation
    directions: tuple[Direction, ...]
    tokens: Selection
    alpha: float = 0.0
    floor: float = -math.inf
    ceiling: float = math.inf
    relative: bool = False

    def describe(self) -> list[dict[str, Any]]:
        """Plain values, one per layer, for results and pages."""
        rows = []
        for direction in self.directions:
            row: dict[str, Any] = {
                "operation": self.operation,
                "direction": direction.key,
                "layer": direction.layer,
                "norm": direction.norm,
                "tokens": str(self.tokens),
            }
            if self.operation == "add":
                row |= {"alpha": self.alpha, "relative": self.relative}
            else:
                row |= {
                    "floor": self.floor if math.isfinite(self.floor) else None,
                    "ceiling": self.ceiling if math.isfinite(self.ceiling) else None,
                }
            rows.append(row)
        return rows


def add(
    direction: Direction | DirectionSet, alpha: float, tokens: str | Selection = "sampling", relative: bool = False
) -> Write:
    """h ← h + α·v on the selected tokens.

    A direction set is added at all of its layers. relative: α counts in units of the layer's median residual norm,
    along v̂. Raises `UserError` if α is not finite. Source: activation addition (Turner et al., 2023), contrastive
    activation addition (Rimsky et al., 2024).
    """
    if not _is_finite(alpha):
        raise UserError(f"alpha={alpha!r:.40} is not a finite number; steering starts to break text at a few times 1.0")
    if relative:
        for one in _directions(direction):
            one.unit()
    return Write("add", _directions(direction), _for_writing(tokens), alpha=float(alpha), relative=relative)


def ablate(direction: Direction | DirectionSet, tokens: str | Selection = "sampling") -> Write:
    """h ← h − (h·v̂)v̂ on the selected tokens. Raises `ZeroDirection`. Source: Arditi et al., 2024."""
    return _set_component("ablate", direction, tokens, 0.0, 0.0)


def cap(
    direction: Direction | DirectionSet,
    floor: float | None = None,
    ceiling: float | None = None,
    tokens: str | Selection = "sampling",
) -> Write:
    """Keep h·v̂ within [floor, ceiling] on the selected tokens; inside the bounds nothing changes.

    Raises `UserError` without a bound or with crossed ones, `ZeroDirection`. Source: activation capping (the
    assistant axis, Lu et al., 2026).
    """
    if floor is None and ceiling is None:
        raise UserError("cap needs a floor, a ceiling or both, in residual-stream units")
    for bound in (floor, ceiling):
        if bound is not None and not _is_finite(bound):
            raise UserError(f"cap takes finite numbers, not {bound!r:.40}; leave out the bound that you do not want")
    low = -math.inf if floor is None else float(floor)
    high = math.inf if ceiling is None else float(ceiling)
    if low > high:
        raise UserError(f"cap needs floor ≤ ceiling, not {low} and {high}")
    return _set_component("cap", direction, tokens, low, high)


def replace(direction: Direction | DirectionSet, value: float, tokens: str | Selection = "sampling") -> Write:
    """Set h·v̂ to `value`, in residual-stream units. Raises `UserError` if it is not finite, `ZeroDirection`."""
    if not _is_finite(value):
        raise UserError(f"value={value!r:.40} is not a finite number; give a projection in residual-stream units")
    return _set_component("replace", direction, tokens, float(value), float(value))


def _is_finite(value: Any) -> bool:
    try:
        return isinstance(value, Real) and math.isfinite(value)
    except OverflowError:
        return False


def _set_component(
    operation: Operation, direction: Direction | DirectionSet, tokens: str | Selection, floor: float, ceiling: float
) -> Write:
    directions = _directions(direction)
    for one in directions:
        one.unit()
    return Write(operation, directions, _for_writing(tokens), floor=floor, ceiling=ceiling)


def _directions(direction: Direction | DirectionSet) -> tuple[Direction, ...]:
    if isinstance(direction, Direction):
        return (direction,)
    if isinstance(direction, DirectionSet):
        return tuple(direction)
    raise UserError(f"a write needs a Direction or a DirectionSet, not {type(direction).__name__}")


def _for_writing(tokens: str | Selection) -> Selection:
    return select(tokens).checked_for_writing()


def per_row(steer: Sequence[Any] | None, rows: int) -> list[tuple[Write, ...]]:
    """Each row's writes: one list for all of them, or a list of lists. Raises `UserError` on a wrong count."""
    if isinstance(steer, Write | Direction):
        steer = [steer]
    if steer is not None and not isinstance(steer, Iterable):
        raise UserError(f"steer={steer!r:.40} is no write; give a list of writes such as ps.add(direction, 1.0)")
    steer = list(steer or ())
    if any(isinstance(one, Direction | DirectionSet) for one in steer):
        raise UserError("steer takes writes, not bare directions; say how far, such as ps.add(direction, 1.0)")
    if not steer:
        return [()] * rows
    if all(isinstance(item, Write) for item in steer):
        return [tuple(steer)] * rows
    if any(isinstance(item, Write) for item in steer):
        raise UserError("steer mixes writes and lists of writes; give one list of writes, or one list per row")
    if len(steer) != rows:
        raise UserError(f"steer has {len(steer)} lists of writes for {rows} rows; give one per row")
    lists = [tuple(item or ()) for item in steer]
    if not all(isinstance(write, Write) for row in lists for write in row):
        raise UserError("every item of steer must be a write such as ps.add(direction, 1.0)")
    return lists


def check_width(directions: Iterable[Direction], hidden_size: int, n_layers: int, name: str) -> None:
    """Raise `UserError` unless every direction fits the model."""
    for direction in directions:
        if direction.hidden_size != hidden_size:
            raise UserError(
                f"direction {direction.key!r} has width {direction.hidden_size}, but {name} has {hidden_size}: "
                "it comes from another model; extract it from this one or transfer it"
            )
        if direction.layer >= n_layers:
            raise UserError(
                f"direction {direction.key!r} is at layer {direction.layer}, but {name} has layers 0 to {n_layers - 1}"
            )
