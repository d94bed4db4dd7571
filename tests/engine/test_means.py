"""Sums of rows that come and go, wherever they are held."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from personascope.engine.means import Means, Places
from personascope.subject import Subject

LAYERS = (1, 4)


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_rows_that_come_and_go_have_the_means_of_their_own_tokens(llama: Subject, data: st.DataObject) -> None:
    means = Means(LAYERS, 2, llama)
    live: list[tuple[int, dict[tuple[int, int], list[torch.Tensor]]]] = []
    draw = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    for _ in range(data.draw(st.integers(1, 8))):
        live += [(means.open(), {}) for _ in range(data.draw(st.integers(0 if live else 1, 20)))]
        chosen = [data.draw(st.sets(st.sampled_from(range(len(live))))) for _ in range(2)]
        if data.draw(st.booleans()):
            chosen[0] = set(range(len(live)))
        means.places = [Places.of([(live[row][0], [row], [False]) for row in sorted(rows)]) for rows in chosen]
        for layer in means.layers:
            stream = torch.randn(len(live), 1, llama.hidden_size, generator=draw)
            means.read(layer, stream.to(llama.input_device))
            for selection, rows in enumerate(chosen):
                for row in rows:
                    live[row][1].setdefault((layer, selection), []).append(stream[row, 0])
        gone = data.draw(st.sets(st.sampled_from(range(len(live)))))
        for found, (_, seen) in zip(
            means.take([live[row][0] for row in gone]), (live[row] for row in gone), strict=True
        ):
            for index, layer in enumerate(LAYERS):
                for selection in range(2):
                    told = seen.get((layer, selection))
                    if told is None:
                        assert found[index, selection].isnan().all()
                    else:
                        expected = torch.stack(told).mean(0)
                        assert torch.allclose(found[index, selection], expected, atol=1e-5)
        live = [one for row, one in enumerate(live) if row not in gone]
        order = data.draw(st.permutations(range(len(live))))
        settled = means.settle([live[row][0] for row in order])
        live = [(slot, live[row][1]) for slot, row in zip(settled, order, strict=True)]
        assert len({slot for slot, _ in live}) == len(live)


def test_sums_lie_in_the_order_of_the_rows_once_others_have_left(llama: Subject) -> None:
    means = Means(LAYERS, 1, llama)
    slots = [means.open() for _ in range(6)]
    assert slots == list(range(6))
    means.take([1, 2])
    assert means.settle([0, 5, 4, 3]) == [0, 1, 2, 3]
    assert Places.of([(slot, [slot], [False]) for slot in range(4)]).is_whole, "nothing is looked up any more"
    assert [means.open() for _ in range(2)] == [4, 5]


@given(st.integers(1, 40), st.sampled_from([torch.float32, torch.bfloat16]), st.booleans())
@settings(max_examples=30, deadline=None)
def test_rows_that_lie_in_order_are_added_as_others_are(
    llama: Subject, rows: int, dtype: torch.dtype, may_sink: bool
) -> None:
    means, other = Means(LAYERS, 1, llama), Means(LAYERS, 1, llama)
    slots = [means.open() for _ in range(rows)]
    assert [other.open() for _ in range(rows)] == slots
    entries = [(slot, [slot], [may_sink]) for slot in slots]
    means.places, other.places = [Places.of(entries)], [Places.of(entries[::-1])]
    assert means.places[0].is_whole and other.places[0].is_whole is (rows == 1)
    # One token of many times the median norm, which is left out only where it may be a sink.
    stream = torch.randn(rows, 1, llama.hidden_size, generator=torch.Generator().manual_seed(rows))
    stream[0] *= 1e6
    for _ in range(3):
        for layer in LAYERS:
            means.read(layer, stream.to(llama.input_device, dtype))
            other.read(layer, stream.to(llama.input_device, dtype))
    ours, theirs = torch.stack(means.take(slots)), torch.stack(other.take(slots))
    assert torch.equal(ours.isnan(), theirs.isnan()) and bool(ours[0].isnan().all()) is may_sink
    assert torch.allclose(ours.nan_to_num(), theirs.nan_to_num(), rtol=1e-5)
