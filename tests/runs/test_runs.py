"""Run folders: resumed, refused, never half-written."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import personascope as ps
from personascope.engine.cells import Cells, request_key
from personascope.engine.generate import run_requests
from personascope.engine.rows import Generation, Request
from personascope.runs import Config, Journal, RunFolder, cell_key, write_json, write_table
from personascope.runs.files import aside
from personascope.subject import Subject

MODEL = {"model": "m", "weights": "w"}


def open_run(path: Path, seed: int = 0, **identity: object) -> RunFolder:
    return RunFolder.open(
        path, "watch", Config({"prompts": ["a"], **identity}, {"samples": 1}, {"device": "cpu"}), MODEL, seed
    )


def test_a_run_says_what_it_is_and_how_it_ended(tmp_path: Path) -> None:
    with open_run(tmp_path).running():
        assert json.loads((tmp_path / "run.json").read_text())["state"] == "running"
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["state"] == "finished"
    assert record["what"] == "watch"
    assert record["model"] == MODEL
    assert set(record["config"]) == {"identity", "extent", "runtime"}
    assert "torch" in record["versions"]


@pytest.mark.parametrize(("error", "state"), [(KeyboardInterrupt, "interrupted"), (ValueError, "failed")])
def test_a_run_that_ends_early_says_so(tmp_path: Path, error: type[BaseException], state: str) -> None:
    with pytest.raises(error), open_run(tmp_path).running():
        raise error
    assert json.loads((tmp_path / "run.json").read_text())["state"] == state


def test_what_a_mistake_ended_may_be_left_out_and_what_was_there_not(tmp_path: Path) -> None:
    def asked(*prompts: str, mistake: bool = False) -> None:
        config = Config({}, {"prompts": list(prompts)})
        with RunFolder.open(tmp_path / "run", "watch", config, MODEL, 0).running() as run:
            run.journal.put("key", "rollout", 1)
            if mistake:
                raise ps.UserError("this prompt cannot be")

    for _ in range(2):
        with pytest.raises(ps.UserError, match="cannot be"):
            asked("a", "bad", mistake=True)
    asked("a")
    with pytest.raises(ps.UserError, match="cannot be"):
        asked("a", "b", "bad", mistake=True)
    with pytest.raises(ps.UserError, match="already has prompts that are left out now"):
        asked("b")
    asked("a", "b")


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("evil@3:digest", "evil@3:digest"),
        (["How do I bake bread?", None], "How do I bake bread?"),
        (
            [[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who is it?"}], "Me."],
            "Who is it?",
        ),
    ],
)
def test_what_is_left_out_is_named_by_its_words(tmp_path: Path, entry: object, said: str) -> None:
    with RunFolder.open(tmp_path, "watch", Config({}, {"prompts": [entry]}), MODEL, 0).running() as run:
        run.journal.put("key", "rollout", 1)
    with pytest.raises(ps.UserError, match=re.escape(f'left out now ("{said}");')):
        RunFolder.open(tmp_path, "watch", Config({}, {"prompts": ["another"]}), MODEL, 0)


def test_what_failed_in_part_is_said_and_may_be_left_out(tmp_path: Path) -> None:
    def asked(*prompts: str, failed: tuple[str, ...] = ()) -> dict:  # type: ignore[type-arg]
        config = Config({}, {"prompts": list(prompts)})
        with RunFolder.open(tmp_path / "run", "watch", config, MODEL, 0).running() as run:
            write_json(run.path / "x.json", 1)
            came = [one for one in prompts if one not in failed]
            if failed:
                run.lacks(dict.fromkeys(failed, "too few"), {"prompts": came} if came else None)
        found = json.loads((tmp_path / "run" / "run.json").read_text())
        assert isinstance(found, dict)
        return found

    assert asked("bad", failed=("bad",))["state"] == "partly failed"
    assert asked("a", "bad", failed=("bad",))["failed"] == {"bad": "too few"}
    with pytest.raises(ps.UserError, match="left out now"):
        asked("c")
    after = asked("a")
    assert after["state"] == "finished" and "failed" not in after


def test_a_mistake_before_anything_is_done_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = tmp_path / "new"

    def mistaken(seed: int, does_something: bool = False) -> None:
        with open_run(folder, seed).running() as run:
            if does_something:
                run.journal.put("key", "rollout", 1)
            raise ps.UserError("no")

    with pytest.raises(ps.UserError):
        mistaken(seed=0)
    assert not folder.exists()
    with pytest.raises(ps.UserError):
        mistaken(seed=1, does_something=True)
    assert json.loads((folder / "run.json").read_text())["state"] == "failed"
    with pytest.raises(ps.UserError):
        mistaken(seed=1)
    assert (folder / "journal.sqlite").exists(), "what an earlier start did stays"


def test_a_mistake_after_something_was_written_keeps_the_run(tmp_path: Path) -> None:
    folder = tmp_path / "new"

    def mistaken() -> None:
        with open_run(folder).running() as run:
            write_json(run.path / "watch.json", [1])
            raise ps.UserError("no")

    with pytest.raises(ps.UserError):
        mistaken()
    assert RunFolder.read(folder).record["state"] == "failed"
    assert json.loads((folder / "watch.json").read_text()) == [1]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_none_is_refused_before_anything_is_written(tmp_path: Path, value: float) -> None:
    with pytest.raises(ps.UserError, match="is not a number to run with"):
        open_run(tmp_path / "new", alpha=value)
    assert not (tmp_path / "new").exists()


def test_the_same_run_goes_on_and_extent_and_runtime_may_change(tmp_path: Path) -> None:
    open_run(tmp_path)
    config = Config({"prompts": ["a"]}, {"samples": 5}, {"device": "cuda"})
    assert RunFolder.open(tmp_path, "watch", config, MODEL, 0).record["config"]["extent"] == {"samples": 5}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"prompts": ["b"]}, "prompts was"),
        ({"seed": 1}, "seed was 0 and is 1"),
        ({"alpha": 2}, "alpha was null and is 2"),
    ],
)
def test_another_run_in_the_same_folder_is_refused_with_what_differs(tmp_path: Path, change: dict, said: str) -> None:
    with open_run(tmp_path).running() as run:
        run.journal.put("key", "rollout", 1)
    with pytest.raises(ps.UserError, match=said):
        open_run(tmp_path, **change)


def test_a_run_that_came_to_nothing_makes_room_for_another(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), open_run(tmp_path).running():
        raise KeyboardInterrupt
    assert open_run(tmp_path, seed=7).record["seed"] == 7
    with open_run(tmp_path).running() as run:
        write_json(run.path / "watch.json", [1])
    with pytest.raises(ps.UserError, match="seed was 0 and is 7"):
        open_run(tmp_path, seed=7)


KILLED_OPENING = """
import os, signal, sys
from personascope.runs import Config, RunFolder, folder
def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)
setattr(*{"locking": (folder, "Journal"), "writing": (folder, "write_json")}[sys.argv[2]], kill)
if sys.argv[3:]:
    from personascope.runs import files
    folder.write_json, files.os.replace = files.write_json, kill
