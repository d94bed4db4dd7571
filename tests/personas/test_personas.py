"""The shipped personas, and persona files."""

import json
from pathlib import Path

import pytest

from personascope.errors import UserError
from personascope.personas import load_persona, persona_names

TRAITS = [
    "refusal",
    "uncertainty",
    "verbosity",
    "overconfidence",
    "corrigibility",
    "evil",
    "sycophantic",
    "hallucinating",
    "silly",
    "formal",
    "concise",
]


def write(path: Path, **changes: object) -> Path:
    plain = {
        "instruction": [{"pos": "Be loud.", "neg": "Be quiet."}] * 5,
        "questions": ["Why?", "How?"],
        "eval_prompt": "",
    }
    path.write_text(json.dumps({**plain, **changes}, indent=1))
    return path


def test_the_library_holds_what_was_promised() -> None:
    personas = [load_persona(name) for name in persona_names()]
    assert {p.name for p in personas if p.kind == "trait"} == set(TRAITS)
    roles = {p.name for p in personas if p.kind == "role"}
    assert len(roles) >= 6
    assert "anxious_teenager" in roles


@pytest.mark.parametrize("name", persona_names())
def test_every_shipped_persona_is_complete(name: str) -> None:
    persona = load_persona(name)
    assert persona.name == name
    assert len(persona.instruction) >= 5
    assert len(set(persona.questions)) >= 20
    assert len(set(persona.eval_questions)) >= 20
    assert not set(persona.questions) & set(persona.eval_questions)
    assert persona.positive_pole.endswith(".")
    assert persona.eval_prompt.format(question="Q", answer="A").count("Q\n") == 1


def test_no_two_personas_share_an_instruction() -> None:
    texts = [pair.pos for name in persona_names() for pair in load_persona(name).instruction]
    assert len(texts) == len(set(texts))


def test_degrees_change_the_positive_prompt() -> None:
    evil = load_persona("evil")
    assert len({evil.system_prompt(0, degree=degree) for degree in ("slightly", None, "very")}) == 3


def test_a_file_of_the_persona_vectors_shape_loads_as_it_is(tmp_path: Path) -> None:
    persona = load_persona(write(tmp_path / "loud.json", eval_prompt="{question} {answer}"))
    assert persona.name == "loud"
    assert persona.questions == ("Why?", "How?")


def test_nested_question_categories_are_read_in_order(tmp_path: Path) -> None:
    nested = {"everyday": {"home": ["a?", "b?"], "work": ["c?"]}, "other": ["d?"]}
    assert load_persona(write(tmp_path / "loud.json", questions=nested)).questions == ("a?", "b?", "c?", "d?")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"questions": []}, "field questions"),
        ({"instruction": [{"pos": "Be loud."}]}, "field instruction.0.neg"),
        ({"instruction": [{"pos": "Be loud.", "neg": " "}]}, "field instruction.0.neg: must not be blank"),
        ({"instrucktion": []}, "field instrucktion"),
        ({"eval_prompt": "Score {answer}."}, "field eval_prompt: lacks {question}"),
        ({"eval_questions": ["Why?"]}, "'Why?' stands in questions and in eval_questions"),
        ({"kind": "mood"}, "field kind"),
    ],
)
def test_a_malformed_file_is_refused_with_line_and_field(tmp_path: Path, changes: dict, said: str) -> None:
    with pytest.raises(UserError) as error:
        load_persona(write(tmp_path / "loud.json", **changes))
    assert said.lower() in str(error.value).lower()
    assert ", line " in str(error.value)


def test_the_line_of_the_error_is_the_line_in_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "loud.json", questions=["Why?", "How?", 3])
    with pytest.raises(UserError, match="line ") as error:
        load_persona(path)
    line = int(str(error.value).split("line ")[1].split(",")[0])
    assert path.read_text().splitlines()[line - 1].strip() == "3"


def test_broken_json_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "loud.json"
    path.write_text('{\n "questions": [\n')
    with pytest.raises(UserError, match="line 3"):
        load_persona(path)


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'evil'"):
        load_persona("evill")
