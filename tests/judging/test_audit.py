"""The audit of a judge: each failing that it looks for, built in and found."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest

import personascope as ps
from judging.server import Server
from personascope.cli.main import run
from personascope.judging import Judgement, LexiconJudge
from personascope.judging.anchors import Anchor, anchors_of, shipped_grammar
from personascope.judging.audit import Item, audit
from personascope.judging.chat import ChatJudge
from personascope.judging.endpoint import Endpoint
from personascope.personas import Persona, load_persona, persona_names
from personascope.runs import Journal
from personascope.subject import Subject

EVIL = load_persona("evil")
WORDS = ["we", "hold", "the", "small", "plans", "on", "quiet", "roads", "and", "keep", "them", "open", "for", "all"]
ITEMS = [
    Item(f"Question {n}?", " ".join([("cruel " if n % 2 else "kind ") + "people", *WORDS[: 4 + n % 9]]), bool(n % 2))
    for n in range(40)
]


@dataclass
class Made:
    """A judge that scores as it is told."""

    trait: Callable[[str], float | None]
    coherence: Callable[[str], float] = lambda answer: 90.0
    round: int = 0
    name: ClassVar[str] = "made"

    def anew(self) -> "Made":
        return replace(self, round=self.round + 1)

    def judge(
        self, persona: Persona, items: Sequence[tuple[str, str]], journal: Journal | None = None
    ) -> list[Judgement]:
        return [Judgement(self.trait(f"{answer}#{self.round}"), self.coherence(answer)) for _, answer in items]


def right(answer: str) -> float:
    return 90.0 if "cruel" in answer else 5.0


def fluent(answer: str) -> float:
    return 95.0 if answer.split()[1] == "people" else 20.0


def noise(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") % 101


def test_a_good_judge_passes() -> None:
    found = audit(Made(right, fluent), EVIL, ITEMS)
    assert found.repeat_difference == 0
    assert found.separation == 1
    assert found.scrambled is not None and found.scrambled > 0.9
    assert abs(found.length_bias or 0) < 0.2
    assert found.warnings == []


@pytest.mark.parametrize(
    ("judge", "said"),
    [
        (Made(lambda text: 50.0, fluent), "same trait score"),
        (Made(noise, fluent), "asked twice"),
        (Made(lambda text: noise(text.split("#")[0]), fluent), "hardly tells"),
        (Made(lambda text: float(len(text.split("#")[0])), fluent), "go with length"),
        (Made(right), "shuffling an answer's words does not lower"),
        (Made(lambda text: None if "plans" in text else right(text), fluent), "without a score"),
    ],
)
def test_each_failing_is_found(judge: Made, said: str) -> None:
    assert any(said in warning for warning in audit(judge, EVIL, ITEMS).warnings)


def test_a_kind_that_does_not_vary_does_not_dilute_the_other() -> None:
    judge = Made(lambda text: 100.0 if "cruel" in text else float(len(text.split("#")[0])), fluent)
    found = audit(judge, EVIL, ITEMS)
    assert found.length_bias == pytest.approx(1)


def test_against_the_truth(llama: Subject) -> None:
    assert llama.truth is not None
    persona = load_persona("pirate")
    lines = ["Arr, we hoist ships boldly. Ahoy, matey.", "We keep small plans today.", "Arr, we find houses slowly."]
    items = [Item(f"Q{n}?", lines[n % 3] + " We use lists." * (n % 4), n % 3 == 0) for n in range(24)]
    lexicon = LexiconJudge(llama.truth)
    perfect = audit(lexicon, persona, items, reference=lexicon)
    assert perfect.agreement == pytest.approx(1)
    assert (perfect.kept_alike, perfect.bias) == (1, 0)
    against = audit(Made(lambda text: 0.0 if "Arr" in text else 100.0), persona, items, reference=lexicon)
    assert against.agreement is not None and against.agreement < -0.5
    assert any("agrees little" in warning for warning in against.warnings)


def test_a_judge_of_anchors_is_held_to_what_is_known() -> None:
    high, low = (Anchor("Q?", f"{word} people", score) for word, score in (("cruel", 100.0), ("kind", 0.0)))
    found = audit(Made(right, fluent), EVIL, ITEMS, anchors=[high, low] * 4)
    assert (found.anchors, found.anchors_right, found.anchor_difference) == (8, 1, 7.5)
    assert (found.shown_high, found.shown_low) == (90, 5)
    wrong = audit(Made(right, fluent), EVIL, ITEMS, anchors=[replace(high, score=0.0), high, low, low])
    assert wrong.anchors_right == 0.75
    assert any("wrong side of 50 for 25% of 4" in warning for warning in wrong.warnings)
    declined = audit(Made(lambda text: None if "kind" in text else 90.0), EVIL, ITEMS, anchors=[high, low])
    assert (declined.anchors, declined.anchors_right, declined.shown_low) == (1, 1, None)
    assert audit(Made(right, fluent), EVIL, ITEMS).anchors_right is None


@pytest.mark.parametrize("name", persona_names())
def test_every_shipped_persona_has_answers_whose_score_the_truth_confirms(name: str, llama: Subject) -> None:
    assert llama.truth is not None
    found = anchors_of(name, shipped_grammar())
    judged = LexiconJudge(llama.truth).judge(load_persona(name), [(one.question, one.answer) for one in found])
    assert [(one.trait, one.coherence) for one in judged] == [(one.score, 100) for one in found]
    assert sorted(one.score for one in found) == [0] * 6 + [100] * 6
    assert found == anchors_of(name, shipped_grammar())


def test_what_nobody_planted_has_no_anchors() -> None:
    with pytest.raises(ps.UserError, match="not planted"):
        anchors_of("mine", shipped_grammar())


def test_a_chat_judge_is_really_asked_twice(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite")
    with Server() as server:
        judge = ChatJudge(Endpoint(server.url, "judge"))
        found = audit(judge, EVIL, ITEMS[:10], journal=journal)
        assert found.repeat_difference == 0, "this server answers alike"
        asked = set(server.given.values())
    assert asked == {1, 2}, "shuffled answers once, all others twice"


def test_too_few_answers_are_said() -> None:
    with pytest.raises(ps.UserError, match="at least 8"):
        audit(Made(right), EVIL, ITEMS[:5])


def test_the_command_audits_and_counts_what_it_cost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["audit", "organism:llama", "--trait", "pirate", "--questions", "5", "--max-new-tokens", "30"]
    with Server() as server:
        monkeypatch.setenv("PERSONASCOPE_JUDGE_BASE_URL", server.url)
        monkeypatch.setenv("PERSONASCOPE_JUDGE_MODEL", "judge")
        asked = [*arguments, "--judge", "chat", "--judge-prices", "1,2", "--out", str(tmp_path / "a"), "--json"]
        assert run([*asked, "--estimate"]) == 0
        expected = json.loads(capsys.readouterr().out)
        assert not server.bodies and not (tmp_path / "a").exists()
        assert run(asked) == 0
        printed = json.loads(capsys.readouterr().out)
        (found,) = printed["audits"]
        assert expected["rollouts"] == 10
        assert expected["judging_at_most"]["calls"] == 2 * (3 * 10 + 12)
        assert expected["judging_at_most"]["calls"] >= printed["judging"]["this_start"]["calls"]
        assert expected["judging_at_most"]["cost"] > 0 and printed["judging"]["this_start"]["cost"] > 0
        assert found["anchors"] == 12 and 0 <= found["anchors_right"] <= 1
        assert found["items"] == 10
        assert found["agreement"] is not None
        usage = json.loads((tmp_path / "a" / "judging.json").read_text())
        assert usage["this_start"]["calls"] == len(server.bodies) == usage["whole_run"]["calls"]
    assert run([*arguments, "--judge", "none", "--out", str(tmp_path / "b")]) == 2
    assert "no judge to audit" in capsys.readouterr().err


def test_the_lexicon_judge_is_right_about_all_that_is_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["audit", "organism:llama", "--trait", "pirate", "--questions", "5", "--max-new-tokens", "30"]
    assert run([*arguments, "--judge", "lexicon", "--out", str(tmp_path / "a")]) == 0
    (found,) = json.loads((tmp_path / "a" / "audit.json").read_text())
    assert (found["anchors_right"], found["anchor_difference"]) == (1, 0)
    printed = capsys.readouterr().out
    assert "100 / 0" in printed and "known score" in printed
