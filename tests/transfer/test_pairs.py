"""Paired activations: the rows are what each model holds, and a broken run goes on where it was."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from zoo import tiny_model, tiny_subject

import personascope as ps
from personascope.engine.norms import SINK_RATIO, median_norm
from personascope.errors import NonFinite, UserError
from personascope.runs import RunFolder, Shards
from personascope.runs.folder import Config
from personascope.subject import Subject
from personascope.transfer import PairedActivations, fit_map_from, pair_activations, pairing

TEXTS = [
    "Well, I use plans.",
    "What is a good question? You use plans.",
    "☃",
    [{"role": "user", "content": "What is a good question?"}],
    "I use plans, and you use plans.",
    "A question is good.",
]


def opened(path: Path) -> RunFolder:
    return RunFolder.open(path, "transfer", Config({}), {}, 0)


def made(
    path: Path, source: Any, target: Any, texts: Any = TEXTS, layers: Any = ((1, 3), (2,)), **settings: Any
) -> Any:
    with opened(path).running() as run:
        return pair_activations(source, target, texts, *layers, run, **settings)


def test_rows_are_the_states_at_the_same_places(tmp_path: Path, llama: Subject, gemma2: Subject) -> None:
    found = made(tmp_path / "run", llama, gemma2)
    x, y, texts = found.arrays(3, 2)
    assert x.shape == (len(texts), 128) and y.shape == (len(texts), 160) and x.dtype == np.float32
    assert found.unpaired == (2,) and set(texts.tolist()) == {0, 1, 3, 4, 5} and found.texts == 6
    states = ps.activations(llama, TEXTS[:1], layers=[3], tokens="all", reduce=None)[0][:, 0].numpy()
    others = ps.activations(gemma2, TEXTS[:1], layers=[2], tokens="all", reduce=None)[0][:, 0].numpy()
    first, second = x[texts == 0], y[texts == 0]
    # Five words and stops; the other tokenizer ends on each of them, too.
    np.testing.assert_allclose(first, states[1:], atol=1e-4)
    assert len(second) == len(first) and np.allclose(second[-1], others[-1], atol=1e-4)
    again = PairedActivations.read(tmp_path / "run")
    assert all(np.array_equal(a, b) for a, b in zip(again.arrays(3, 2), (x, y, texts), strict=True))
    assert len(again) == len(found) >= len(x)


def test_pairs_feed_a_map(tmp_path: Path, llama: Subject, gemma2: Subject) -> None:
    found = made(tmp_path, llama, gemma2, positions="aligned")
    mapped = fit_map_from(found.blocks(3, 2), [1.0], folds=3, source_layer=3, target_layer=2)
    assert mapped.texts == 5 and mapped.weight.shape == (128, 160)
    assert mapped.apply(ps.Direction(torch.randn(128), 3, "evil")).key == "evil@2"


def test_last_tokens_give_one_row_a_text(tmp_path: Path, llama: Subject, gemma2: Subject) -> None:
    x, y, texts = made(tmp_path, llama, gemma2, positions="last").arrays(1, 2)
    assert texts.tolist() == [0, 1, 2, 3, 4, 5]
    for subject, rows, layer in ((llama, x, 1), (gemma2, y, 2)):
        np.testing.assert_allclose(rows, ps.activations(subject, TEXTS, layers=[layer])[:, 0].numpy(), atol=1e-4)


class Counted:
    """Opens a model, and breaks off after so many cells."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, cells: int | None = None) -> None:
        self.cells = 0
        read = pairing._states

        def states(*given: Any) -> np.ndarray:
            if self.cells == cells:
                raise KeyboardInterrupt
            self.cells += 1
            return read(*given)

        monkeypatch.setattr(pairing, "_states", states)


@pytest.mark.parametrize("cells", [1, 4, 7])
def test_a_broken_run_does_only_the_rest(
    tmp_path: Path, llama: Subject, gemma2: Subject, cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairing, "_ROWS", 3)
    whole = made(tmp_path / "whole", llama, gemma2)
    assert len(whole.parts) == 5
    with monkeypatch.context() as patch:
        first = Counted(patch, cells)
        with pytest.raises(KeyboardInterrupt):
            made(tmp_path / "broken", llama, gemma2)
    with monkeypatch.context() as patch:
        second = Counted(patch)
        mended = made(tmp_path / "broken", llama, gemma2)
    assert first.cells == cells and second.cells == 10 - cells
    for layers in ((1, 2), (3, 2)):
        assert all(np.array_equal(a, b) for a, b in zip(mended.arrays(*layers), whole.arrays(*layers), strict=True))
    with monkeypatch.context() as patch:
        third = Counted(patch)
        more = made(tmp_path / "broken", llama, gemma2, [*TEXTS, "You use plans."])
    assert third.cells == 2 and more.texts == 7
    assert np.array_equal(more.arrays(1, 2)[0][: len(whole)], mended.arrays(1, 2)[0])


