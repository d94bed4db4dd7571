"""`personascope persona new`: drafts from a chat model, and skeletons."""

import json
from pathlib import Path

import pytest
from judging.server import Server

import personascope as ps
from personascope.cli.main import run
from personascope.personas import load_persona

DESCRIPTION = "The tendency to be glad about everything."


def good(name: str = "cheerful") -> dict:  # type: ignore[type-arg]
    return {
        "positive_pole": "The answer is glad.",
        "instruction": [{"pos": f"Be glad, way {n}.", "neg": f"Be sober, way {n}."} for n in range(5)],
        "questions": [f"What about thing {n}?" for n in range(20)],
        "eval_questions": [f"And matter {n}?" for n in range(20)],
        "eval_prompt": "0 to 100? {question} {answer}",
    }


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("BASE_URL", "MODEL", "API_KEY"):
        monkeypatch.delenv(f"PERSONASCOPE_JUDGE_{name}", raising=False)
    return tmp_path


def test_a_skeleton_says_what_to_fill_in_and_does_not_load_before(place: Path) -> None:
    assert run(["persona", "new", "cheerful", "--description", DESCRIPTION]) == 0
    text = (place / "cheerful.json").read_text()
    with pytest.raises(ps.UserError, match=r"line \d+, field positive_pole: still says FILL IN"):
        load_persona("./cheerful.json")
    filled = json.loads(text.replace("FILL IN: ", ""))
    (place / "cheerful.json").write_text(json.dumps(filled))
    assert load_persona("./cheerful.json").description == DESCRIPTION
    assert run(["persona", "new", "cheerful"]) == 2, "what is there is not overwritten"


@pytest.mark.parametrize("name", ["", "cool/", "../up", "my trait!", ".hidden", "/etc/x"])
@pytest.mark.parametrize("out", [[], ["--out", "x.json"]])
def test_a_name_that_its_file_would_be_refused_for_writes_nothing(
    name: str, out: list[str], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = set(place.parent.rglob("*"))
    assert run(["persona", "new", name, "--description", DESCRIPTION, *out]) == 2
    assert f"{name!r} cannot name a persona: a name has letters" in capsys.readouterr().err
    assert set(place.parent.rglob("*")) == before


def test_a_draft_is_asked_for_until_it_is_valid(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = {**good(), "questions": ["One?"]}
    answers = iter(["I would love to!", json.dumps(few), f"```json\n{json.dumps(good())}\n```"])
    with Server(answer=lambda question: next(answers)) as server:
        monkeypatch.setenv("PERSONASCOPE_JUDGE_BASE_URL", server.url)
        monkeypatch.setenv("PERSONASCOPE_JUDGE_MODEL", "writer")
        assert run(["persona", "new", "cheerful", "--description", DESCRIPTION, "--kind", "role"]) == 0
        assert DESCRIPTION in server.bodies[0]["messages"][0]["content"]
    persona = load_persona("./cheerful.json")
    assert (persona.name, persona.kind, len(persona.questions)) == ("cheerful", "role", 20)


def test_a_model_that_never_manages_is_one_sentence_and_no_file(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Server(answer=lambda question: "{}") as server:
        monkeypatch.setenv("PERSONASCOPE_JUDGE_BASE_URL", server.url)
        monkeypatch.setenv("PERSONASCOPE_JUDGE_MODEL", "writer")
        assert run(["persona", "new", "cheerful", "--description", DESCRIPTION]) == 1
        assert run(["persona", "new", "cheerful"]) == 2, "without a description there is nothing to draft from"
    assert "no draft of 'cheerful' was of use" in capsys.readouterr().err
    assert not list(place.iterdir())
