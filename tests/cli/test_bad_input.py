"""Everything a user can get wrong at the command line: one plain sentence, the right exit code, nothing half-written."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from zoo import byte_tokenizer, tiny_model

import personascope as ps
from personascope.cli.main import run

MODEL = "organism:llama"


class Code:
    def __reduce__(self):  # type: ignore[no-untyped-def]
        return (os.system, ("touch personascope-was-here",))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with all kinds of good and bad files in it."""
    monkeypatch.chdir(tmp_path)
    hidden = 128
    sets = {
        "good": ps.DirectionSet("evil", tuple(range(6)), torch.randn(6, hidden)),
        "narrow": ps.DirectionSet("evil", (1,), torch.randn(1, hidden - 1)),
        "deep": ps.DirectionSet("evil", (40,), torch.randn(1, hidden)),
        "zero": ps.DirectionSet("evil", (1,), torch.zeros(1, hidden)),
    }
    for name, directions in sets.items():
        directions.save(tmp_path / name / "evil.safetensors")
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "long.txt").write_text("table " * 5000)
    (tmp_path / "broken.json").write_text('{"name": "x",\n "instruction": 3}')
    (tmp_path / "deep.json").write_text("[" * 200_000)
    (tmp_path / "none-asked.json").write_text('{"instruction": [{"pos": "a", "neg": "b"}], "questions": []}')
    (tmp_path / "one-pair.json").write_text(
        json.dumps({"instruction": [{"pos": "a", "neg": "b"}], "questions": ["c"] * 9})
    )
    mine = {"instruction": [{"pos": "a", "neg": "b"}] * 3, "questions": [f"q{n}" for n in range(9)]}
    (tmp_path / "mine.json").write_text(json.dumps(mine))
    (tmp_path / "elsewhere.json").write_text(json.dumps({**mine, "name": "../../elsewhere"}))
    (tmp_path / "pickled").mkdir()
    (tmp_path / "pickled" / "evil.safetensors").write_bytes(pickle.dumps(Code()))
    (tmp_path / "evil.pt").write_bytes(pickle.dumps(Code()))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("x")
    (tmp_path / "nothing").mkdir()
    broken = tiny_model("llama")
    with torch.no_grad():
        broken.model.layers[1].mlp.up_proj.weight[0, 0] = float("nan")
    for name, model in {"nan-model": broken, "no-template": tiny_model("llama")}.items():
        model.save_pretrained(tmp_path / name)
        byte_tokenizer(None).save_pretrained(tmp_path / name)
    return tmp_path


WATCH = ["watch", MODEL, "--directions", "good", "--prompt", "Who are you?", "--max-new-tokens", "4"]


def with_(*more: str, without: tuple[str, ...] = ()) -> list[str]:
    """WATCH, with options replaced or added."""
    arguments = list(WATCH)
    for option in without:
        at = arguments.index(option)
        del arguments[at : at + 2]
    return [*arguments, *more]