def test_what_is_there_is_not_read_to_see_that_it_is(
    tmp_path: Path, llama: Subject, gemma2: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = made(tmp_path, llama, gemma2)
    monkeypatch.setattr(Shards, "_file", lambda *_: pytest.fail("arrays were read"))
    assert made(tmp_path, llama, gemma2).parts == found.parts


def test_a_text_that_is_said_again_is_the_same_text(tmp_path: Path, llama: Subject, gemma2: Subject) -> None:
    once = made(tmp_path / "a", llama, gemma2, [TEXTS[0], TEXTS[1]])
    twice = made(tmp_path / "b", llama, gemma2, [TEXTS[0], TEXTS[1], TEXTS[0]])
    assert set(twice.arrays(1, 2)[2].tolist()) == {0, 1} and len(twice) > len(once)


def test_a_lost_file_is_missed_and_made_again(tmp_path: Path, llama: Subject, gemma2: Subject) -> None:
    found = made(tmp_path, llama, gemma2)
    x = found.arrays(1, 2)[0]
    (tmp_path / found.parts[0].source).unlink()
    with pytest.raises(UserError, match="lost or damaged"):
        found.arrays(1, 2)
    assert np.array_equal(made(tmp_path, llama, gemma2).arrays(1, 2)[0], x)


def test_one_model_in_memory_at_a_time(tmp_path: Path) -> None:
    import gc
    import weakref

    alive: list[weakref.ref] = []

    def opener(name: str, seed: int) -> Any:
        def give() -> Subject:
            gc.collect()
            assert not [one for one in alive if one() is not None], "another model is still held"
            subject = tiny_subject(name, seed)
            alive.append(weakref.ref(subject.model))
            return subject

        return give

    found = made(tmp_path, opener("llama", 0), opener("gpt2", 1))
    assert len(alive) == 4 and len(found) > 50


def test_attention_sinks_are_left_out(tmp_path: Path, subject: Subject) -> None:
    found = made(tmp_path, subject, tiny_subject("gpt2"))
    x, _, _ = found.arrays(1, 2)
    limit = SINK_RATIO * median_norm(subject, 1)
    assert found.source.limits[0] == pytest.approx(limit) and len(x) == len(found)
    from dataclasses import replace

    norms = np.linalg.norm(x, axis=1)
    strict = replace(found, source=replace(found.source, limits=(float(np.median(norms)), limit)))
    assert len(strict.arrays(1, 2)[0]) == (norms <= np.median(norms)).sum()


def test_bad_input_is_refused(tmp_path: Path, llama: Subject, gemma2: Subject) -> None:
    run = tmp_path / "run"
    with pytest.raises(UserError, match=r"text 1 has .* more than its context of 4096"):
        made(run, llama, gemma2, ["fine", "plans " * 5_000])
    with pytest.raises(UserError, match="use positions='last'"):
        made(run, llama, gemma2, ["☃"])
    with pytest.raises(UserError, match="'every' is not known"):
        made(run, llama, gemma2, positions="every")
    with pytest.raises(UserError, match="at least one text"):
        made(run, llama, gemma2, "one text")
    with pytest.raises(UserError, match="empty text"):
        made(run, llama, gemma2, ["fine", ""])
    with pytest.raises(UserError, match="out of range"):
        made(run, llama, gemma2, layers=((1,), (99,)))
    with pytest.raises(UserError, match="no layer to read"):
        made(run, llama, gemma2, layers=((1,), ()))
    with pytest.raises(UserError, match="layer 5 of organism:llama was not read"):
        made(run, llama, gemma2).arrays(5, 2)
    with pytest.raises(UserError, match="not finished"):
        PairedActivations.read(tmp_path)


def test_a_broken_model_is_named_with_its_text(tmp_path: Path, subject: Subject) -> None:
    model = tiny_model("llama")
    broken = ps.load(model, tokenizer=subject.tokenizer)
    with torch.no_grad():
        model.model.layers[2].mlp.down_proj.weight[0, 0] = torch.nan
    with pytest.raises(NonFinite, match="layer 3, on 'Well"):
        made(tmp_path, subject, broken, layers=((1,), (1, 3)), texts=TEXTS[:1])


def test_another_model_in_its_place_is_noticed(tmp_path: Path, subject: Subject) -> None:
    models = iter([tiny_subject("gpt2", 0), tiny_subject("gpt2", 1)])
    with pytest.raises(UserError, match="return the same one"):
        made(tmp_path, subject, lambda: next(models))
