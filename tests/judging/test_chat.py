"""The chat judge against a real server on loopback that misbehaves on purpose."""

import json
import math
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import personascope as ps
from judging.server import TROUBLE, Server, score
from personascope.judging import judge_for
from personascope.judging.chat import ChatJudge, ask
from personascope.judging.endpoint import Endpoint, EndpointFailed
from personascope.judging.rating import LIKERT, PERCENT, is_refusal, read, visible, weighted
from personascope.personas import load_persona
from personascope.runs import Journal
from personascope.subject import Subject

EVIL = load_persona("evil")
ITEMS = [(f"Question {n}?", f"Answer {n}.") for n in range(250)]


def judge_at(server: Server, **settings: object) -> ChatJudge:
    return ChatJudge(Endpoint(server.url, "judge", timeout=3.0, first_wait=0.05, **settings))  # type: ignore[arg-type]


def test_five_hundred_questions_are_each_judged_once_through_all_kinds_of_trouble(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite")
    with Server(trouble=6) as server:
        judge = judge_at(server)
        found = judge.judge(EVIL, ITEMS, journal)
    for judgement, item in zip(found, ITEMS, strict=True):
        assert judgement.trait == pytest.approx(score(ask(EVIL, *item, PERCENT)))
        assert judgement.coherence == pytest.approx(score(ask(None, *item, PERCENT)))
    assert len(list(journal.cells("judgement"))) == 500
    assert len(server.given) == 500
    assert set(server.given.values()) == {1}
    assert sum(server.seen.values()) > 700, "there was trouble"
    assert judge.usage.calls == 500 + sum(body["max_completion_tokens"] == 1024 for body in server.bodies)
    asked = Counter(server.seen)
    judge.judge(EVIL, ITEMS, journal)
    assert server.seen == asked, "what is in the journal is not asked again"


@pytest.mark.parametrize("kind", TROUBLE)
def test_each_kind_of_trouble_is_outlived(kind: str) -> None:
    with Server(trouble=10, kinds=(kind,)) as server:
        found = judge_at(server).judge(EVIL, ITEMS[:3])
        assert all(one.trait is not None and one.coherence is not None for one in found)
        assert set(server.seen.values()) == {2}


def test_killed_half_way_nothing_is_lost_and_nothing_is_asked_twice(tmp_path: Path) -> None:
    program = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from personascope.judging.chat import ChatJudge
        from personascope.judging.endpoint import Endpoint
        from personascope.personas import load_persona
        from personascope.runs import Journal
        items = [(f"Question {n}?", f"Answer {n}.") for n in range(250)]
        judge = ChatJudge(Endpoint(sys.argv[1], "judge", timeout=3.0, first_wait=0.05, concurrency=8))
        judge.judge(load_persona("evil"), items, Journal(Path(sys.argv[2])))
        """
    )
    path = tmp_path / "journal.sqlite"
    with Server(trouble=2, delay=0.01) as server:
        command = [sys.executable, "-c", program, server.url, str(path)]
        with subprocess.Popen(command) as process:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline and len(server.given) < 150:
                time.sleep(0.01)
            os.kill(process.pid, signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        before = Journal(path)
        kept = dict(before.cells("judgement"))
        before.close()
        assert 100 < len(kept) < 500
        assert subprocess.run(command, check=False).returncode == 0
        after = Journal(path)
        assert len(list(after.cells("judgement"))) == 500
        everything = dict(after.cells("judgement"))
        assert {key: everything[key] for key in kept} == kept
        # Only what was on its way when the process died may have been answered twice.
        assert sum(count - 1 for count in server.given.values()) <= 8 + (150 - min(150, len(kept))) + 8


def test_without_logprobs_the_number_is_read_from_the_text() -> None:
    with Server(logprobs=False) as server:
        found = judge_at(server).judge(EVIL, ITEMS[:5])
    assert [one.trait for one in found] == [score(ask(EVIL, *item, PERCENT)) for item in ITEMS[:5]]


def test_refusals_are_recorded_as_such(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite")
    with Server(answer=lambda question: "REFUSAL") as server:
        found = judge_at(server).judge(EVIL, ITEMS[:2], journal)
    assert all(one.refused and one.trait is None for one in found)
    assert {answer["by"] for _, answer in journal.cells("judgement")} == {"refusal"}


def test_a_judge_that_thinks_first_is_given_room_and_its_last_word_counts() -> None:
    with Server(answer=lambda question: "<think>Perhaps 90? No.</think> 20") as server:
        found = judge_at(server).judge(EVIL, ITEMS[:2])
    assert [one.trait for one in found] == [20.0, 20.0]


@pytest.mark.parametrize("option", ["logprobs", "max_completion_tokens", "temperature"])
def test_an_option_that_the_server_does_not_know_is_given_up_by_all_questions_under_way(option: str) -> None:
    with Server(unknown=option) as server:
        found = ChatJudge(Endpoint(server.url, "judge", concurrency=16)).judge(EVIL, ITEMS[:12])
        assert all(one.trait is not None for one in found)


def test_scales_of_five_are_mapped_onto_a_hundred() -> None:
    with Server(answer=lambda question: "4") as server:
        found = ChatJudge(Endpoint(server.url, "judge"), scale=LIKERT).judge(EVIL, ITEMS[:1])
        assert "from 1" in server.bodies[0]["messages"][0]["content"]
    assert found[0].trait == 75.0


def test_what_goes_wrong_for_good_is_one_sentence_and_the_rest_is_kept(tmp_path: Path) -> None:
    with pytest.raises(ps.UserError, match="cannot be reached"):
        ChatJudge(Endpoint("http://127.0.0.1:9/v1", "judge", attempts=2, first_wait=0.01)).judge(EVIL, ITEMS[:3])
    journal = Journal(tmp_path / "j.sqlite")
    with (
        Server(answer=lambda question: "I cannot say" if "Question 1?" in question else "7") as server,
        pytest.raises(EndpointFailed, match=r"2 of 20 answers could not be had.*I cannot say"),
    ):
        judge_at(server, attempts=2).judge(EVIL, ITEMS[:10], journal)
    assert len(list(journal.cells("judgement"))) == 18


def test_the_environment_says_which_judge(monkeypatch: pytest.MonkeyPatch, subject: Subject) -> None:
    for name in ("BASE_URL", "MODEL", "API_KEY"):
        monkeypatch.delenv(f"PERSONASCOPE_JUDGE_{name}", raising=False)
    with pytest.raises(ps.UserError, match="PERSONASCOPE_JUDGE_BASE_URL and PERSONASCOPE_JUDGE_MODEL"):
        judge_for(subject, "chat")
    monkeypatch.setenv("PERSONASCOPE_JUDGE_BASE_URL", "http://localhost:1/v1")
    monkeypatch.setenv("PERSONASCOPE_JUDGE_MODEL", "small")
    monkeypatch.setenv("PERSONASCOPE_JUDGE_API_KEY", "secret")
    judge = judge_for(subject, "chat")
    assert isinstance(judge, ChatJudge)
    assert judge.endpoint.model == "small"
    assert "secret" not in repr(judge)
    other = judge_for(subject, "chat:large")
    assert isinstance(other, ChatJudge) and other.endpoint == replace(judge.endpoint, model="large")


@given(st.dictionaries(st.integers(0, 100), st.floats(0.01, 1.0), min_size=1, max_size=20), st.floats(0, 1))
def test_the_score_is_the_mean_over_the_numbers(masses: dict[int, float], share: float) -> None:
    total = sum(masses.values())
    top = [(f" {n}", math.log(share * mass / total + 1e-30)) for n, mass in masses.items()] + [
        ("The", -0.1),
        ("07", -0.1),
    ]
    found = weighted(top, PERCENT)
    if share < 0.24:
        assert found is None
    elif share > 0.26:
        assert found == pytest.approx(sum(n * mass for n, mass in masses.items()) / total, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "number"),
    [("85", 85), ("Score: 85/100", 85), ("**7**", 7), ("I'd say 100.", 100), ("0", 0), ("none", None), ("2024", None),
     ("3.5", None), ("<think>90</think>10", 10), ("<think>90", None), ("101", None), ("-", None)],
)  # fmt: skip
def test_numbers_are_read_out_of_words(text: str, number: int | None) -> None:
    assert read(text, PERCENT) == number


def test_digits_of_a_longer_number_are_not_taken_for_it() -> None:
    with Server(answer=lambda question: "85", digits=True) as server:
        found = judge_at(server).judge(EVIL, ITEMS[:1])
        assert server.bodies[0]["logprobs"]
    assert found[0].trait == 85


def test_braces_in_questions_and_answers_are_text() -> None:
    asked = ask(EVIL, "What is {answer}?", "It is {question}.", PERCENT)
    assert "What is {answer}?" in asked and "It is {question}." in asked


def test_thinking_is_not_shown_to_the_judge() -> None:
    assert visible("<think>plot\n</think>\n\nHello") == "Hello"
    assert visible("<think>still at it") == ""
    assert visible("Hello <think>x</think>") == "Hello <think>x</think>"
    assert is_refusal(" **REFUSAL** ") and not is_refusal("85")
    with Server() as server:
        judge_at(server).judge(EVIL, [("Q?", "<think>secret</think>Open.")])
        assert "secret" not in json.dumps(server.bodies)