RunFolder.open(sys.argv[1], "watch", Config({}), {}, 0)
"""


@pytest.mark.parametrize("moment", [["locking"], ["writing"], ["writing", "half-way"]])
def test_a_run_killed_while_it_was_opened_is_started_again(tmp_path: Path, moment: list[str]) -> None:
    path = tmp_path / "run"
    killed = subprocess.run([sys.executable, "-c", KILLED_OPENING, str(path), *moment], check=False)
    assert killed.returncode == -signal.SIGKILL and not (path / "run.json").exists()
    with open_run(path).running():
        pass
    assert RunFolder.read(path).record["state"] == "finished"


def test_a_run_that_another_process_has_taken_is_left_alone(tmp_path: Path) -> None:
    late, first = open_run(tmp_path), open_run(tmp_path)
    with first.running():
        before = (tmp_path / "run.json").read_bytes(), (tmp_path / "run.log").read_bytes()
        with pytest.raises(ps.UserError, match="in use by another process"), late.running():
            pass
        assert before == ((tmp_path / "run.json").read_bytes(), (tmp_path / "run.log").read_bytes())


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(ps.UserError, match="holds other files"):
        open_run(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0 and not os.path.exists("/proc"), reason="needs a place that cannot be written")
def test_a_place_that_cannot_be_written_is_one_sentence() -> None:
    with pytest.raises(ps.UserError, match="cannot be written"):
        open_run(Path("/proc/personascope"))


def test_a_file_is_whole_or_absent(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"a": np.float32(1.5), "b": np.arange(2)})
    with pytest.raises(ps.NonFinite):
        write_json(path, {"a": float("nan")})

    def stop_half_way() -> None:
        with aside(path) as part:
            part.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        stop_half_way()
    assert json.loads(path.read_text()) == {"a": 1.5, "b": [0, 1]}
    assert [file.name for file in tmp_path.iterdir()] == ["x.json"]
    write_table(tmp_path / "x.parquet", {"n": [1, 2], "s": ["a", "b"]})
    assert pq.read_table(tmp_path / "x.parquet").to_pydict() == {"n": [1, 2], "s": ["a", "b"]}


def test_a_cell_is_entered_once_and_for_good(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite")
    journal.put("k", "rollout", {"a": 1})
    journal.put("k", "rollout", {"a": 2})
    assert journal.get("k") == {"a": 1}
    assert "k" in journal
    assert "other" not in journal
    assert list(journal.cells("rollout")) == [("k", {"a": 1})]
    assert len(journal) == 1


def test_two_writers_are_one_too_many(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite")
    journal.put("k", "x", 1)
    with pytest.raises(ps.UserError, match="in use by another process"):
        Journal(tmp_path / "journal.sqlite")


def test_a_file_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite").write_bytes(b"hello" * 500)
    with pytest.raises(ps.UserError, match="not a journal"):
        Journal(tmp_path / "journal.sqlite")


def test_a_key_depends_on_every_part_and_not_on_their_order() -> None:
    assert cell_key(a=1, b=[2]) == cell_key(b=[2], a=1)
    assert len({cell_key(a=1), cell_key(a=2), cell_key(b=1), cell_key(a="1")}) == 4


KILLED = """
import sys, pathlib
from personascope.runs import Journal
journal = Journal(pathlib.Path(sys.argv[1]))
for number in range(10**6):
    journal.put(f"cell {number}", "rollout", {"number": number})
    print(number, flush=True)