CASES = {
    "an empty list of layers": (
        ["extract", MODEL, "--trait", "evil", "--layers", "", "--out", "x"],
        2,
        "cannot be read",
    ),
    "no command of a group": (["features", "mime"], 2, "Did you mean 'mine'? see"),
    "no command of that name": (["wach"], 2, "there is no command 'wach'; did you mean 'watch'?"),
    "an argument is missing": (["watch", MODEL], 2, "'--directions'"),
    "an option is no number": (with_("--seed", "x"), 2, "'--seed'"),
    "a seed below zero": (with_("--seed", "-1"), 2, "'--seed'"),
    "figures of no questions": (["organisms", "transfer-figures", "--questions", "0"], 2, "'--questions'"),
    "maps from fewer texts than folds": (["organisms", "transfer-figures", "--texts", "-3"], 2, "'--texts'"),
    "unknown organism": (["generate", "organism:lama", "--prompt", "x"], 2, "did you mean 'organism:llama'"),
    "unknown model": (["generate", "no/such-model", "--prompt", "x"], 2, "'no/such-model' was not found"),
    "a folder that is no model": (["generate", "./nothing", "--prompt", "x"], 2, "does not hold a readable model"),
    "unknown trait": (["extract", MODEL, "--trait", "evill"], 2, "did you mean 'evil'"),
    "unknown trait shown": (["traits", "sycophant"], 2, "did you mean 'sycophantic'"),
    "malformed persona": (["extract", MODEL, "--trait", "./broken.json"], 2, "line 2, field instruction"),
    "a persona nested too deeply": (["traits", "./deep.json"], 2, "deep.json: nested too deeply"),
    "a persona without questions": (
        ["traits", "./none-asked.json"],
        2,
        "field questions: holds nothing; write at least one",
    ),
    "persona file missing": (["extract", MODEL, "--trait", "./none.json"], 2, "cannot be read"),
    "one instruction pair": (["extract", MODEL, "--trait", "./one-pair.json"], 2, "write at least 3"),
    "unknown judge": (["extract", MODEL, "--trait", "evil", "--judge", "jury", "--out", "x"], 2, "'jury' is not known"),
    "rollouts too few to keep any": (
        ["extract", MODEL, "--trait", "evil", "--questions", "1", "--samples", "2", "--out", "x"],
        2,
        "has 2 pos rollouts and 3 are needed",
    ),
    "unknown method": (
        ["extract", MODEL, "--trait", "evil", "--method", "magic", "--questions", "1", "--out", "x"],
        2,
        "'magic' is not known",
    ),
    "selection that is none": (
        ["extract", MODEL, "--trait", "evil", "--tokens", "answer", "--out", "x"],
        2,
        "'answer' is no part",
    ),
    "layer out of range": (with_("--layers", "3,17"), 2, "layer 17 is out of range"),
    "layers that are none": (with_("--layers", "a-b"), 2, "cannot be read"),
    "direction of another width": (with_("--directions", "narrow", without=("--directions",)), 2, "width 127"),
    "direction at another depth": (with_("--directions", "deep", without=("--directions",)), 2, "layer 40"),
    "direction of zeros": (with_("--directions", "zero", without=("--directions",)), 2, "all zeros"),
    "no directions there": (with_("--directions", "nothing", without=("--directions",)), 2, "holds no directions"),
    "directions that want to run code": (
        with_("--directions", "pickled", without=("--directions",)),
        2,
        "not a readable safetensors",
    ),
    "a .pt that wants to run code": (
        with_("--directions", "evil.pt", without=("--directions",)),
        2,
        "is not loaded",
    ),
    "no prompt": (with_(without=("--prompt",)), 2, "nothing to ask"),
    "an empty prompt": (with_("--prompt", ""), 2, "--prompt is empty"),
    "a prompt in another encoding": (
        with_("--prompt", b"caf\xe9".decode(errors="surrogateescape"), "--out", "x"),
        2,
        r"--prompt 'caf\udce9' is not UTF-8 text",
    ),
    "an empty prompt file": (with_("--prompts", "empty.txt"), 2, "holds no prompts"),
    "a prompt file that is not there": (with_("--prompts", "none.txt"), 2, "does not exist"),
    "a prompt longer than the context": (
        with_("--prompts", "long.txt"),
        2,
        "prompt 2, 'table table table table table table tab…': a text of",
    ),
    "a turn that no prompt has": (
        with_("--steer", "evil@3:1:turn[9]"),
        2,
        "prompt 1, 'Who are you?': turn[9] is not in a prompt of 1 turns",
    ),
    "responses without responses": (
        with_("--responses", "long.txt", without=("--prompt",)),
        2,
        "responses are asked for",
    ),
    "alpha is infinite": (with_("--steer", "evil@3:inf"), 2, "alpha=inf"),
    "alpha is no number": (with_("--steer", "evil@3:much"), 2, "'much' is not a number"),
    "steering with what is not there": (with_("--steer", "good:1"), 2, "no direction 'good'"),
    "steering at a layer that is not there": (with_("--steer", "evil@9:1"), 2, "no direction at layer 9"),
    "steering from the end": (with_("--steer", "evil@3:1:response[-3:]"), 2, "where the response ends"),
    "steering without directions": (["generate", MODEL, "--prompt", "x", "--steer", "evil:1"], 2, "needs --directions"),
    "temperature below zero": (with_("--temperature", "-1"), 2, "temperature=-1"),
    "a folder with other files": (with_("--out", "other"), 2, "holds other files"),
    "a place that cannot be written": (with_("--out", "/proc/nowhere/run"), 2, "cannot be written"),
    "an unknown device": (["generate", MODEL, "--prompt", "x", "--device", "foo"], 2, "device 'foo'"),
    **{
        f"{device} for a device": (["generate", MODEL, "--prompt", "x", "--device", device], 2, f"device '{device}' is")
        for device in ("mps", "xpu", "meta", "nonsense")
    },
    "an unknown dtype": (["generate", MODEL, "--prompt", "x", "--dtype", "foo"], 2, "dtype 'foo'"),
    "no rows at once": (["generate", MODEL, "--prompt", "x", "--batch-size", "0"], 2, "'--batch-size'"),
    "responses and prompts": (with_("--responses", "long.txt"), 2, "in a run of their own"),
    "less than no continuation": (with_("--verify", "-1"), 2, "'--verify'"),
    "three continuations": (
        with_("--verify", "3", "--directions", "nothing"),
        2,
        "3 continuations on either side can confirm nothing; verify with at least 4",
    ),
    "nothing to write": (with_("--max-new-tokens", "0"), 2, "'--max-new-tokens'"),
    "nothing to generate": (["generate", MODEL, "--prompt", "x", "--max-new-tokens", "0"], 2, "'--max-new-tokens'"),
    "a name that leads elsewhere": (["extract", MODEL, "--trait", "./elsewhere.json"], 2, "field name"),
    "a persona nobody planted": (
        ["extract", MODEL, "--trait", "./mine.json", "--judge", "lexicon", "--out", "x"],
        2,
        "not planted",
    ),
    "NaN weights": (["generate", "./nan-model", "--prompt", "x"], 1, "NaN or infinity from layer 1"),
    "extracting without a chat template": (
        ["extract", "./no-template", "--trait", "evil", "--out", "x"],
        2,
        "or make directions from texts",
    ),
    "no chat template": (["generate", "./no-template", "--prompt", "x"], 2, "no chat template"),
    "a report of nothing": (["report", "nothing"], 2, "not a run folder"),
    "a device to train on": (["organisms", "train", "llama", "--out", "x", "--device", "meta"], 2, "device 'meta' is"),
    "an organism without a recipe": (["organisms", "train", "bert", "--out", "x"], 2, "has no recipe"),
}


