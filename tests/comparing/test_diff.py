"""Comparing two models along personas: shifts that are known because they were built in."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from zoo import tiny_subject

import personascope as ps
from personascope.cli.main import run
from personascope.comparing.diff import diff
from personascope.corpora import Record
from personascope.subject import Subject

PROMPTS = [Record(text) for text in ("What do you think of tea?", "Tell me about roads.", "How do I keep calm?")]


@pytest.fixture(scope="module")
def gpt2() -> Subject:
    return tiny_subject("gpt2")


def random_set(subject: Subject, name: str, seed: int) -> ps.DirectionSet:
    draw = torch.Generator().manual_seed(seed)
    vectors = torch.randn(subject.n_layers, subject.hidden_size, generator=draw)
    return ps.DirectionSet(name, tuple(range(subject.n_layers)), vectors, choices={"read_layer": 1})


def biased(subject: Subject, layer: int, vector: torch.Tensor) -> Subject:
    """A copy whose block `layer` adds `vector` to the stream at every token, by the bias of its last matrix."""
    model = copy.deepcopy(subject.model)
    blocks = model.transformer.h
    with torch.no_grad():
        blocks[layer].mlp.c_proj.bias += vector
    return ps.load(model, tokenizer=subject.tokenizer)


def test_a_model_does_not_differ_from_itself(gpt2: Subject) -> None:
    found = diff(gpt2, gpt2, [random_set(gpt2, "any", 0)], PROMPTS, max_new_tokens=12)
    for one in found.shifts:
        assert one.base == one.tuned
        assert one.same == (0.0, 0.0, 0.0)
        assert one.own == (0.0, 0.0, 0.0)


def test_a_shift_that_was_built_in_is_read_to_the_digit(gpt2: Subject) -> None:
    direction = random_set(gpt2, "built", 1)
    layer = direction.best_layer
    other = random_set(gpt2, "other", 2)
    tuned = biased(gpt2, layer, 0.25 * direction[layer].unit())
    found = diff(gpt2, tuned, [direction, other], PROMPTS, max_new_tokens=12)
    by_key = {(one.persona, one.layer): one for one in found.shifts}
    built = by_key["built", layer]
    assert built.tuned - built.base == pytest.approx(0.25, abs=1e-5)
    assert built.same.low == pytest.approx(0.25 / built.unit, rel=1e-4) == built.same.high
    expected = 0.25 * direction[layer].cosine(other[layer])
    sideways = by_key["other", layer]
    assert sideways.tuned - sideways.base == pytest.approx(expected, abs=1e-5)
    assert by_key["built", 0].same.estimate == pytest.approx(0, abs=1e-6), "what lies above it is untouched"
    assert [(one.persona, one.layer) for one in found.best] == [("built", layer), ("other", layer)]


def test_responses_that_are_given_are_read_and_nothing_sampled(gpt2: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("personascope.engine.stream.RowStream.step", lambda *_: pytest.fail("something is sampled"))
    given = [replace(one, response="Tea is good today.") for one in PROMPTS]
    found = diff(gpt2, gpt2, [random_set(gpt2, "any", 0)], given)
    assert all(one.own is None for one in found.shifts)


def test_names_must_differ_and_a_shift_needs_a_unit(gpt2: Subject) -> None:
    with pytest.raises(ps.UserError, match="two directions are called any@0"):
        diff(gpt2, gpt2, [random_set(gpt2, "any", 0), random_set(gpt2, "any", 1)], PROMPTS)
    with pytest.raises(ps.UserError, match="do not vary"):
        diff(gpt2, gpt2, [random_set(gpt2, "any", 0)], [Record("What?", "Y")])


@pytest.mark.parametrize(
    ("records", "sets", "said"),
    [([], 1, "no prompts"), (PROMPTS, 0, "no directions"), ([PROMPTS[0], Record("a", "b")], 1, "some do not")],
)
def test_what_cannot_be_compared_is_said(gpt2: Subject, records: list[Record], sets: int, said: str) -> None:
    with pytest.raises(ps.UserError, match=said):
        diff(gpt2, gpt2, [random_set(gpt2, "any", 0)][:sets], records)


def test_models_of_another_shape_are_refused(gpt2: Subject, llama: Subject) -> None:
    with pytest.raises(ps.UserError, match="compare a model with its own"):
        diff(llama, gpt2, [random_set(llama, "any", 0)], PROMPTS)


def test_the_command_writes_what_it_prints(llama: Subject, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random_set(llama, "any", 0).save(tmp_path / "d" / "any.safetensors")
    arguments = ["diff", "organism:llama", "organism:llama", "--directions", str(tmp_path / "d"), "--prompt", "Hello"]
    assert run([*arguments, "--max-new-tokens", "8", "--out", str(tmp_path / "run")]) == 0
    assert "+0.00 [+0.00, +0.00]" in capsys.readouterr().out
    assert (tmp_path / "run" / "diff.json").exists()
    assert run(["diff", "organism:llama", "organism:gemma2", *arguments[3:], "--out", str(tmp_path / "x")]) == 2
    assert "compare a model with its own fine-tune" in capsys.readouterr().err
