"""A whole study by question insertion: several roles, the controls of each, and whether roles are told apart."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from personascope.corpora import Transcript
from personascope.directions import Direction
from personascope.errors import UserError
from personascope.persistence.insertion import insertion, points_of
from personascope.persistence.nearest import Classification, classify
from personascope.persistence.signature import Insertion
from personascope.runs import Shards
from personascope.statistics import holm
from personascope.subject import Subject

# What is asked at: the transcripts as they were held, and three that take something away from them.
ARMS = ("as held", "no instruction", "by the user", "shuffled")
NO_ROLE = "no role"


@dataclass(frozen=True)
class Inserting:
    """What is to be asked. transcripts: those of roles; control: what is taken off, None: each question on its own."""

    transcripts: tuple[Transcript, ...]
    control: tuple[Transcript, ...] | None
    without_role: tuple[Transcript, ...]
    control_name: str
    questions: tuple[str, ...]
    points: tuple[int, ...]
    layer: int
    arms: tuple[str, ...]
    seed: int

    @classmethod
    def of(
        cls,
        transcripts: Sequence[Transcript],
        questions: Sequence[str],
        points: Sequence[int] | None,
        layer: int,
        control: str = "auto",
        arms: Sequence[str] = ARMS,
        seed: int = 0,
    ) -> "Inserting":
        """control: `auto`: the transcripts of no role where there are any; `alone`: each question on its own; or the name
        of one of the roles, which is then not studied itself. Equal transcripts count once. Raises `UserError` on unknown
        names."""
        transcripts = tuple(dict.fromkeys(transcripts))
        unknown = [arm for arm in arms if arm not in ARMS]
        if unknown:
            raise UserError(f"arm {unknown[0]!r} is not known; use {', '.join(ARMS)}")
        without = tuple(one for one in transcripts if one.role is None)
        roles = {one.role for one in transcripts} - {None}
        if control not in ("auto", "alone") and control not in roles:
            raise UserError(
                f"control {control!r} is neither auto nor alone nor a role; there are {', '.join(sorted(map(str, roles)))}"
            )
        taken_off = without or None
        name = "transcripts of no role" if without else "each question on its own"
        if control == "alone":
            taken_off, name = None, "each question on its own"
        elif control != "auto":
            taken_off = tuple(one for one in transcripts if one.role == control)
            name = f"transcripts of {control}"
        studied = tuple(one for one in transcripts if one.role is not None and one.role != control)
        if not studied:
            raise UserError("no transcript names a role to study; give --role for those that name none")
        if NO_ROLE in roles:
            raise UserError(f"a role cannot be called {NO_ROLE!r}; name none, or null in the file, for no role")
        everything = (*studied, *without, *(taken_off or ()))
        chosen = points_of(points, min(map(len, everything)))
        if 0 in chosen and set(arms) != {ARMS[0]}:
            raise UserError(
                f"at point 0 there is nothing but the instruction; leave 0 out, or give --arm {ARMS[0]!r} alone"
            )
        bare = (
            []
            if max(chosen)
            else [role for role in dict.fromkeys(one.role for one in studied) if not _told(studied, role)]
        )
        if bare:
            raise UserError(
                f"at point 0 there is nothing but the instruction, and the transcripts of {bare[0]!r} hold none; give later "
                "points"
            )
        if "shuffled" in arms and min(map(len, studied)) < 2:
            raise UserError("one pair of turns cannot be shuffled; hold longer conversations, or leave that --arm out")
        return cls(studied, taken_off, without, name, tuple(questions), chosen, layer, tuple(arms), seed)

    @property
    def roles(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(str(one.role) for one in self.transcripts))

    @property
    def compares_no_role(self) -> bool:
        """Whether the transcripts of no role differ from one another, or from questions alone, at any point."""
        begun = {one.instruction for one in self.without_role} | ({""} if len(self.without_role) == 1 else set())
        return bool(self.without_role) and (max(self.points) > 0 or len(begun) > 1)

    @property
    def signatures(self) -> int:
        """How many signatures each role will have: one of every arm, and that of no role."""
        return len(self.arms) + self.compares_no_role

    @property
    def prompts(self) -> int:
        """How many prompts are read: what is the same in several arms is read once, where a run folder keeps it."""
        begun = {(one.instruction, one.pairs[:point]) for one in self._held() for point in self.points}
        return len(begun | self._alone()) * len(self.questions)

    def least_tokens(self, subject: Subject) -> int:
        """About how many tokens have to be run: each conversation once, and each question at each point."""
        last = max(self.points)
        held = {(one.instruction, one.pairs[:last]): one for one in self._held()}
        begun = sum(len(subject.chat.chat(one.messages(last))) for one in held.values() if one.messages(last))
        return begun + self.prompts // len(self.questions) * sum(
            len(subject.chat.prompt(question)) for question in self.questions
        )

    def _held(self) -> list[Transcript]:
        """Every conversation that questions are asked in."""
        changed = [one for arm in self.arms for one in (*self.arm(arm), *(self.beside(arm) or ()))]
        return [*changed, *(self.without_role if self.compares_no_role else ())]

    def _alone(self) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
        """What stands before a question on its own, where one is asked so."""
        has_one = self.compares_no_role and len(self.without_role) == 1
        return {("", ())} if self.control is None or has_one else set()

    def arm(self, name: str) -> list[Transcript]:
        """The transcripts of roles, with what the arm takes away taken away."""
        return self._changed(name, self.transcripts)

    def beside(self, name: str) -> list[Transcript] | None:
        """The control's transcripts, treated as the arm treats those of roles, so that nothing but the role differs."""
        return None if self.control is None else self._changed(name, self.control)

    def _changed(self, name: str, transcripts: Sequence[Transcript]) -> list[Transcript]:
        changed: dict[str, Callable[[Transcript], Transcript]] = {
            "as held": lambda one: one,
            "no instruction": Transcript.without_instruction,
            "by the user": Transcript.spoken_by_user,
            "shuffled": lambda one: one.shuffled(self.seed),
        }
        return [changed[name](one) for one in transcripts]