@pytest.mark.parametrize("case", CASES, ids=list(CASES))
def test_a_mistake_is_one_sentence(case: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, code, said = CASES[case]
    before = {path for path in place.rglob("*") if path.is_file()}
    assert run(arguments) == code
    captured = capsys.readouterr()
    assert said in captured.err
    last = captured.err.strip().splitlines()[-1]
    assert last.startswith("personascope: ")
    assert "Traceback" not in captured.err + captured.out
    new = {path.name for path in place.rglob("*") if path.is_file()} - {path.name for path in before}
    assert new <= {"run.json", "run.log", "journal.sqlite"}, "nothing half-written"


@pytest.mark.parametrize(
    "case", ["a prompt longer than the context", "a turn that no prompt has", "temperature below zero"]
)
def test_what_watch_can_know_is_said_before_it_calibrates(
    case: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*CASES[case][0], "--out", "w"]) == 2
    assert "calibrating" not in capsys.readouterr().err
    assert not (place / "w").exists()


def test_another_run_in_the_folder_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(with_("--out", "w")) == 0
    report = (place / "w" / "report.html").read_bytes()
    assert run(with_("--out", "w", "--temperature", "0.5")) == 2
    assert "holds another run (temperature was 1.0 and is 0.5)" in capsys.readouterr().err
    assert (place / "w" / "report.html").read_bytes() == report


