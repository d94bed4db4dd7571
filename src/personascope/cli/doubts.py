"""What speaks against directions, said before anything is done with them."""

from collections.abc import Iterable
from dataclasses import replace

from personascope.cli.terminal import say
from personascope.directions import DirectionSet
from personascope.extraction.doubts import doubts


def say_doubts(directions: Iterable[DirectionSet]) -> None:
    """A line for each set that may be no good, with all that speaks against it."""
    for one in directions:
        found = doubts(one)
        if found:
            say(f"note: {one.name}: {'; '.join(found)}")


def say_reading_doubts(directions: Iterable[DirectionSet]) -> None:
    """The same where directions are only read: what steering with them does is left out, and several share a line."""
    read = [replace(one, choices={**one.choices, "steering": None}) for one in directions]
    doubtful = [one for one in read if doubts(one)]
    if len(doubtful) < 2:
        say_doubts(doubtful)
        return
    names = ", ".join(one.name for one in doubtful)
    say(f"note: {names} may not be read surely; asked for alone (--trait NAME) each says why")
