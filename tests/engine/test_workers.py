"""Rows on workers: what comes back is what would have come here, also when a worker is killed half way."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import personascope as ps
from personascope.cli.main import run
from personascope.engine.cells import Cells
from personascope.engine.choose import Sampling
from personascope.engine.generate import run_requests
from personascope.engine.rows import Generation, Request
from personascope.engine.workers import RayWorkers
from personascope.runs import Config, RunFolder
from personascope.subject import Subject

QUESTIONS = [f"What do you think of number {number}?" for number in range(24)]


@pytest.fixture(scope="module")
def workers() -> Iterator[RayWorkers]:
    """Two workers on this machine."""
    with RayWorkers("organism:llama", count=2) as two:
        yield two


@pytest.fixture
def spread(llama: Subject, workers: RayWorkers) -> Iterator[Subject]:
    llama.workers = workers
    yield llama
    llama.workers = None


def requests(subject: Subject) -> list[Request]:
    direction = ps.Direction(subject.model.get_input_embeddings().weight[20].detach() * 5, 2, "word")
    return [
        Request(
            subject.chat.prompt(question),
            seed,
            24,
            Sampling(1.0),
            writes=(ps.add(direction, 1.0),) if seed % 2 else (),
            watch=(direction,),
            reads=True,
        )
        for seed, question in enumerate(QUESTIONS)
    ]


def test_what_comes_back_is_what_would_have_come_here(spread: Subject) -> None:
    assert spread.workers is not None
    there = run_requests(spread, requests(spread), means=["response"], mean_layers=[1, 3])
    spread.workers, two = None, spread.workers
    here = run_requests(spread, requests(spread), means=["response"], mean_layers=[1, 3])
    spread.workers = two
    assert [one.response_ids for one in there] == [one.response_ids for one in here]
    for one, other in zip(there, here, strict=True):
        assert one.means is not None and other.means is not None
        assert (one.means - other.means).abs().max() < 1e-3
        assert abs(one.projections["word@2"] - other.projections["word@2"]).max() < 1e-3


def test_a_worker_that_is_killed_half_way_loses_nothing(spread: Subject, workers: RayWorkers, tmp_path: Path) -> None:
    folder = RunFolder.open(tmp_path / "r", "extract", Config({}), spread.describe(), 0)
    done: list[int] = []
    before = workers.processes()

    def kill_one(index: int, _: Generation) -> None:
        done.append(index)
        if len(done) == 3:
            os.kill(before[0], signal.SIGKILL)

    cells = Cells(folder.path, folder.journal, {})
    found = run_requests(spread, requests(spread), means=["response"], on_done=kill_one, cells=cells)
    assert sorted(done) == list(range(len(QUESTIONS))), "each row once"
    assert all(one.response_ids for one in found)
    assert len(list(folder.journal.cells("rollout"))) == len(QUESTIONS)
    assert set(workers.processes()) != set(before), "another worker took its place"


def test_a_worker_that_never_gets_a_place_is_not_waited_for_forever(
    workers: RayWorkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("personascope.engine.workers._START_SECONDS", 1.0)
    with pytest.raises(ps.UserError, match=r"no worker started within 1 s.* wait for other work"):
        RayWorkers("organism:llama", count=1)
    assert workers.processes(), "those that run go on"


def test_a_mistake_is_the_same_sentence_as_here(spread: Subject) -> None:
    wide = ps.Direction(ps.extract_from_texts(spread, "x", ["Tea."], ["Roads."])[0].vector[:5], 0, "narrow")
    one = Request(spread.chat.prompt("Hello"), 0, 4, writes=(ps.add(wide, 1.0),))
    with pytest.raises(ps.UserError, match="has width 5"):
        run_requests(spread, [one])


def test_what_workers_cannot_be_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["extract", "organism:llama", "--trait", "pirate", "--questions", "3", "--out", str(tmp_path / "a")]
    assert run([*arguments, "--workers", "dask"]) == 2
    assert "write ray or ray:ADDRESS" in capsys.readouterr().err
