"""What `--steer` says, and what is said of it."""

import pytest
import torch

import personascope as ps
from personascope.cli.steer import notes, parse_steer

DOSES = [{"layer": 2, "alpha": alpha} for alpha in (0.0, 0.5, 1.0)]
CHOSEN = ps.DirectionSet("evil", (1, 2), torch.eye(2, 4), choices={"steer_layer": 2, "alpha": 0.75, "doses": DOSES})
PLAIN = ps.DirectionSet("evil:response[:4]", (1, 2), torch.eye(2, 4))
SETS = [CHOSEN, PLAIN]


@pytest.mark.parametrize("option", ["evil", "evil@2", " evil "])
def test_a_name_alone_is_what_was_chosen(option: str) -> None:
    (write,) = parse_steer([option], SETS)
    assert (write.operation, write.alpha, str(write.tokens)) == ("add", 0.75, "sampling")
    assert write.directions[0].layer == 2
    assert notes([option], [write], SETS) == ["add evil at layer 2, α = 0.75, on sampling"]


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("evil@1", "none was chosen for it at layer 1; write evil@1:1.0, say"),
        ("evil:response[:4]", r"says no dose, and none was chosen for it; write evil:response\[:4\]:1.0"),
        ("good", "there is no direction 'good'"),
        ("evil@9", "no direction at layer 9"),
        ("evil:", "cannot be read"),
        ("", "cannot be read"),
    ],
)
def test_a_name_alone_needs_a_choice(option: str, said: str) -> None:
    with pytest.raises(ps.UserError, match=said):
        parse_steer([option], SETS)


def test_doses_against_a_trait_are_doses_too() -> None:
    doses = [{"layer": 2, "alpha": alpha} for alpha in (-1.0, -2.0)]
    sets = [
        ps.DirectionSet(name, (2,), torch.eye(1, 4), choices={"doses": of}) for name, of in (("a", doses), ("b", None))
    ]
    options = ["a:-2", "a:0.5", "a:-5", "b:9"]
    said = notes(options, parse_steer(options, sets), sets)
    assert ["no dose above 2" in line for line in said] == [False, False, True, False]


@pytest.mark.parametrize(("dose", "is_far"), [("2", False), ("2.1", True), ("-40", True), ("ablate", False)])
def test_a_dose_far_beyond_those_tried_is_said(dose: str, is_far: bool) -> None:
    options = [f"evil:{dose}", f"evil:response[:4]@1:{dose}"]
    said = notes(options, parse_steer(options, SETS), SETS)
    assert [("no dose above 1 was tried" in line) for line in said] == [is_far, False]
