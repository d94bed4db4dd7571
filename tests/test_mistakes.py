"""What people get wrong in Python: one plain sentence that says what to do, never an error from inside."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

import personascope as ps
from personascope.subject import Subject

ONE = ps.Direction(torch.ones(64), 1, "up")
SET = ps.DirectionSet("up", (1,), torch.ones(1, 64))
MISTAKES: dict[str, tuple[Callable[[Subject], Any], str]] = {
    "a number for a model": (lambda _: ps.load(3), "3 is no model; give a Hugging Face id"),
    "integers to compute in": (lambda _: ps.load("organism:llama", dtype="int8"), "is none that a model computes in"),
    "a folder that is not there": (lambda _: ps.load("./nomodel"), "the folder ./nomodel does not exist"),
    "a name for a subject": (
        lambda _: ps.generate("organism:llama", ["Hi"]),
        r"give what ps\.load\('organism:llama'\)",
    ),
    "a name to extract from": (lambda _: ps.extract("organism:llama", "evil"), "is no loaded subject"),
    "a name to read": (lambda _: ps.activations("gpt2", ["Hi"], [1]), "is no loaded subject"),
    "a name to watch": (lambda _: ps.watch("gpt2", [], ["Hi"]), "is no loaded subject"),
    "a number for an SAE": (lambda _: ps.load_sae(3), "3 is no SAE"),
    "no temperature": (lambda s: ps.generate(s, "Hi", temperature=None), "temperature=None"),
    "text for records": (lambda s: ps.screen(s, [SET], ["Hi"]), r"'Hi' is no record; write ps\.Record"),
    "a set for a list of sets": (lambda s: ps.screen(s, SET, [ps.Record("Hi", "Ho")]), "a list of direction sets"),
    "directions for sets": (lambda s: ps.diff(s, s, [ONE], [ps.Record("Hi")]), "a list of direction sets"),
    "a name to compare": (lambda s: ps.diff(s, "gpt2", [], ["Hi"]), "is no loaded subject"),
    "several personas for one": (lambda s: ps.extract(s, ["evil", "pirate"]), "is no persona"),
    "a description for a persona": (lambda s: ps.extract(s, "someone who " * 40), "is not known"),
    "a dict for a persona": (lambda s: ps.extract(s, {"name": "x"}), "is no persona"),
    "text for a number": (lambda s: ps.extract(s, "evil", questions="8"), "questions='8' must be a whole number"),
    "half a sample": (lambda s: ps.extract(s, "evil", samples=1.5), "samples=1.5 must be a whole number"),
    "no question": (lambda s: ps.extract(s, "evil", questions=0), "questions=0 must be a whole number from 1"),
    "a yes for a judge": (lambda s: ps.extract(s, "evil", judge=True), "judge=True is no judge"),
    "a setting misspelt": (lambda s: ps.extract(s, "evil", question=4), "no setting question; did you mean questions"),
    "a direction without a dose": (
        lambda s: ps.generate(s, "Hi", steer=[ONE]),
        "steer takes writes, not bare directions",
    ),
    "a set without a dose": (
        lambda s: ps.generate(s, "Hi", steer=SET),
        "steer takes writes, not bare directions",
    ),
    "numbers for prompts": (lambda s: ps.generate(s, [1, 2]), "prompt 0 is 1; a prompt is text"),
    "nothing for a prompt": (lambda s: ps.generate(s, ["a", None]), "prompt 1 is None"),
    "text for a length": (lambda s: ps.generate(s, "Hi", max_new_tokens="5"), "max_new_tokens='5'"),
    "text for a temperature": (lambda s: ps.generate(s, "Hi", temperature="hot"), "temperature='hot'"),
    "a number for an experiment": (lambda _: ps.transfer(3), "3 is no experiment"),
    "text for a dose": (lambda _: ps.add(ONE, "1.0"), "alpha='1.0' is not a finite number"),
}


@pytest.mark.parametrize("case", MISTAKES, ids=list(MISTAKES))
def test_a_mistake_is_one_sentence(case: str, subject: Subject) -> None:
    make, said = MISTAKES[case]
    with pytest.raises(ps.UserError, match=said) as found:
        make(subject)
    assert "\n" not in str(found.value)
