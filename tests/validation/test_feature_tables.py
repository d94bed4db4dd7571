"""The page of SAE figures says which bars were reached, from the numbers alone."""

from dataclasses import replace

from personascope.features.sparsity import Sparsity
from personascope.validation.feature_tables import feature_page
from personascope.validation.features import Detected, FeatureFigures

GOOD = Detected("evil", 3, 0.96, 0.9, 0.95, 0.94, 0.6, 1, 1.0, 0.6, 0.5, 0.1, 0.8)


def page(detected: list[Detected], ranks: dict[str, int | None]) -> dict[str, str]:
    sparsity = Sparsity(tokens=1000, l0=16.0, promised=16.0, explained=0.9)
    text = feature_page([FeatureFigures("llama", sparsity, detected, 7, 0.8, ranks, 5000)], "a command")
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return {row[0]: row[-1] for row in rows if len(row) == 4}


def test_four_of_five_detected_reach_eighty_percent_and_three_do_not() -> None:
    weak = replace(GOOD, auroc=0.949)
    assert page([GOOD] * 4 + [weak], {})["some feature detects the persona"] == "yes"
    assert page([GOOD] * 3 + [weak] * 2, {})["some feature detects the persona"] == "no"


def test_every_persona_must_be_found_mined_and_steered() -> None:
    everyone = page([GOOD] * 5, {})
    for column, worse in (
        ("found on prompts under the persona", replace(GOOD, rank=None)),
        ("mined contexts come from the persona", replace(GOOD, precision=0.9)),
        ("its decoder brings its words", replace(GOOD, share=0.49)),
    ):
        assert everyone[column] == "yes"
        assert page([GOOD] * 4 + [worse], {})[column] == "no"


def test_self_talk_is_told_for_every_place() -> None:
    found = page([GOOD], {"prompt[-1]": 5, "prompt": 6, "response": None})
    reached = {key.rpartition("`")[0].rpartition("`")[2]: value for key, value in found.items() if "self-talk" in key}
    assert reached == {"prompt[-1]": "yes", "prompt": "no", "response": "no"}
