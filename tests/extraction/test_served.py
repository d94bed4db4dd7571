"""Rollouts that a server samples: read here, they give what sampling here gives."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from judging.server import Server

import personascope as ps
from personascope.cli.main import run
from personascope.engine.cells import Cells
from personascope.extraction.extract import extract_all
from personascope.extraction.rollouts import SELECTIONS, cells, sample_rollouts
from personascope.extraction.served import served_rollouts
from personascope.extraction.splits import split_persona
from personascope.judging.endpoint import Endpoint, EndpointFailed
from personascope.personas import load_persona
from personascope.runs import Config, RunFolder
from personascope.subject import Subject

PERSONA = load_persona("pirate")
WANTED = [*cells(PERSONA, split_persona(PERSONA, 3), 1)]


def serving(subject: Subject) -> Any:
    """A server's answer by the subject itself, with the seed it is given: what a user's own server would do."""
    lock = threading.Lock()

    def chat(body: dict[str, Any]) -> tuple[str, str]:
        with lock:
            out = ps.generate(subject, body["messages"], seed=[body["seed"]], max_new_tokens=_room(body))[0]
        return out.text, "stop" if out.finish == "end" else "length"

    return chat


def _room(body: dict[str, Any]) -> int:
    return int(body.get("max_completion_tokens") or body["max_tokens"])


def test_what_a_server_samples_is_read_as_if_it_were_sampled_here(
    llama: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = [2, 4]
    folder = RunFolder.open(tmp_path / "r", "extract", Config({}), llama.describe(), 0)
    store = Cells(folder.path, folder.journal, {})
    with Server(chat=serving(llama), trouble=5, kinds=("429", "500", "half")) as server:
        endpoint = Endpoint(server.url, "pirate", first_wait=0.05)
        there = served_rollouts(llama, endpoint, WANTED, layers, SELECTIONS, 40, 1.0, 0, store=store)
        assert all(body["temperature"] == 1.0 and body["top_p"] == 1.0 for body in server.bodies)
        asked = len(server.bodies)
        with monkeypatch.context() as patched:
            patched.setattr("personascope.extraction.passages.means_of", lambda *_, **__: pytest.fail("read again"))
            again = served_rollouts(llama, endpoint, WANTED, layers, SELECTIONS, 40, 1.0, 0, store=store)
        assert len(server.bodies) == asked, "what has arrived is not asked for again"
    seeded = [one.cell.seed(0) % 2**31 for one in there]
    here = [
        ps.generate(llama, one.cell.chat(None), seed=[seed], max_new_tokens=40)[0]
        for one, seed in zip(there, seeded, strict=True)
    ]
    assert [one.answer for one in there] == [one.text for one in here]
    assert [list(one.passage.response) for one in there] == [one.response_ids for one in here], "end of turn included"
    for one, other in zip(there, again, strict=True):
        assert torch.equal(one.means, other.means)
    # The same tokens read while sampling.
    (cell,) = [WANTED[0]]
    direct = sample_rollouts(llama, [cell], layers, SELECTIONS, 40, 1.0, 0)[0]
    if direct.answer == there[0].answer:
        torch.testing.assert_close(direct.means, there[0].means, atol=1e-4, rtol=1e-4)


def test_a_template_without_a_system_turn_is_sent_what_is_read_here() -> None:
    """A server of such a model would refuse a system message: it gets the folded chat, and so does the reading."""
    folding = ps.load("organism:gemma2")
    asked: list[list[dict[str, str]]] = []

    def chat(body: dict[str, Any]) -> tuple[str, str]:
        asked.append(body["messages"])
        return "Arr, matey.", "stop"

    with Server(chat=chat) as server:
        found = served_rollouts(folding, Endpoint(server.url, "g"), WANTED[:3], [1], SELECTIONS, 8, 1.0, 0)
    sent = {str(messages) for messages in asked}
    for one in found:
        expected = folding.chat.folded(one.cell.chat(None))
        assert str(expected) in sent
        assert one.passage.prompt.ids == folding.chat.prompt(one.cell.chat(None)).ids


def test_a_response_too_short_for_a_selection_is_left_out_of_it_alone(llama: Subject) -> None:
    long = "Arr, plunder salty barrels boldly, and boldly hoist briny anchors, matey."
    answers = iter(["Arr.", *[long] * 20])
    with Server(chat=lambda body: (next(answers), "length")) as server:
        selections = ("response", "response[6:]")
        endpoint = Endpoint(server.url, "p", concurrency=1)
        found = served_rollouts(llama, endpoint, WANTED[:4], [2], selections, 40, 1.0, 0)
    short = [one for one in found if one.answer == "Arr."]
    assert len(found) == 4 and len(short) == 1
    assert short[0].means[:, 0].isfinite().all() and short[0].means[:, 1].isnan().all()
    assert all(one.means.isfinite().all() for one in found if one.answer == long)


def test_a_sample_without_what_the_server_refuses_is_not_taken(llama: Subject, tmp_path: Path) -> None:
    folder = RunFolder.open(tmp_path / "r", "extract", Config({}), llama.describe(), 0)
    store = Cells(folder.path, folder.journal, {})
    long: list[tuple[int, str] | None] = [(400, "maximum context length")]
    with Server(chat=serving(llama), refuse=lambda text: long[0] if text == WANTED[1].question else None) as server:
        endpoint = Endpoint(server.url, "m")
        with pytest.raises(
            EndpointFailed, match=r"refuses 2 of 4 rollouts.*maximum context length.*out of the persona's file"
        ):
            served_rollouts(llama, endpoint, WANTED[:4], [2], SELECTIONS, 8, 1.0, 0, store=store)
        long[0] = None
        before = len(server.bodies)
        found = served_rollouts(llama, endpoint, WANTED[:4], [2], SELECTIONS, 8, 1.0, 0, store=store)
        asked = [body["messages"][-1]["content"] for body in server.bodies[before:]]
    assert len(found) == 4
    assert set(asked) == {WANTED[1].question} and len(asked) == 2, "only those that lacked, under both poles"


def test_directions_from_a_server_are_those_from_here(llama: Subject) -> None:
    settings: dict[str, Any] = {"samples": 2, "questions": 5, "alphas": (), "layers": [3, 4], "max_new_tokens": 60}
    with Server(chat=serving(llama)) as server:
        (there,) = extract_all(llama, ["pirate"], server=Endpoint(server.url, "pirate"), **settings)
    (here,) = extract_all(llama, ["pirate"], **settings)
    assert there[4].cosine(here[4]) > 0.98
    assert there.quality[4]["auroc"] > 0.95


def test_a_server_that_says_nothing_or_is_not_there_is_one_sentence(
    llama: Subject, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "extract",
        "organism:llama",
        "--trait",
        "pirate",
        "--questions",
        "3",
        "--samples",
        "1",
        "--judge",
        "none",
    ]
    with Server(chat=lambda body: ("", "stop")) as server:
        assert run([*arguments, "--generate-with", server.url, "--out", str(tmp_path / "a")]) == 2
        assert "nothing but empty responses" in capsys.readouterr().err
    with Server(chat=serving(llama)) as server:
        assert run([*arguments, "--generate-with", server.url, "--out", str(tmp_path / "b"), "--json"]) == 0
        assert {body["model"] for body in server.bodies} == {"organism:llama"}
        assert (
            json.loads((tmp_path / "b" / "run.json").read_text())["config"]["identity"]["sampled_by"]
            == "organism:llama"
        )
