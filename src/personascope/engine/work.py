"""How much rows take, known before they are run."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Work:
    """rows: how many rollouts; sampled: the tokens that are sampled in them at most; given: those of texts that are already
    written, which they go on from. Prompts are not counted."""

    rows: int = 0
    sampled: int = 0
    given: int = 0

    @classmethod
    def of(cls, rows: int, sampled: int, given: int = 0) -> "Work":
        """So many rows of so many tokens each."""
        return cls(rows, rows * sampled, rows * given)

    def __add__(self, other: "Work") -> "Work":
        return Work(self.rows + other.rows, self.sampled + other.sampled, self.given + other.given)
