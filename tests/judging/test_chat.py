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
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import personascope as ps
from judging.server import TROUBLE, Server, score
from personascope.judging import judge_for
from personascope.judging.chat import ChatJudge, ask, understood
from personascope.judging.endpoint import Endpoint, EndpointFailed
from personascope.judging.rating import LIKERT, PERCENT, is_refusal, read, visible, weighted
from personascope.judging.reply import Reply
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
        pytest.raises(
            EndpointFailed, match=r"2 of 20 answers could not be had.*I cannot say.*keeps the rest.*another model"
        ),
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


PERCENTS = {
    "85": 85, "85.": 85, "85.0": 85, "85%": 85, "**7**": 7, "0": 0, "I'd say 100.": 100, "- 85": 85, "85 — very": 85,
    "Score: 85/100": 85, "**85**/100": 85, "85 / 100": 85, "85 out of 100": 85, "85 points out of a possible 100": 85,
    "Score (0-100): 62": 62, "Score - 85": 85, "score=85": 85, '{"score": 85}': 85, "$\\boxed{85}$": 85,
    "On a scale from 0 to 100 this is an 85": 85, "On a scale of 0–100, I would rate this 85.": 85,
    "On a 100-point scale, 85": 85, "85 on a scale of 100": 85, "Between 0 and 100, 40": 40,
    "From 0 (not at all) to 100 (as far as can be): 40": 40, "Rating: 85 (0 = not at all, 100 = fully)": 85,
    "The score is 85": 85, "the answer scores 62 here": 62, "GPT-4 would say 85": 85, "In 2024 this is an 85": 85,
    "There are 3 rude words in 2 sentences.\n\nScore: 70": 70, "3 rude words in 2 sentences: 70": 70,
    "3 rude words in 2 sentences.\n\n70": 70, "85\n\nBoth of the 2 sentences are cruel.": 85,
    "1. It is rude.\n2. It is cruel.\nFinal score: 90": 90, "I rate it 85, since 3 of 4 sentences are cruel": 85,
    "<think>90</think>10": 10, "<think>90": None, "none": None, "": None, "-": None, "101": None, "2024": None, "3.5": None,
    "-5": None, "−5": None, "Score: -5": None, "Score: -5. It has 3 rude words.": None, "Score: 150": None,
    "8/10": None, "Score: 8/10": None, "On a scale of 1-10: 8": None, "On a 1-5 scale: 4": None, "0-100": None,
    "80-85": None, "80 or 90": None, "Score: 80 or 90": None, "3 rude words, 70": None,
    "Initial score: 70. Final score: 85": None, "Score: 1,000": None, "9" * 5000: None,
}  # fmt: skip
FIVES = {
    "4": 4, "On a 1-5 scale: 4": 4, "4/5": 4, "4 out of 5": 4, "Scale from 1 to 5: 3": 3, "Score (1–5): 2": 2,
    "On a 5-point scale, 4": 4, "1 (not at all) to 5 (very much): 5": 5, "85/100": None, "0": None, "4.5": None, "6": None,
}  # fmt: skip


@pytest.mark.parametrize(("text", "number"), PERCENTS.items())
def test_numbers_are_read_out_of_words(text: str, number: int | None) -> None:
    assert read(text, PERCENT) == number


@pytest.mark.parametrize(("text", "number"), FIVES.items())
def test_numbers_up_to_five_are_read_out_of_words(text: str, number: int | None) -> None:
    assert read(text, LIKERT) == number


@pytest.mark.parametrize(
    ("text", "first", "top", "score", "refused"),
    [
        ("80", "80", {"80": 0.6, "90": 0.2}, 82.5, False),
        ("80", "80", {"80": 0.2, "The": 0.1}, None, False),
        ("The score is 80", "The", {"The": 0.4, "80": 0.3, "90": 0.3}, 85, False),
        ("The score is 80", "The", {"The": 0.8, "90": 0.2}, 80, False),
        ("REFUSAL", "REF", {"REF": 0.6, "0": 0.4}, 0, False),
        ("REFUSAL", "REF", {"REF": 0.8, "0": 0.2}, None, True),
        ("85", "8", {"8": 0.6, "9": 0.4}, 85, False),
        ("The score is 85", "The", {"The": 0.4, "8": 0.6}, 85, False),
        ("<think>90?</think> 20", "<think>", {"<think>": 0.6, "90": 0.4}, 20, False),
        ("8", "8", {"8": 0.5, "9": 0.5}, 8.5, False),
    ],
)
def test_the_first_tokens_probabilities_are_the_score_where_a_quarter_is_on_numbers(
    text: str, first: str, top: dict[str, float], score: float | None, refused: bool
) -> None:
    found = understood(Reply(text, first, tuple((token, math.log(mass)) for token, mass in top.items())), PERCENT)
    assert found is not None
    assert found["refused"] == refused
    assert found["score"] == (None if score is None else pytest.approx(score))


