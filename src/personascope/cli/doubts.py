"""What speaks against directions, said before anything is done with them."""

from collections.abc import Iterable

from personascope.cli.terminal import say
from personascope.directions import DirectionSet
from personascope.extraction.doubts import doubts


def say_doubts(directions: Iterable[DirectionSet]) -> None:
    """A line for each set that may be no good, with all that speaks against it."""
    for one in directions:
        found = doubts(one)
        if found:
            say(f"note: {one.name}: {'; '.join(found)}")