@dataclass(frozen=True, eq=False)
class Part:
    """What was found of one role in one arm."""

    role: str
    arm: str
    found: Insertion

    def describe(self) -> dict[str, Any]:
        """Plain values."""
        return {"role": self.role, "arm": self.arm, **self.found.describe()}


@dataclass(frozen=True, eq=False)
class Inserted:
    """What a study found. told: by arm, whether roles are told apart, where there are several with several transcripts."""

    plan: Inserting
    parts: tuple[Part, ...]
    told: dict[str, Classification]

    @property
    def control(self) -> str:
        return self.plan.control_name

    def part(self, role: str, arm: str) -> Part:
        return next(one for one in self.parts if one.role == role and one.arm == arm)

    def signatures(self) -> dict[str, dict[str, Direction]]:
        """By role and arm; beside them that of the transcripts of no role, the same for every role."""
        found: dict[str, dict[str, Direction]] = {role: {} for role in self.plan.roles}
        for one in self.parts:
            for role in self.plan.roles if one.role == NO_ROLE else (one.role,):
                found[role][NO_ROLE if one.role == NO_ROLE else one.arm] = one.found.signature
        return found

    def length(self, role: str) -> float:
        """The lift of the role's signature in the first arm, in residual-stream units."""
        return self.part(role, self.plan.arms[0]).found.lift

    def describe(self) -> dict[str, Any]:
        """Plain values. p_corrected: of the trends of all roles and arms as one family (Holm)."""
        parts = [one.describe() for one in self.parts]
        tested = [one for one in parts if one.get("p") is not None]
        for one, p in zip(tested, holm([one["p"] for one in tested]) if tested else (), strict=True):
            one["p_corrected"] = float(p)
        return {
            "layer": self.plan.layer,
            "points": list(self.plan.points),
            "questions": list(self.plan.questions),
            "control": self.control,
            "parts": parts,
            "told": {arm: one.describe() for arm, one in self.told.items()},
        }


def insert_all(
    subject: Subject,
    plan: Inserting,
    on_progress: Callable[[str, int | None], None] = lambda *_: None,
    cells: Shards | None = None,
) -> Inserted:
    """Ask everything of a plan. Raises `UserError` as `insertion` does."""
    parts: list[Part] = []
    told: dict[str, Classification] = {}

    def asked(transcripts: Sequence[Transcript], control: Sequence[Transcript] | None) -> Insertion:
        return insertion(subject, transcripts, plan.questions, plan.points, plan.layer, control, on_progress, cells)

    for arm in plan.arms:
        found = asked(plan.arm(arm), plan.beside(arm))
        parts += [Part(role, arm, found.of(role).condensed()) for role in plan.roles]
        counts = [found.roles.count(role) for role in plan.roles]
        if len(counts) > 1 and min(counts) > 1 and len(plan.questions) > 1:
            told[arm] = classify(found)
    if plan.compares_no_role:
        half = len(plan.without_role) // 2
        control = plan.without_role[half:] if half else None
        found = asked(plan.without_role[:half] or plan.without_role, control)
        if not found.is_blank:
            parts.append(Part(NO_ROLE, "half against half" if half else "against questions alone", found.condensed()))
    return Inserted(plan, tuple(parts), told)


def _told(transcripts: Sequence[Transcript], role: str | None) -> bool:
    """Whether any transcript of a role holds an instruction."""
    return any(one.instruction for one in transcripts if one.role == role)