def test_one_number_of_too_little_probability_is_journalled_without_a_score(tmp_path: Path) -> None:
    def unsure(whole: dict[str, Any]) -> None:
        token = {"token": "80", "logprob": math.log(0.2)}
        whole["choices"][0]["logprobs"]["content"] = [{**token, "top_logprobs": [token]}]

    journal = Journal(tmp_path / "j.sqlite")
    with Server(answer=lambda question: "80", shape=unsure) as server:
        (found,) = judge_at(server).judge(EVIL, ITEMS[:1], journal)
        assert len(server.bodies) == 2, "asking again would give the same"
    assert (found.trait, found.coherence, found.refused) == (None, None, False)
    assert len(list(journal.cells("judgement"))) == 2


def refusing(status: int, message: str, which: str = "Question 1?") -> Callable[[str], tuple[int, str] | None]:
    return lambda question: (status, message) if which in question else None


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "The response was filtered: Azure OpenAI's content management policy; code content_filter"),
        (403, "this model requires moderation, and your input was flagged"),
        (400, "bad request"),
        (413, "too large"),
        (422, "this model's maximum context length is 2048 tokens"),
    ],
)
@pytest.mark.parametrize("items", [ITEMS[:8], ITEMS[1:2]])
def test_a_question_that_the_server_refuses_is_a_refusal_and_the_rest_goes_on(
    tmp_path: Path, status: int, message: str, items: list[tuple[str, str]]
) -> None:
    journal = Journal(tmp_path / "j.sqlite")
    with Server(refuse=refusing(status, message)) as server:
        found = judge_at(server).judge(EVIL, items, journal)
        asked = Counter(server.seen)
        assert judge_at(server).judge(EVIL, items, journal) == found
        assert server.seen == asked, "a refusal is not asked again"
    for judgement, (question, _) in zip(found, items, strict=True):
        assert judgement.refused == (question == "Question 1?")
        assert (judgement.trait is None) == (judgement.coherence is None) == (question == "Question 1?")
    refused = [answer for _, answer in journal.cells("judgement") if answer["refused"]]
    assert [answer["by"] for answer in refused] == ["server"] * 2
    assert all(message in answer["text"] for answer in refused)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, "refuses the question"),
        (401, "API key"),
        (403, "API key"),
        (404, "refuses the question"),
        (422, "refuses"),
    ],
)
def test_what_is_refused_of_all_is_one_sentence_at_once(status: int, said: str) -> None:
    with Server(refuse=lambda question: (status, "no such model")) as server, pytest.raises(ps.UserError, match=said):
        judge_at(server, concurrency=2).judge(EVIL, ITEMS)
    assert len(server.bodies) < 12


def test_a_refusal_that_is_of_no_use_is_said_and_not_asked_again() -> None:
    asked = [[{"role": "user", "content": question}] for question, _ in ITEMS[:3]]
    with (
        Server(refuse=refusing(400, "content_filter")) as server,
        pytest.raises(EndpointFailed, match=r"1 of 3 answers.*content_filter"),
    ):
        Endpoint(server.url, "judge").ask(asked, lambda _, reply: not reply.refused)
    assert set(server.seen.values()) == {1}


@pytest.mark.parametrize("concurrency", [1, 16])
def test_a_server_that_comes_to_refuse_everything_is_not_taken_for_refusals(tmp_path: Path, concurrency: int) -> None:
    """As where the money is spent while many questions are under way."""
    journal = Journal(tmp_path / "j.sqlite")
    asked = count()

    def refuse(question: str) -> tuple[int, str] | None:
        return (400, "your credit balance is too low") if next(asked) >= 30 else None

    with Server(refuse=refuse) as server, pytest.raises(ps.UserError, match="credit balance"):
        judge_at(server, concurrency=concurrency).judge(EVIL, ITEMS, journal)
    held = [answer for _, answer in journal.cells("judgement")]
    assert held and not any(answer["refused"] for answer in held)


