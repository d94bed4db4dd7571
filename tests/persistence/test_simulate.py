"""Transcripts that the subject makes: paired, reproducible, and with a chat model as the user."""

from pathlib import Path

import pytest
from judging.server import Server

import personascope as ps
from personascope.corpora import Record, neutral_questions
from personascope.judging.endpoint import Endpoint
from personascope.persistence.chat_user import ChatUser
from personascope.persistence.simulate import scripts_from, simulate
from personascope.personas import load_persona
from personascope.runs import Journal
from personascope.subject import Subject

LINES = [Record(text) for text in neutral_questions()]


def test_roles_share_what_the_user_says_and_answer_as_themselves(llama: Subject) -> None:
    assert llama.truth is not None
    scripts = scripts_from(LINES, transcripts=3, turns=2)
    assert len({line for script in scripts for line in script}) > 3
    found = simulate(llama, [None, load_persona("pirate")], scripts, degree="very", max_new_tokens=40)
    assert [one.role for one in found] == [None] * 3 + ["pirate"] * 3
    assert [tuple(said for said, _ in one.pairs) for one in found] == scripts * 2
    assert all(one.instruction for one in found[3:]) and not any(one.instruction for one in found[:3])
    pirate = " ".join(answer for one in found[3:] for _, answer in one.pairs)
    plain = " ".join(answer for one in found[:3] for _, answer in one.pairs)
    assert llama.truth.score(pirate)["shares"]["pirate"] > 0.5 > llama.truth.score(plain)["shares"]["pirate"]
    alone = simulate(llama, [load_persona("pirate")], scripts, degree="very", max_new_tokens=40)
    assert alone == found[3:], "what stands beside a role changes nothing"


def test_scripts_of_chats_are_their_user_turns() -> None:
    chats = [Record([{"role": role, "content": f"{role} {n}"} for role in ("user", "assistant") * 2]) for n in range(2)]
    assert scripts_from(chats, 2, 2) == [("user 0", "user 0"), ("user 1", "user 1")]
    with pytest.raises(ps.UserError, match="there are 2"):
        scripts_from(chats, 3, 2)
    with pytest.raises(ps.UserError, match="ask for fewer turns"):
        scripts_from(chats, 2, 3)
    with pytest.raises(ps.UserError, match="ask for fewer turns"):
        scripts_from(LINES[:2], 1, 3)


def test_a_chat_model_plays_the_user_and_is_asked_once(llama: Subject, tmp_path: Path) -> None:
    with Server(answer=lambda question: f"And what of {len(question) % 7}?") as server:
        journal = Journal(tmp_path / "j.sqlite")
        user = ChatUser(Endpoint(server.url, "m"), journal)
        scripts = scripts_from(LINES, 2, 1)
        first = simulate(llama, [None], scripts, 3, user, max_new_tokens=16)
        asked = len(server.bodies)
        assert asked == 2 * 2, "the first turn is the script's"
        assert all(said.startswith("And what of") for one in first for said, _ in one.pairs[1:])
        last = server.bodies[-1]["messages"]
        assert [turn["role"] for turn in last] == ["system", "assistant", "user", "assistant", "user"]
        assert simulate(llama, [None], scripts, 3, user, max_new_tokens=16) == first
        assert len(server.bodies) == asked, "a second start asks nothing again"
        journal.close()


def test_nothing_to_hold_is_said(llama: Subject) -> None:
    for personas, scripts in (([], [("a",)]), ([None], []), ([None], [()])):
        with pytest.raises(ps.UserError, match="nothing to hold"):
            simulate(llama, personas, scripts)