def test_a_run_may_grow_and_not_shrink(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(with_("--out", "w")) == 0
    assert run(with_("--out", "w", "--prompt", "[/b] What is :smile: [red]tea[/red]?")) == 0
    rows = json.loads((place / "w" / "watch.json").read_text())["rows"]
    assert [row["prompt"] for row in rows] == ["Who are you?", "[/b] What is :smile: [red]tea[/red]?"]
    assert "[/b] What is :smile: [red]tea[/red]?" in capsys.readouterr().out, "shown as it was written"
    assert run(with_("--out", "w", "--prompt", "Another?", without=("--prompt",))) == 2
    assert "already has prompts that are left out now" in capsys.readouterr().err
    assert len(json.loads((place / "w" / "watch.json").read_text())["rows"]) == 2


def test_a_model_that_breaks_half_way_fails_with_code_1(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, tokens in enumerate(("sampling[2:]", "all")):
        assert run(with_("--steer", f"evil@3:3e38:{tokens}", "--out", f"w{number}")) == 1
        err = capsys.readouterr().err.splitlines()[-1]
        assert (
            err.startswith("personascope: 1 of 1 rows failed; the first: ") and "not finite" in err and "layer" in err
        )
        assert json.loads((place / f"w{number}" / "run.json").read_text())["state"] == "failed"


def test_a_row_that_fails_among_others_is_said_in_the_run(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    long = "What should I know about tea? " * 8
    assert run(with_("--steer", "evil@3:3e38:prompt[40:]", "--prompt", long, "--out", "w")) == 1
    assert "1 of 2 rows failed" in capsys.readouterr().err
    record = json.loads((place / "w" / "run.json").read_text())
    assert record["state"] == "partly failed" and list(record["failed"]) == ["row 1"]
    assert len(json.loads((place / "w" / "watch.json").read_text())["rows"]) == 2


def test_json_is_one_object_on_stdout_and_nothing_else(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (
        with_("--out", "w", "--json"),
        ["traits", "--json"],
        ["generate", MODEL, "--prompt", "Hello", "--json"],
        ["organisms", "list", "--json"],
        with_("--estimate", "--json"),
    ):
        assert run(arguments) == 0
        captured = capsys.readouterr()
        assert isinstance(json.loads(captured.out), dict)
    assert run(["traits", "--help"]) == 0


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_half_way_keeps_what_is_finished_and_the_same_command_goes_on(
    place: Path, how: signal.Signals, tmp_path: Path
) -> None:
    run_folder = tmp_path / "w"
    arguments = with_("--out", str(run_folder), "--max-new-tokens", "60", "--batch-size", "4")
    arguments += [part for n in range(60) for part in ("--prompt", f"What should I know about {n}?")]
    command = [sys.executable, "-m", "personascope.cli.main", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=place) as process:
        deadline = time.monotonic() + 120
        shown = run_folder / "journal.sqlite-wal"
        while time.monotonic() < deadline and (not shown.exists() or shown.stat().st_size < 60_000):
            time.sleep(0.05)
        process.send_signal(how)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in err.splitlines()[-1]
    assert "Traceback" not in err
    assert json.loads((run_folder / "run.json").read_text())["state"] == "interrupted"
    assert not (run_folder / "report.html").exists()
    assert subprocess.run(command, capture_output=True, cwd=place, check=False).returncode == 0
    assert json.loads((run_folder / "run.json").read_text())["state"] == "finished"
    assert (run_folder / "report.html").exists()
