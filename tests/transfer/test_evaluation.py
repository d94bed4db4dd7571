"""What a response is scored by does not depend on how it was asked for."""

from dataclasses import replace
from pathlib import Path

import pytest

from personascope.engine.generate import generate
from personascope.judging import LexiconJudge
from personascope.personas import load_persona
from personascope.runs import Journal
from personascope.subject import Subject
from personascope.transfer.config import TransferConfig
from personascope.transfer.evaluation import evaluate, is_judged
from personascope.transfer.grid import Row, requests_of
from personascope.transfer.maps import Setting

AT = Setting(1, 2, 50)
QUESTION = "What is a good question?"


def test_the_same_text_is_as_likely_with_a_system_prompt(gemma2: Subject, tmp_path: Path) -> None:
    personas = {"pirate": load_persona("pirate")}
    rows = [
        Row(None, "baseline", 0.0, "test", QUESTION, 0, AT),
        Row("pirate", "system_prompt", 0.0, "test", QUESTION, 0, AT),
    ]
    config = TransferConfig(source_model="a", target_model="b", output_dir=tmp_path, personas={"pirate": None})
    requests = requests_of(gemma2, rows, [], personas, config)
    assert requests[0].prompt.ids != requests[1].prompt.ids
    written = generate(gemma2, [QUESTION], max_new_tokens=12, seed=1)[0]
    found = evaluate(
        gemma2, rows, requests, [written, written], personas, None, 1.0, Journal(tmp_path / "journal.sqlite")
    )
    assert found[0].perplexity is not None
    assert found[0].perplexity == pytest.approx(found[1].perplexity, rel=1e-5)


def test_a_broken_response_shows_nothing(gemma2: Subject, tmp_path: Path) -> None:
    assert gemma2.truth is not None
    rows = [Row(None, "baseline", 0.0, "test", QUESTION, sample, AT) for sample in (0, 1)]
    personas = {"pirate": load_persona("pirate")}
    config = TransferConfig(source_model="a", target_model="b", output_dir=tmp_path, personas={"pirate": None})
    whole = generate(gemma2, [QUESTION], max_new_tokens=80, seed=1)[0]
    broken = replace(whole, response_ids=[], text="", error="not finite")
    found = evaluate(
        gemma2,
        rows,
        requests_of(gemma2, rows, [], personas, config),
        [whole, broken],
        personas,
        LexiconJudge(gemma2.truth),
        1.0,
        Journal(tmp_path / "journal.sqlite"),
    )
    assert found[0].coherence is not None and found[0].coherence > 0
    assert (found[1].trait, found[1].coherence) == (0.0, 0.0)


def test_every_response_that_chooses_a_dose_is_judged() -> None:
    for seed in range(0, 20_000, 777):
        assert is_judged(Row("evil", "oracle", 1.0, "development", QUESTION, 0, AT), seed, 0.0001)
        assert is_judged(Row("evil", "oracle", 1.0, "test", QUESTION, 0, AT), seed, 0.5) == (seed % 10_000 < 5_000)
