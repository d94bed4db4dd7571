"""The best contexts, examples and counts do not depend on how a corpus is cut up."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from personascope.features.bands import Bands, octave_bounds
from personascope.features.contexts import BestContexts, context_at, document_hash, token_hashes
from personascope.features.harvest import Block, Harvest
from personascope.features.tally import Tally, edges
from personascope.features.windows import Window

FEATURES = [3, 8]


def corpus(seed: int, documents: int = 12) -> tuple[list[list[Window]], list[np.ndarray]]:
    """Documents of one or two windows with activations that have ties, copies and silence in them."""
    draw = np.random.default_rng(seed)
    found, values = [], []
    for number in range(documents):
        lengths = draw.integers(1, 30, size=draw.integers(1, 3))
        offsets = np.cumsum([0, *lengths])
        found.append(
            [
                Window(f"d{number}", int(offset), (1, *draw.integers(2, 6, size=length).tolist()), 1)
                for offset, length in zip(offsets, lengths, strict=False)
            ]
        )
        values += [draw.integers(-4, 5, size=(length, len(FEATURES))).clip(0).astype(np.float32) for length in lengths]
    return found, values


def gathered(documents, values, sizes, per_document=1, top=4) -> Harvest:
    """The corpus taken in, so many documents at a time."""
    harvest = Harvest(FEATURES, top, 8, per_document, examples=2)
    start = window = 0
    for size in sizes:
        part = documents[start : start + size]
        if part:
            listed = [one for each in part for one in each]
            rows = np.concatenate(values[window : window + len(listed)])
            harvest.take(Block(listed, len(part)), rows)
            window += len(listed)
        start += size
    return harvest


def summary(harvest: Harvest):
    best = {
        f: [(one.score, one.document, one.position, one.ids, one.peak) for one in harvest.best.of(f)] for f in FEATURES
    }
    examples = {
        f: {octave: [(one.document, one.position) for one in held] for octave, held in harvest.bands.of(f).items()}
        for f in FEATURES
    }
    sample = [(one.document, one.position, one.ids, one.strongest.tolist()) for one in harvest.sample.windows]
    return best, examples, sample, harvest.tally.tokens, harvest.tally.histogram.tolist(), harvest.documents


@given(st.integers(0, 10_000), st.lists(st.integers(1, 5), min_size=12, max_size=12), st.integers(1, 3))
def test_how_the_corpus_is_cut_into_blocks_changes_nothing(seed, sizes, per_document):
    documents, values = corpus(seed)
    whole = gathered(documents, values, [len(documents)], per_document)
    assert summary(gathered(documents, values, sizes, per_document)) == summary(whole)


@given(st.integers(0, 10_000))
def test_the_best_are_those_of_a_search_over_every_token(seed):
    documents, values = corpus(seed)
    found = gathered(documents, values, [3, 1, 8])
    windows = [one for each in documents for one in each]
    for column, feature in enumerate(FEATURES):
        of_document = {}
        for window, rows in zip(windows, values, strict=True):
            hashes = token_hashes(document_hash(window.document), window.offset + np.arange(len(window)))
            for place in np.flatnonzero(rows[:, column] > 0):
                one = context_at(feature, window, rows[:, column], int(place), int(hashes[place]), 8)
                known = of_document.get(one.document)
                if known is None or one.rank < known.rank:
                    of_document[one.document] = one
        of_copy = {}
        for one in sorted(of_document.values(), key=lambda each: each.rank):
            of_copy.setdefault(one.copy, one)
        expected = [(one.document, one.position, one.score) for one in list(of_copy.values())[:4]]
        assert [(one.document, one.position, one.score) for one in found.best.of(feature)] == expected


def test_a_short_list_that_copies_fill_gives_way_to_all_tokens():
    draw = np.random.default_rng(0)
    # One document's thousand firing tokens outrank the others', and count once.
    long = Window("long", 0, (1, *draw.integers(2, 9, size=1000).tolist()), 1)
    others = [Window(f"d{i}", 0, (1, *draw.integers(2, 900, size=9).tolist()), 1) for i in range(6)]
    values = np.zeros((1000 + 9 * 6, len(FEATURES)), np.float32)
    values[:1000] = 5.0
    values[1000:] = 1.0
    harvest = Harvest(FEATURES, 4, 8, 1, 0)
    harvest.take(Block([long, *others], 7), values)
    assert [one.document == "long" for one in harvest.best.of(3)] == [True, False, False, False]


@given(st.integers(0, 1000))
def test_a_context_holds_its_peak_and_the_activations_of_its_tokens(seed):
    draw = np.random.default_rng(seed)
    length, wanted = int(draw.integers(1, 40)), int(draw.integers(1, 20))
    window = Window("d", 5, (1, *range(100, 100 + length)), 1)
    values = draw.random(length).astype(np.float32)
    place = int(draw.integers(length))
    one = context_at(7, window, values, place, 11, wanted)
    assert one.ids[one.peak] == 100 + place and one.position == 5 + place
    assert one.score == pytest.approx(float(values[place])) and one.activations[one.peak] == values[place]
    assert len(one.ids) == min(wanted, length) == len(one.activations)


def test_a_copy_with_a_higher_score_takes_the_place_of_the_lower_one():
    best = BestContexts([7], top=2, per_record=1)
    window = Window("d", 0, (1, *range(20)), 1)
    values = np.linspace(1, 2, 20).astype(np.float32)
    one = context_at(7, window, values, 10, 5, 12)
    better = replace(one, score=9.0, document="e")
    assert best.offer([one, better, one]) == [one, better]
    assert best.of(7) == [better]


def test_the_tally_is_the_histogram_of_all_activations():
    values = np.abs(np.random.default_rng(1).normal(size=(500, 2))).astype(np.float32)
    values[::3] = 0.0
    halves = Tally.of(values[:200])
    halves.add(Tally.of(values[200:]))
    assert halves.plain() == Tally.from_plain(halves.plain()).plain()
    for column in range(2):
        positive = values[:, column][values[:, column] > 0]
        assert halves.histogram[column].tolist() == np.histogram(positive, edges())[0].tolist()
        assert halves.mean[column] == pytest.approx(positive.mean()) and halves.fired[column] == len(positive)
    assert halves.rate == pytest.approx((values > 0).mean(axis=0))


def test_a_value_just_below_a_bound_is_counted_below_it():
    below = np.nextafter(np.float32(1.0), np.float32(0.0))
    counted = Tally.of(np.array([[below], [1.0]], np.float32)).histogram[0]
    assert counted.tolist() == np.histogram([below, 1.0], edges())[0].tolist() and counted.max() == 1


def test_examples_are_drawn_from_every_octave_of_activation():
    documents, values = corpus(3)
    examples = gathered(documents, values, [12]).bands.of(3)
    for octave, held in examples.items():
        low, high = octave_bounds(octave)
        assert 0 < len(held) <= 2 and all(low <= one.score < high for one in held)
    assert len(examples) == 3


def test_random_windows_tell_how_strongly_each_feature_fires_in_them(monkeypatch):
    documents, values = corpus(5)
    monkeypatch.setattr("personascope.features.harvest._SAMPLED", 5)
    sample = gathered(documents, values, [4, 8]).sample.windows
    assert len({one.document for one in sample}) == len(sample) == 5
    listed = [one for each in documents for one in each]
    windows = {(one.document, one.offset): rows for one, rows in zip(listed, values, strict=True)}
    for one in sample:
        offset = max(start for name, start in windows if name == one.document and start <= one.position)
        rows = windows[one.document, offset]
        assert any(
            np.array_equal(one.strongest, rows[start : start + len(one.ids)].max(axis=0))
            for start in range(len(rows) - len(one.ids) + 1)
        )


def test_no_examples_are_kept_where_none_are_wanted():
    assert Bands([1], examples=0).candidates(np.ones((4, 1), np.float32), np.arange(4, dtype=np.uint64)) == []


@pytest.mark.parametrize("together", [True, False])
def test_the_parts_of_a_record_count_as_one(together):
    draw = np.random.default_rng(2)
    parts = [Window(f"f.txt:3.{i}/1", 0, (1, *draw.integers(2, 900, size=9).tolist()), 1) for i in range(4)]
    other = Window("f.txt:4", 0, (1, *draw.integers(2, 900, size=9).tolist()), 1)
    values = np.repeat(np.array([2, 5, 3, 4, 1], np.float32), 9)[:, None].repeat(len(FEATURES), 1)
    harvest = Harvest(FEATURES, 4, 8, 1, 0)
    windows = [*parts, other]
    blocks = [(windows, values)] if together else [([one], values[9 * i : 9 * i + 9]) for i, one in enumerate(windows)]
    for held, rows in blocks:
        harvest.take(Block(held, len(held)), rows)
    assert [(one.document, one.score) for one in harvest.best.of(3)] == [("f.txt:3.1/1", 5.0), ("f.txt:4", 1.0)]