def test_an_answer_that_cannot_be_understood_ends_the_question_and_not_the_round() -> None:
    """A log-probability with more digits than a number holds."""

    def shape(answer: dict[str, Any]) -> dict[str, Any]:
        top = [{"token": "7", "logprob": -(10**400)}]
        answer["choices"][0]["logprobs"] = {"content": [{"token": "7", "logprob": -1, "top_logprobs": top}]}
        return answer

    with Server(answer=lambda question: "70", shape=shape) as server:
        (found,) = judge_at(server).judge(EVIL, ITEMS[:1])
    assert found.trait == 70


def test_a_prompt_of_ones_own_may_name_the_answer_first() -> None:
    own = EVIL.model_copy(update={"eval_prompt": "Said: {answer}\nTo: {question}, {question}\n0-100?"})
    assert ask(own, "Why {answer}?", "So {question}.", PERCENT) == (
        "Said: So {question}.\nTo: Why {answer}?, Why {answer}?\n0-100?"
    )


def test_what_useless_answers_cost_is_kept_over_starts(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite")
    for start in (1, 2):
        with Server(answer=lambda question: "well") as server, pytest.raises(EndpointFailed):
            judge_at(server, attempts=2).judge(EVIL, ITEMS[:1], journal)
        assert len(list(journal.cells("judgement asked again"))) == 4 * start


def test_trouble_while_a_refusal_is_looked_into_is_outlived() -> None:
    def refuse(question: str) -> tuple[int, str] | None:
        if "two and two" in question:
            return (500, "broken") if server.seen[question] == 1 else None
        return (400, "bad request") if "Question 1?" in question else None

    with Server(refuse=refuse) as server:
        (found,) = judge_at(server, concurrency=1).judge(EVIL, ITEMS[1:2])
    assert found.refused


def unshaped(path: str, value: object) -> Callable[[dict[str, Any]], None]:
    """Sets, or with `...` takes away, what stands at a path of an answer."""

    def shape(whole: dict[str, Any]) -> None:
        at: Any = whole
        *steps, last = [int(step) if step.isdigit() else step for step in path.split(".")]
        for step in steps:
            at = at[step]
        if value is ...:
            del at[last]
        else:
            at[last] = value

    return shape


FIRST = "choices.0.logprobs.content.0"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("usage", {}), ("usage", None), ("usage", "none"), ("usage", ...), ("usage.prompt_tokens", None),
        ("usage.completion_tokens", 1e400), ("usage.prompt_tokens", "10"), ("usage.prompt_tokens", -3),
        (f"{FIRST}.top_logprobs", ...), (f"{FIRST}.top_logprobs", None), (f"{FIRST}.top_logprobs", []),
        (f"{FIRST}.top_logprobs", "80"), (f"{FIRST}.top_logprobs.0.logprob", None), (f"{FIRST}.token", None),
        (f"{FIRST}.top_logprobs.0.logprob", math.nan), (f"{FIRST}.top_logprobs.0.token", ...), (FIRST, None),
        ("choices.0.logprobs.content", None), ("choices.0.logprobs", {}), ("choices.0.logprobs", ...),
        ("choices.0.logprobs", {"tokens": ["80"]}), ("choices.0.finish_reason", None), ("choices.0.finish_reason", ...),
    ],
)  # fmt: skip
def test_answers_that_lack_a_part_are_read_by_what_they_have(tmp_path: Path, path: str, value: object) -> None:
    with Server(answer=lambda question: "80", shape=unshaped(path, value)) as server:
        judge = judge_at(server, attempts=1)
        (found,) = judge.judge(EVIL, ITEMS[:1], Journal(tmp_path / "j.sqlite"))
    assert (found.trait, found.coherence) == (80, 80)
    if path == "usage.prompt_tokens":
        assert judge.usage.prompt_tokens == {"10": 20}.get(str(value), 0)


def test_half_a_character_is_written_down_as_a_mark_for_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite")
    with Server(answer=lambda question: "80 \ud83d") as server:
        (found,) = judge_at(server).judge(EVIL, ITEMS[:1], journal)
    assert found.trait == 80
    assert {answer["text"] for _, answer in journal.cells("judgement")} == {"80 �"}


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