"""


def test_nothing_entered_is_lost_to_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        last = -1
        for line in process.stdout:
            last = int(line)
            if last >= 40:
                break
        process.send_signal(signal.SIGKILL)
    numbers = [value["number"] for _, value in Journal(path).cells("rollout")]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) > last


def requests(subject: Subject, count: int, reads: bool) -> list[Request]:
    direction = ps.Direction(torch.ones(subject.hidden_size), 1)
    return [
        Request(
            subject.chat.prompt(f"prompt {n}"),
            n,
            6,
            watch=() if reads else (direction,),
            reads=reads,
            suppress_eos=True,
        )
        for n in range(count)
    ]


def same(one: Generation, other: Generation) -> bool:
    keys = ("text", "response_ids", "token_ids", "tokens", "turns", "finish", "seed")
    arrays = one.projections.keys() == other.projections.keys() and all(
        np.allclose(one.projections[key], other.projections[key], atol=1e-4) for key in one.projections
    )
    means = (one.means is None) == (other.means is None) and (
        one.means is None or torch.allclose(one.means, other.means, atol=1e-4)
    )
    return arrays and means and all(getattr(one, key) == getattr(other, key) for key in keys)


@pytest.mark.parametrize("reads", [False, True])
def test_a_run_interrupted_anywhere_is_resumed_without_loss_or_double(
    subject: Subject, tmp_path: Path, reads: bool
) -> None:
    wanted = requests(subject, 12, reads)
    means = ["response"] if reads else []
    plain = run_requests(subject, wanted, batch_size=3, means=means)

    class Stop(Exception):
        pass

    for after in (1, 5, 9):
        journal = Journal(tmp_path / f"{reads}-{after}.sqlite")
        seen: list[int] = []

        def stop(index: int, _: Generation, seen: list[int] = seen, after: int = after) -> None:
            seen.append(index)
            if len(seen) == after:
                raise Stop

        folder = tmp_path / f"{reads}-{after}"
        folder.mkdir()
        with pytest.raises(Stop):
            run_requests(subject, wanted, batch_size=3, means=means, on_done=stop, cells=Cells(folder, journal, {}))
        entered = len(journal)
        assert entered >= after
        fresh: list[int] = []
        resumed = run_requests(
            subject,
            wanted,
            means=means,
            on_done=lambda index, _, fresh=fresh: fresh.append(index),
            cells=Cells(folder, journal, {}),
        )
        assert len(journal) == len(fresh) == 12
        assert all(same(one, other) for one, other in zip(resumed, plain, strict=True))
        assert sum(1 for _ in journal.cells("rollout")) == 12


def test_a_rollout_whose_shard_is_gone_is_sampled_again(subject: Subject, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite")
    wanted = requests(subject, 2, reads=True)
    run_requests(subject, wanted, means=["response"], cells=Cells(tmp_path, journal, {}))
    for shard in tmp_path.glob("*.h5"):
        shard.unlink()
    again = run_requests(subject, wanted, means=["response"], cells=Cells(tmp_path, journal, {}))
    assert all(out.means is not None for out in again)


def test_every_setting_of_a_rollout_is_in_its_key(subject: Subject) -> None:
    v = ps.Direction(torch.ones(subject.hidden_size), 1)
    base = {"prompt": subject.chat.prompt("a"), "seed": 1, "max_new_tokens": 3}
    others = [
        {"prompt": subject.chat.prompt("b")},
        {"seed": 2},
        {"max_new_tokens": 4},
        {"sampling": ps.engine.choose.Sampling(0.5)},
        {"writes": (ps.add(v, 1.0),)},
        {"writes": (ps.add(v, 2.0),)},
        {"writes": (ps.add(2 * v, 1.0),)},
        {"writes": (ps.add(v, 1.0, tokens="response"),)},
        {"writes": (ps.add(v, 1.0, relative=True),)},
        {"watch": (v,)},
        {"stop": ("x",)},
        {"suppress_eos": True},
        {"logprobs": 1},
        {"forced": (7,)},
        {"reads": True},
    ]
    keys = [request_key(subject, Request(**{**base, **change}), {}) for change in [{}, *others]]
    assert len(set(keys)) == len(keys)


def test_who_does_not_get_the_journal_leaves_the_folder_as_it_is(tmp_path: Path) -> None:
    program = (
        "import sys; from personascope.runs import Config, RunFolder; "
        "RunFolder.open(sys.argv[1], 'test', Config({}, {'prompts': ['a', 'b']}), {}, 0)"
    )
    run = RunFolder.open(tmp_path / "run", "test", Config({}, {"prompts": ["a"]}), {}, 0)
    with run.running():
        before = (tmp_path / "run" / "run.json").read_bytes()
        other = subprocess.run([sys.executable, "-c", program, str(tmp_path / "run")], capture_output=True, text=True)
        assert "in use by another process" in other.stderr
        assert (tmp_path / "run" / "run.json").read_bytes() == before


def test_the_models_layers_and_the_runs_layers_are_two_things(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path / "run", "test", Config({"layers": "all"}), {"layers": 6}, 0).running() as run:
        run.journal.put("key", "rollout", 1)
    with pytest.raises(ps.UserError, match='layers was "all" and is "2,3"'):
        RunFolder.open(tmp_path / "run", "test", Config({"layers": "2,3"}), {"layers": 6}, 0)


def test_a_file_without_a_name_is_refused() -> None:
    with pytest.raises(ps.UserError, match="without a name"):
        write_json(Path(""), {})
