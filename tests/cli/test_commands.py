"""The commands as a user runs them, one after the other."""

import json
import re
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

import personascope as ps
from personascope.cli.main import run
from personascope.directions.doors import load_directions
from personascope.runs import Journal

MODEL = "organism:llama"


def ran(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict:  # type: ignore[type-arg]
    """The JSON a command prints."""
    assert run([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module")
def extracted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of `extract`."""
    folder = tmp_path_factory.mktemp("extract") / "run"
    command = ["extract", MODEL, "--trait", "formal", "--trait", "evil", "--questions", "4", "--samples", "1"]
    assert run([*command, "--max-new-tokens", "80", "--out", str(folder)]) == 0
    return folder


def test_demo_shows_every_trait_of_a_trained_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = ran(capsys, "demo", "--estimate", "--out", str(tmp_path / "demo"))
    assert not (tmp_path / "demo").exists(), "an estimate runs nothing"
    found = ran(capsys, "demo", "--out", str(tmp_path / "demo"))
    with closing(Journal(tmp_path / "demo" / "journal.sqlite")) as journal:
        assert len(list(journal.cells("rollout"))) == expected["rollouts"]
    page = Path(found["report"])
    assert page.name == "report.html" and page.stat().st_size > 100_000
    shown = json.loads((tmp_path / "demo" / "watch.json").read_text())
    assert len(shown["rows"]) == 12
    assert len(found["steering"]) == 11 and not found["failed"]
    assert {one.name for one in load_directions(tmp_path / "demo" / "directions")} == set(found["steering"])
    for reading in found["reading"]:
        assert reading["projection"] > max(reading["embedding"], reading["words"] - 0.03)
    for name, doses in found["doses"].items():
        assert doses[0]["alpha"] == 0, name
        assert len({dose["alpha"] for dose in doses}) >= 3, "dose and response"


def test_extract_writes_directions_that_load_and_a_second_start_changes_nothing(
    extracted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert {path.name for path in (extracted / "directions").iterdir()} == {"formal.safetensors", "evil.safetensors"}
    before = load_directions(extracted / "directions")
    for one in before:
        assert one.provenance["model"] == MODEL
        assert one.quality[one.best_layer]["auroc"] > 0.9
    found = ran(
        capsys, "extract", MODEL, "--trait", "formal", "--trait", "evil", "--questions", "4", "--samples", "1",
        "--max-new-tokens", "80", "--out", str(extracted),
    )  # fmt: skip
    for one, again in zip(before, load_directions(extracted / "directions"), strict=True):
        assert (one.digest, one.quality, one.choices) == (again.digest, again.quality, again.choices)
    assert set(found["quality"]) == {"formal", "evil"}


def test_watch_writes_the_same_numbers_to_every_file(
    extracted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"prompt": "Who are you?"}\n{"prompt": "How do I make breakfast?"}\n')
    ran(
        capsys, "watch", MODEL, "--directions", str(extracted / "directions"), "--prompts", str(prompts),
        "--layers", "2,3", "--max-new-tokens", "30", "--verify", "4", "--out", str(tmp_path / "w"),
    )  # fmt: skip
    rows = json.loads((tmp_path / "w" / "watch.json").read_text())["rows"]
    table = pq.read_table(tmp_path / "w" / "readings.parquet").to_pylist()
    assert len(rows) == 2
    for number, row in enumerate(rows):
        for key, values in row["projections"].items():
            name, layer = key.rsplit("@", 1)
            ours = [one for one in table if (one["row"], one["trait"], one["layer"]) == (number, name, int(layer))]
            in_order = sorted(ours, key=lambda one: int(one["token"]))
            assert [one["value"] for one in in_order] == pytest.approx(values, rel=1e-5, abs=1e-5)
        assert set(row["projections"]) == {f"{name}@{layer}" for name in ("formal", "evil") for layer in (2, 3)}
        assert len(row["verdicts"]) == len(row["points"])


def test_watch_reads_responses_that_exist(extracted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = tmp_path / "said.csv"
    records.write_text("prompt,response\nWho are you?,Kind friends share good ideas.\n")
    ran(
        capsys, "watch", MODEL, "--directions", str(extracted / "directions"), "--responses", str(records),
        "--out", str(tmp_path / "w"),
    )  # fmt: skip
    row = json.loads((tmp_path / "w" / "watch.json").read_text())["rows"][0]
    assert row["text"] == "Kind friends share good ideas."
    assert row["finish"] == "given"


def test_steered_generation_differs_and_is_repeatable(extracted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = ["generate", MODEL, "--prompt", "Who are you?", "--seed", "3"]
    steered = [*plain, "--directions", str(extracted / "directions"), "--steer", "evil:1.5"]
    first, second = ran(capsys, *steered), ran(capsys, *steered)
    assert first == second
    assert ran(capsys, *plain)["rows"][0]["text"] != first["rows"][0]["text"]


def test_generate_writes_what_it_prints_and_says_where_the_context_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = ["generate", MODEL, "--max-new-tokens", "4", "--prompt"]
    found = ran(capsys, *plain, "Hi", "--out", str(tmp_path / "a.json"))
    assert json.loads((tmp_path / "a.json").read_text()) == found
    long = "tea " * (ps.load(MODEL).context - 12)
    assert run([*plain, f"{long}\x1b[31m", "--no-chat", "--max-new-tokens", "40", "--suppress-eos"]) == 0
    captured = capsys.readouterr()
    assert "this response ended where the context of" in captured.err
    assert "\x1b" not in captured.out and "␛[31m" in captured.out


def test_what_is_steered_is_said(extracted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steered = ["generate", MODEL, "--prompt", "Who are you?", "--directions", str(extracted / "directions"), "--steer"]
    assert run([*steered, "evil@2:1.5:response[:8]"]) == 0
    assert "add evil at layer 2, α = 1.5, on response[:8]" in capsys.readouterr().err
    assert run([*steered, "evil@2:ceiling=3"]) == 0
    assert "cap evil at layer 2, ceiling = 3, on sampling" in capsys.readouterr().err


def test_what_speaks_against_a_direction_is_said_where_it_is_used(
    extracted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = ps.DirectionSet.load(extracted / "directions" / "evil.safetensors")
    chance = {
        good.best_layer: {"auroc": 0.5, "auroc_interval": [0.4, 0.6], "auroc_null": 0.6, "split_half_cosine": 0.1}
    }
    replace(good, name="hollow", quality=chance).save(tmp_path / "hollow" / "hollow.safetensors")
    both = ["--directions", str(extracted / "directions"), "--directions", str(tmp_path / "hollow")]
    command = ["watch", MODEL, *both, "--prompt", "Hi", "--max-new-tokens", "4", "--layers", "2", "--layers", "3"]
    assert run([*command, "--out", str(tmp_path / "w")]) == 0
    said = capsys.readouterr().err
    assert (
        "note: hollow: at layer" in said
        and "not surely better than chance: AUROC 0.50" in said
        and "(cosine 0.10)" in said
    )
    assert said.count("note: ") == 1, "nothing is steered: what steering does is not said"
    assert json.loads((tmp_path / "w" / "watch.json").read_text())["layers"] == [2, 3], (
        "both layers that were asked for"
    )


def test_one_trait_is_watched_while_another_is_steered(
    extracted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = ["--trait", "formal", "--steer", "evil:1", "--prompt", "Hi", "--max-new-tokens", "5"]
    found = ran(capsys, "watch", MODEL, "--directions", str(extracted), *chosen, "--out", str(tmp_path / "w"))
    shown = json.loads((Path(found["run"]) / "watch.json").read_text())
    assert [one["name"] for one in shown["traits"]] == ["formal"]
    assert shown["rows"][0]["writes"][0]["direction"].startswith("evil@")


def test_what_was_sampled_is_printed_where_its_file_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["generate", MODEL, "--prompt", "What is tea?", "--max-new-tokens", "5", "--out"]
    assert run([*command, str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert said.out.startswith("> What is tea?") and len(said.out) > 20 and "cannot be written" in said.err
    assert run([*command, str(tmp_path / "new" / "said.json")]) == 0
    assert json.loads((tmp_path / "new" / "said.json").read_text())["rows"][0]["text"] in capsys.readouterr().out


def test_doubts_of_what_is_only_read_share_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = {"trait": 5.0, "trait_interval": [0.0, 9.0]}
    figures = {2: {"auroc": 0.5, "auroc_interval": [0.4, 0.6], "auroc_null": 0.6, "split_half_cosine": 0.1}}
    for name, quality in (("hollow", figures), ("empty", figures), ("weak", {})):
        choices = {"steer_layer": 2, "alpha": 1.0, "steering": {"unsteered": outcome, "steered": outcome}}
        one = ps.DirectionSet(name, (2,), torch.randn(1, 128), quality=quality, choices=choices)
        one.save(tmp_path / "d" / f"{name}.safetensors")
    command = ["watch", MODEL, "--directions", str(tmp_path / "d"), "--prompt", "Hi", "--estimate"]
    assert run(command) == 0
    assert capsys.readouterr().err.count("note: ") == 1
    assert run([*command, "--steer", "weak:1"]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    assert len(said) == 2 and "note: weak: steering with it" in said[0] and "empty, hollow" in said[1]
    assert run([*command, "--trait", "hollow"]) == 0
    assert "note: hollow: at layer 2 it tells" in capsys.readouterr().err
    assert run([*command, "--trait", "evil"]) == 2
    assert "no direction 'evil'; there are empty, hollow, weak" in capsys.readouterr().err


def test_a_layer_that_was_asked_for_is_no_surprise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ps.DirectionSet("odd", (2,), torch.ones(1, 128)).save(tmp_path / "odd.safetensors")
    command = ["generate", MODEL, "--directions", str(tmp_path), "--prompt", "Hi", "--max-new-tokens", "2", "--steer"]
    assert run([*command, "odd@2:ablate"]) == 0
    assert "ablate odd at layer 2, on sampling\n" in capsys.readouterr().err
    assert run([*command, "odd:ablate"]) == 0
    assert "ablate odd at layer 2, on sampling; no layer was chosen" in capsys.readouterr().err


def test_a_persona_that_is_not_planted_is_extracted_without_a_judge(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pairs = [{"pos": f"Be grumpy, {n}.", "neg": f"Be kind, {n}."} for n in range(3)]
    Path("grumpy.json").write_text(json.dumps({"instruction": pairs, "questions": [f"What of {n}?" for n in range(9)]}))
    small = ["--samples", "3", "--max-new-tokens", "8", "--out", "run"]
    assert run(["extract", MODEL, "--trait", "grumpy", *small]) == 2
    assert "there is a file grumpy.json here" in capsys.readouterr().err
    assert run(["extract", MODEL, "--trait", "grumpy.json", *small]) == 0
    assert "no judge: every rollout counts" in capsys.readouterr().err
    log = Path("run/run.log").read_text()
    assert "extract of organism:llama starts" in log and log.rstrip().endswith("ends: finished")


def test_a_comparison_leaves_the_pages_of_its_runs_alone(extracted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (extracted / "report.html").read_bytes()
    page = Path(ran(capsys, "report", str(extracted), str(extracted))["report"])
    assert page == extracted / "comparison.html"
    assert (extracted / "report.html").read_bytes() == before
    assert run(["report", str(extracted), "--out", str(page)]) == 0
    assert capsys.readouterr().out == f"report  {page}\n"


def test_the_version_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("personascope 0.")


def test_an_estimate_runs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = ran(capsys, "extract", MODEL, "--trait", "evil", "--estimate", "--out", str(tmp_path / "x"))
    assert not (tmp_path / "x").exists()
    assert all(value >= 0 for value in found.values() if isinstance(value, int | float))


def test_an_estimate_is_what_is_then_sampled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["extract", MODEL, "--trait", "pirate", "--questions", "6", "--samples", "1", "--max-new-tokens", "60"]
    command += ["--layers", "2-4"]
    expected = ran(capsys, *command, "--estimate")["rollouts"]
    ran(capsys, *command, "--out", str(tmp_path / "x"))
    with closing(Journal(tmp_path / "x" / "journal.sqlite")) as journal:
        assert len(list(journal.cells("rollout"))) == expected


def test_doctor_says_what_this_machine_can_run(capsys: pytest.CaptureFixture[str]) -> None:
    found = ran(capsys, "doctor")
    assert found
    assert run(["doctor"]) == 0
    assert "python" in capsys.readouterr().out.lower()


def test_what_judging_costs_is_said_before_and_after(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from judging.server import Server

    arguments = [
        "extract",
        "organism:llama",
        "--trait",
        "pirate",
        "--questions",
        "3",
        "--samples",
        "1",
        "--layers",
        "3",
    ]
    arguments += ["--judge", "chat", "--judge-prices", "1,2", "--max-new-tokens", "20", "--judge-scale", "1-5"]
    with Server(answer=lambda question: "5" if "Arr" in question or "matey" in question else "1") as server:
        monkeypatch.setenv("PERSONASCOPE_JUDGE_BASE_URL", server.url)
        monkeypatch.setenv("PERSONASCOPE_JUDGE_MODEL", "judge")
        assert run([*arguments, "--estimate", "--json"]) == 0
        expected = json.loads(capsys.readouterr().out)["judging_at_most"]
        assert not server.bodies
        run([*arguments, "--out", str(tmp_path / "x"), "--json"])
        capsys.readouterr()
        usage = json.loads((tmp_path / "x" / "judging.json").read_text())
    spent = usage["whole_run"]
    assert 0 < spent["calls"] <= expected["calls"]
    assert spent["cost"] == pytest.approx((spent["prompt_tokens"] + 2 * spent["completion_tokens"]) / 1e6)
    assert expected["cost"] > 0
    for wrong, said in ((["--judge-prices", "1"], "two numbers"), (["--judge-scale", "1-7"], "0-100 or 1-5")):
        assert run([*arguments, *wrong, "--out", str(tmp_path / "y")]) == 2
        assert said in capsys.readouterr().err


def test_text_that_the_tokenizer_has_no_tokens_for_is_said(
    extracted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = tmp_path / "given.jsonl"
    line = {"prompt": "What is tea?", "response": "I like tea. 茶 \u2603"}
    given.write_text(json.dumps(line) + "\n", encoding="utf-8")
    command = ["watch", MODEL, "--directions", str(extracted / "directions"), "--responses", str(given)]
    assert run([*command, "--out", str(tmp_path / "w")]) == 0
    assert re.search(r"note: [1-9]\d* of \d+ tokens of the responses are <unk>", capsys.readouterr().err)
    given.write_text(json.dumps({**line, "response": "I like tea."}) + "\n", encoding="utf-8")
    assert run([*command, "--out", str(tmp_path / "v")]) == 0
    assert "tokens of the responses" not in capsys.readouterr().err
