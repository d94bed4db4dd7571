"""The best doses are measured again before one is chosen."""

import numpy as np

from personascope.extraction.steering import Dose, best_dose, finalist_count, finalists, pooled


def dose(layer: int, alpha: float, traits: list[float], coherence: float = 90.0) -> Dose:
    questions = tuple(f"q{place}" for place in range(len(traits)))
    coherences = tuple(coherence for _ in traits)
    return Dose("evil", layer, alpha, tuple(traits), coherences, questions, questions, len(traits))


def test_the_best_of_a_wide_grid_are_measured_again_coherent_ones_first() -> None:
    grid = [dose(0, 0.0, [0.0] * 4), *(dose(layer, 1.0, [float(layer)] * 4) for layer in range(30))]
    grid.append(dose(31, 1.0, [99.0] * 4, coherence=20.0))
    assert [one.layer for one in finalists(grid)] == [29, 28, 27, 26]
    assert finalists(grid[:8]) == [] and finalist_count(11) == 0 and finalist_count(12) == 2


def test_two_measurements_are_one_of_all_their_answers() -> None:
    both = pooled(dose(1, 1.0, [10.0, 20.0]), dose(1, 1.0, [60.0, 90.0]))
    assert both.trait == 45.0 and both.tried == 4 and len(both.questions) == len(both.coherences) == 4


def test_measuring_again_chooses_better_than_the_lead_of_one_measurement() -> None:
    draw = np.random.default_rng(0)
    once, settled = [], []
    for _ in range(300):
        truths = draw.uniform(40, 80, size=24)

        def measured(place: int, count: int, truths: np.ndarray = truths) -> Dose:
            return dose(place, 1.0, np.clip(truths[place] + draw.normal(0, 25, size=count), 0, 100).tolist())

        grid = [measured(place, 6) for place in range(24)]
        once.append(truths[best_dose(grid).layer] / truths.max())
        again = [pooled(one, measured(one.layer, 12)) for one in finalists(grid)]
        settled.append(truths[best_dose(again).layer] / truths.max())
    assert np.mean(settled) > np.mean(once) + 0.01
