"""`personascope insert` and `insert simulate` as a user runs them."""

import json
from pathlib import Path

import pytest

import personascope as ps
from personascope.cli.main import run
from personascope.corpora import read_transcripts

ROLES = ["--role", "evil", "--role", "pirate", "--role", "none"]


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("held")
    size = ["--transcripts", "3", "--turns", "2", "--max-new-tokens", "30", "--degree", "very"]
    assert run(["insert", "simulate", "organism:llama", *ROLES, *size, "--out", str(folder / "s")]) == 0
    return folder / "s" / "transcripts.jsonl"


def test_it_finds_signatures_and_steers_with_them(
    held: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [len(one) for one in read_transcripts(held)] == [2] * 9
    out = tmp_path / "i"
    asked = ["--question", "What is tea?", "--question", "Who are you?"]
    command = ["insert", "organism:llama", "--transcripts", str(held), *asked, "--out", str(out)]
    assert run([*command, "--estimate", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["prompts"] == (4 * 6 + 3) * 2 * 2
    assert run([*command, "--steer", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {(one["role"], one["arm"]) for one in found["parts"]} == {
        *(
            (role, arm)
            for role in ("evil", "pirate")
            for arm in ("as held", "no instruction", "by the user", "shuffled")
        ),
        ("no role", "half against half"),
    }
    assert found["control"] == "transcripts of no role" and set(found["told"]) == {
        "as held", "no instruction", "by the user", "shuffled",
    }  # fmt: skip
    at = {(one["role"], one["source"], one["alpha"]): one["trait"] for one in found["doses"]}
    for role in ("evil", "pirate"):
        for other in (("unsteered", 0.0), ("no role", 2.0), ("random", 2.0)):
            assert at[role, "no instruction", 2.0] > at[(role, *other)] + 20
    saved = ps.load_directions(out / "directions")
    assert {one.name for one in saved} >= {"evil", "pirate", "evil no instruction"}
    assert json.loads((out / "insertion.json").read_text())["parts"] == found["parts"]
    cells = len(list(out.glob("activations-*.h5")))
    assert cells <= 5 * 9, "one file for each conversation of an arm, at most"
    assert run([*command, "--steer"]) == 0
    said = capsys.readouterr().out
    assert "cosine between points" in said and "no instruction" in said and "role told by one state" in said
    assert len(list(out.glob("activations-*.h5"))) == cells, "a second start runs nothing again"
    assert run([*command, "--steer", "--layer", "2"]) == 2
    assert "layer was 3 and is 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--points", "1,9"], "point 9 is past the end"),
        (["--points", "x"], "--points 'x' cannot be read"),
        (["--arm", "backwards"], "arm 'backwards' is not known"),
        (["--control", "chef"], "control 'chef' is neither"),
        (["--layer", "9"], "out of range"),
        (["--question", " "], "question"),
        (["--steer", "--judge", "none"], "--steer is judged"),
        (["--steer", "--directions", "{directions}"], "none for the role 'pirate'"),
        (["--transcripts", "nowhere.jsonl"], "nowhere.jsonl does not exist"),
    ],
)
def test_what_cannot_be_asked_is_said_and_leaves_nothing(
    held: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    import torch

    ps.DirectionSet("evil", (3,), torch.randn(1, 128)).save(tmp_path / "d" / "evil.safetensors")
    more = [one.format(directions=tmp_path / "d") for one in more]
    out = tmp_path / "i"
    assert run(["insert", "organism:llama", "--transcripts", str(held), "--out", str(out), *more]) == 2
    assert said in capsys.readouterr().err
    assert not out.exists()


def test_simulate_refuses_plainly(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PERSONASCOPE_USER_BASE_URL", raising=False)
    cases = {
        "did you mean 'pirate'": ["--role", "pirat"],
        "--degree 'much' is not known": ["--role", "pirate", "--degree", "much"],
        "ask for fewer turns": ["--role", "pirate", "--turns", "99"],
        "PERSONASCOPE_USER_BASE_URL": ["--role", "pirate", "--user", "chat", "--turns", "2"],
    }
    for said, more in cases.items():
        assert run(["insert", "simulate", "organism:llama", *more]) == 2
        assert said in capsys.readouterr().err
    assert not list(tmp_path.glob("runs/*"))
