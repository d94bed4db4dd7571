"""`personascope persist` as a user runs it."""

import json
from importlib import import_module
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import personascope as ps
from personascope.cli.main import run
from personascope.corpora import neutral_questions
from personascope.engine.rows import Request
from personascope.extraction.extract import extract_all
from personascope.organisms.score import mean_shares
from personascope.persistence.matching import matched_alphas
from personascope.personas import load_persona
from personascope.subject import Subject


@pytest.fixture(scope="module")
def directions(llama: Subject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("directions")
    for one in extract_all(llama, ["evil", "detective"], samples=1, questions=8, alphas=()):
        one.save(folder / f"{one.name}.safetensors")
    return folder


def test_it_writes_curves_and_a_ranking_and_goes_on(
    directions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [
        "persist",
        "organism:llama",
        "--directions",
        str(directions),
        "--layer",
        "3",
        "--out",
        str(tmp_path / "p"),
    ]
    command += ["--n-steer", "32", "--n-sample", "64"]
    assert run([*command, "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["ranking"][0]["direction"] == "evil@3"
    assert {one["direction"] for one in first["directions"]} == {"evil@3", "detective@3"}
    assert {"verdict", "initial", "half_life", "left_out"} <= first["directions"][0].keys()
    plain = json.loads((tmp_path / "p" / "persistence.json").read_text())
    table = pq.read_table(tmp_path / "p" / "curves.parquet").to_pylist()
    assert len(table) == 7 * 2 * 16, "seven arms, two directions read, sixteen prompts"
    assert {len(line["projections"]) for line in table} == {64} == {plain["n_sample"]}
    assert run(command) == 0
    said = capsys.readouterr().out
    assert "half-life" in said and "evil@3" in said
    assert {line["error"] for line in table} == {None}
    assert run([*command, "--alpha", "2"]) == 2
    assert "alpha was 1.0 and is 2.0" in capsys.readouterr().err
    assert run([*command, "--match", "50", "--no-chat"]) == 2
    assert "--no-chat" in capsys.readouterr().err
    assert run([*command, "--trait", "good"]) == 2
    assert "there is no direction 'good'" in capsys.readouterr().err


def test_matched_doses_bring_out_the_same_share(llama: Subject, directions: Path) -> None:
    assert llama.truth is not None
    sets = [one[3] for one in ps.load_directions(directions)]
    prompts = [f"What is {word}?" for word in ("tea", "bread", "music", "rain", "wood", "a road", "sleep", "snow")]
    doses = matched_alphas(llama, sets, prompts, trait=50, n_steer=60)
    assert set(doses) == {"evil@3", "detective@3"}
    shares = {}
    for one in sets:
        write = ps.add(one, doses[one.key])
        rows = ps.generate(llama, prompts * 3, steer=[write], max_new_tokens=60, seed=5)
        shares[one.name] = mean_shares(llama.truth.reader, [row.text for row in rows])[one.name]
    assert abs(shares["evil"] - shares["detective"]) < 0.3
    with pytest.raises(ps.UserError, match="never brings its trait to"):
        matched_alphas(llama, sets, prompts[:2], trait=101, n_steer=20, alphas=(0.5,))


def test_both_caches_are_crossed_and_said(directions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "p"
    command = ["persist", "organism:llama", "--directions", str(directions), "--trait", "evil", "--layer", "3"]
    command += [
        "--prompt",
        "Hello",
        "--prompt",
        "What is tea?",
        "--cache",
        "both",
        "--n-steer",
        "12",
        "--n-sample",
        "16",
    ]
    assert run([*command, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "text, forced" in said and "evil@5" in said
    plain = json.loads((out / "persistence.json").read_text())
    effects = plain["crossings"]["evil@3"]["forced"]
    assert set(effects["text"]) == {"evil@3", "evil@4", "evil@5"}
    assert abs(effects["cache"]["evil@3"][0]) < 1e-3 < abs(effects["cache"]["evil@5"][0])


def test_doses_are_matched_on_other_prompts_and_refused_where_they_mean_nothing(
    directions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], llama: Subject
) -> None:
    command = [
        "persist",
        "organism:llama",
        "--directions",
        str(directions),
        "--prompt",
        "Hello",
        "--out",
        str(tmp_path / "p"),
    ]
    assert run([*command, "--match", "0", "--n-steer", "8", "--n-sample", "8"]) == 2
    assert "unsteered responses already score" in capsys.readouterr().err
    command[-1] = str(tmp_path / "q")
    assert run([*command, "--match", "50", "--n-sample", "0"]) == 2
    assert "n_sample=0" in capsys.readouterr().err and not (tmp_path / "q").exists()
    neutral = [each for text in neutral_questions() for each in ("--prompt", text)]
    for kept, wrong in ((neutral, "no prompts to search doses on"), (neutral[:-4], "never brings")):
        assert run([*command, "--trait", "evil", *kept, "--match", "101", "--n-steer", "1", "--n-sample", "8"]) == 2
        told = capsys.readouterr().err
        assert wrong in told
        assert ("only 2 neutral questions" in told) == (wrong == "never brings")
        assert not (tmp_path / "q").exists() or wrong == "never brings"
    nameless = ps.load_directions(directions)[0][3].named("/etc/hostname")
    with pytest.raises(ps.UserError, match="no shipped persona"):
        matched_alphas(llama, [nameless], ["Hello"])


def test_a_persona_of_ones_own_is_asked_for_and_judged(
    directions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = next(one for one in ps.load_directions(directions) if one.name == "evil")
    ps.DirectionSet("mine", evil.layers, evil.vectors).save(tmp_path / "d" / "mine.safetensors")
    file = tmp_path / "mine.json"
    file.write_text(load_persona("evil").model_copy(update={"name": "mine"}).model_dump_json())
    command = ["persist", "organism:llama", "--directions", str(tmp_path / "d"), "--layer", "3", "--prompt", "Hello"]
    command += ["--prompt", "What is tea?", "--n-steer", "4", "--n-sample", "8", "--json", "--out"]
    assert run([*command, str(tmp_path / "a")]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["directions"][0]["controls"] == ["random"]
    assert "no system prompt is set beside mine: give --persona FILE" in shown.err
    assert "fewer than 5 prompts" in shown.err
    assert run([*command, str(tmp_path / "b"), "--control", "prompted"]) == 2
    assert "'mine' is no shipped persona" in capsys.readouterr().err and not (tmp_path / "b").exists()
    assert run([*command, str(tmp_path / "b"), "--persona", str(file)]) == 0
    assert json.loads(capsys.readouterr().out)["directions"][0]["controls"] == ["prompted", "random"]
    assert run([*command, str(tmp_path / "c"), "--persona", str(file), "--match", "50"]) == 2
    assert "does not know the persona 'mine'" in capsys.readouterr().err and not (tmp_path / "c").exists()
    assert run([*command, str(tmp_path / "c"), "--persona", str(file), "--control", "random"]) == 2
    assert "--persona is for --match, and for the system prompt" in " ".join(capsys.readouterr().err.split())
    file.write_text(file.read_text().replace('"mine"', '"yours"'))
    assert run([*command, str(tmp_path / "c"), "--persona", str(file)]) == 2
    assert "no direction is called 'yours', as a persona given is: there are mine" in capsys.readouterr().err
    assert run([*command, str(tmp_path / "c"), "--no-chat"]) == 0
    assert "it needs the chat template" in capsys.readouterr().err
    assert json.loads((tmp_path / "c" / "run.json").read_text())["config"]["identity"]["controls"] == ["random"]


def test_curves_are_kept_where_crossing_fails(
    directions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ps.UserError("2 rows failed; steer less")

    monkeypatch.setattr(import_module("personascope.cli.persist"), "cross", broken)
    command = ["persist", "organism:llama", "--directions", str(directions), "--trait", "evil", "--layer", "3"]
    command += ["--prompt", "Hello", "--prompt", "What is tea?", "--n-steer", "4", "--n-sample", "8", "--cache", "both"]
    assert run([*command, "--out", str(tmp_path / "p"), "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["uncrossed"] == {"evil@3": "2 rows failed; steer less"}
    assert "could not be told apart for evil@3: 2 rows failed" in shown.err
    assert (tmp_path / "p" / "report.html").exists()
    assert json.loads((tmp_path / "p" / "run.json").read_text())["state"] == "partly failed"


@pytest.mark.parametrize(
    "more",
    [
        [],
        ["--cache", "carried", "--control", "random", "--samples", "2"],
        ["--cache", "both", "--match", "40"],
        ["--cache", "both", "--control", "none", "--n-sample", "120", "--trait", "evil"],
    ],
    ids=" ".join,
)
def test_the_estimate_is_what_is_then_run(
    directions: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    more: list[str],
) -> None:
    command = ["persist", "organism:llama", "--directions", str(directions), "--layer", "3"]
    command += ["--n-steer", "12", "--n-sample", "10", "--prompt", "Hello", "--prompt", "What is tea?", *more]
    assert run([*command, "--estimate", "--json"]) == 0
    expected = json.loads(capsys.readouterr().out)
    ran: list[Request] = []
    sampling = import_module("personascope.engine.generate")
    real = sampling.run_here

    def counted(subject: Subject, requests: list[Request], *rest: object) -> object:
        ran.extend(requests)
        return real(subject, requests, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(sampling, "run_here", counted)
    assert run([*command, "--out", str(tmp_path / "p")]) == 0
    assert len(ran) == expected["rollouts"]
    assert sum(one.max_new_tokens for one in ran) == expected["tokens_at_most"]
    assert sum(len(one.forced) for one in ran) == expected["tokens_given"]
