"""What an experiment is said to cost is what it then takes."""

import json
from pathlib import Path
from typing import Any

import pytest

from personascope.cli.main import run
from personascope.cli.transfer_estimate import judged_responses
from personascope.engine import load
from personascope.subject import Subject
from personascope.transfer.config import TransferConfig
from personascope.transfer.grid import requests_of
from personascope.transfer.models import Models
from personascope.transfer.plan import Plan

PLAIN: dict[str, Any] = {
    "source_model": "organism:llama",
    "target_model": "organism:gemma2",
    "output_dir": "x",
    "n_training_samples": 30,
    "n_test_prompts": 3,
    "n_development_prompts": 2,
    "alpha_values": [2],
    "seeds": 2,
    "max_new_tokens": 24,
    "extraction_questions": 4,
    "extraction_max_new_tokens": 30,
    "methods": ["ridge_mapped", "oracle"],
    "personas": ["evil", "pirate"],
}


def estimated(change: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    (tmp_path / "experiment.json").write_text(json.dumps({**PLAIN, **change}))
    assert run(["transfer", "run", "--config", str(tmp_path / "experiment.json"), "--estimate", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_each_model_samples_and_reads_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cost = estimated({}, tmp_path, capsys)
    source, target = cost["source"], cost["target"]
    assert (source["rollouts"], target["rollouts"]) == (cost["extraction"], cost["extraction"] + cost["generations"])
    plan = Plan.of(TransferConfig(**PLAIN), Models())
    for side, responses in ((source, 0), (target, cost["generations"] * 24)):
        subject = load(side["model"])
        lengths = [len(subject.chat.prompt(text, chat=False)) for text in plan.texts(plan.asked[0])]
        assert side["tokens_given"] == sum(lengths) + responses
    assert cost["seconds_at_most"] == pytest.approx(source["seconds_at_most"] + target["seconds_at_most"])
    without = estimated({"methods": ["oracle"]}, tmp_path, capsys)
    assert "tokens_given" not in without["source"], "no map, no texts"


def test_every_persona_is_judged_in_both_models_and_on_the_baseline(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERSONASCOPE_JUDGE_BASE_URL", "http://localhost:1/v1")
    monkeypatch.setenv("PERSONASCOPE_JUDGE_MODEL", "small")
    cost = estimated({"judge": "chat"}, tmp_path, capsys)
    conditions, responses = 1 + 2, 2 + 3 * 2
    answers = 2 * cost["extraction"] + 2 * conditions * responses
    assert cost["judging_at_most"]["calls"] == 2 * answers, "asked for the trait and for coherence"


@pytest.mark.parametrize("fraction", [1.0, 0.5, 0.01])
def test_as_many_responses_are_counted_as_are_judged(fraction: float, gemma2: Subject) -> None:
    plan = Plan.of(TransferConfig(**{**PLAIN, "judge_fraction": fraction}), Models({"organism:gemma2": gemma2}))
    rows = plan.rows()
    requests = requests_of(gemma2, rows, [], {one.name: one.persona for one in plan.asked}, plan.config)
    development = 2 * 3
    chosen = sum(
        row.part == "test" and row.persona in (None, "evil") and request.seed % 10_000 < fraction * 10_000
        for row, request in zip(rows, requests, strict=True)
    )
    assert [count for _, count in judged_responses(plan)] == [development + chosen] * 2
