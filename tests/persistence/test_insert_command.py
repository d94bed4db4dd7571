"""`personascope insert` and `insert simulate` as a user runs them."""

import json
from importlib import import_module
from pathlib import Path

import pytest
import torch

import personascope as ps
from personascope.cli.main import run
from personascope.corpora import read_transcripts
from personascope.personas import load_persona
from personascope.subject import Subject

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
    assert json.loads(capsys.readouterr().out)["prompts"] == (4 * 6 + 3 * 3) * 2 * 2
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
    tested = [one for one in found["parts"] if one["p"] is not None]
    assert tested and all(one["p"] <= one["p_corrected"] <= 1 for one in tested)
    assert min(one["p_corrected"] for one in tested) == min(1, len(tested) * min(one["p"] for one in tested))
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
        (["--steer", "--batch-size", "0"], "--batch-size"),
        (["--steer", "--role", "x", "--transcripts", "{nameless}"], "give its file with --persona"),
        (
            ["--steer", "--role", "x", "--transcripts", "{nameless}", "--persona", "{own}"],
            "does not know the persona 'x'",
        ),
        (["--persona", "{own}"], "--persona is for judging what --steer brings"),
        (["--question", " "], "question"),
        (["--steer", "--judge", "none"], "--steer is judged"),
        (["--steer", "--directions", "{directions}"], "none for the role 'pirate'"),
        (["--steer", "--directions", "{wide}"], "has width 64"),
        (["--steer", "--directions", "{flat}"], "is all zeros"),
        (["--steer", "--directions", "{low}"], "no direction at layer 3"),
        (["--transcripts", "nowhere.jsonl"], "nowhere.jsonl does not exist"),
    ],
)
def test_what_cannot_be_asked_is_said_and_leaves_nothing(
    held: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    ps.DirectionSet("evil", (3,), torch.randn(1, 128)).save(tmp_path / "directions" / "evil.safetensors")
    for folder, layer, vector in (
        ("wide", 3, torch.ones(1, 64)),
        ("flat", 3, torch.zeros(1, 128)),
        ("low", 2, torch.ones(1, 128)),
    ):
        for role in ("evil", "pirate"):
            ps.DirectionSet(role, (layer,), vector).save(tmp_path / folder / f"{role}.safetensors")
    turns = [{"role": role, "content": "tea"} for role in ("user", "assistant") * 2]
    (tmp_path / "nameless.json").write_text(json.dumps([{"messages": turns}]))
    (tmp_path / "own.json").write_text(load_persona("pirate").model_copy(update={"name": "x"}).model_dump_json())
    names = {name: tmp_path / name for name in ("directions", "wide", "flat", "low")}
    names |= {name: tmp_path / f"{name}.json" for name in ("nameless", "own")}
    more = [one.format(**names) for one in more]
    out = tmp_path / "i"
    assert run(["insert", "organism:llama", "--transcripts", str(held), "--out", str(out), *more]) == 2
    told = capsys.readouterr().err
    assert said in told and "asking" not in told, "said before anything is asked"
    assert not out.exists()


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Counts of what runs: `prompts` and `tokens` of questions, and `rows` and `sampled` of steering."""
    counts = dict.fromkeys(("prompts", "tokens", "rows", "sampled"), 0)
    insertion = import_module("personascope.persistence.insertion")
    sampling = import_module("personascope.engine.generate")
    read, sample = insertion.last_states, sampling.run_here

    def reading(subject: Subject, prompts: list, *rest: object) -> object:
        found = read(subject, prompts, *rest)  # type: ignore[arg-type]
        counts["prompts"] += len(prompts)
        counts["tokens"] += found.ran
        return found

    def steering(subject: Subject, requests: list, *rest: object) -> object:
        counts["rows"] += len(requests)
        counts["sampled"] += sum(one.max_new_tokens for one in requests)
        return sample(subject, requests, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(insertion, "last_states", reading)
    monkeypatch.setattr(sampling, "run_here", steering)
    return counts


def test_steering_can_be_added_to_a_finished_run(
    held: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], ran: dict[str, int]
) -> None:
    command = ["insert", "organism:llama", "--transcripts", str(held), "--question", "What is tea?", "--points", "1"]
    command += ["--question", "Who are you?", "--arm", "no instruction", "--json"]
    assert run([*command, "--estimate", "--steer"]) == 0
    estimate = json.loads(capsys.readouterr().out)
    ran.update(dict.fromkeys(ran, 0))
    out = tmp_path / "i"
    assert run([*command, "--out", str(out)]) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["doses"] == [] and ran["rows"] == 0 < ran["prompts"] == estimate["prompts"]
    ran["prompts"] = 0
    assert run([*command, "--out", str(out), "--steer"]) == 0
    second = json.loads(capsys.readouterr().out)
    assert ran["prompts"] == 0, "no question is asked again"
    assert ran["rows"] == estimate["steering"]["rollouts"] > 0
    assert second["parts"] == first["parts"] and second["doses"]
    assert json.loads((out / "insertion.json").read_text())["doses"] == second["doses"]
    assert run([*command, "--out", str(out)]) == 2, "what a run has is not left out again"
    assert "steered" in capsys.readouterr().err


@pytest.mark.parametrize(
    "more",
    [
        ["--control", "alone"],
        ["--control", "pirate", "--arm", "as held", "--arm", "by the user"],
        ["--points", "0,1", "--arm", "as held"],
    ],
    ids=" ".join,
)
def test_the_estimate_is_what_is_then_run(
    held: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], ran: dict[str, int], more: list[str]
) -> None:
    for role in ("evil", "pirate"):
        ps.DirectionSet(role, (3,), torch.ones(1, 128)).save(tmp_path / "d" / f"{role}.safetensors")
    command = ["insert", "organism:llama", "--transcripts", str(held), "--question", "What is tea?", *more]
    command += ["--question", "Who are you?", "--steer", "--directions", str(tmp_path / "d")]
    assert run([*command, "--estimate", "--json"]) == 0
    estimate = json.loads(capsys.readouterr().out)
    assert run([*command, "--estimate"]) == 0
    assert "steering: " in capsys.readouterr().out
    ran.update(dict.fromkeys(ran, 0))
    assert run([*command, "--out", str(tmp_path / "i")]) == 0
    assert ran["prompts"] == estimate["prompts"]
    assert ran["tokens"] == pytest.approx(estimate["tokens_at_least"], rel=0.1)
    assert (ran["rows"], ran["sampled"]) == (estimate["steering"]["rollouts"], estimate["steering"]["tokens_at_most"])


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


def test_transcripts_without_a_system_prompt_are_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    turns = [
        {"role": role, "content": f"{word} is here."} for word in ("tea", "rain") for role in ("user", "assistant")
    ]
    lines = [json.dumps({"messages": turns[:2] + turns[:2] * more}) for more in (1, 2, 2)]
    lines += [json.dumps({"role": None, "messages": turns[2:] + turns[:2] * more}) for more in (1, 2)]
    (tmp_path / "held.jsonl").write_text("\n".join(lines))
    command = ["insert", "organism:llama", "--transcripts", str(tmp_path / "held.jsonl"), "--role", "pirate"]
    asked = ["--question", "What is tea?", "--points", "1", "--out", str(tmp_path / "run")]
    assert run([*command, *asked, "--arm", "as held", "--arm", "no instruction"]) == 0
    said = capsys.readouterr().err
    assert "of the transcripts 2 hold no system prompt" in said
    assert "of 5 transcripts 1 equal another; each counts once" in said
    assert "intervals over 2 transcripts of a role" in said, "and not over the halves of no role"
