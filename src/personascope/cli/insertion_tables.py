"""What question insertion found, as tables."""

from collections.abc import Sequence
from typing import Any

from personascope.cli.terminal import say, table, within
from personascope.persistence.inserting import NO_ROLE, Inserted

# Transcripts of a role below which resampling them says too little of others.
_ENOUGH = 5


def print_inserted(found: Inserted) -> None:
    """What each role and arm shows, and whether roles are told apart."""
    rows = []
    parts = found.describe()["parts"]
    for plain in parts:
        consistency, slope = plain.get("consistency"), plain.get("slope")
        rows.append(
            [
                plain["role"],
                plain["arm"],
                within(consistency, 2),
                f"{plain['explained'][0]:.2f}",
                f"{plain['lift']:.2f}",
                within(slope, 3),
                *("–" if plain.get(name) is None else f"{plain[name]:.3f}" for name in ("p", "p_corrected")),
            ]
        )
    table(
        "",
        ["role", "transcripts", "cosine between points", "explained", "lift", "drift per pair", "p", "corrected"],
        rows,
        words=["transcripts"],
        spare=["explained", "lift", "p"],
    )
    if found.told:
        table(
            "",
            ["transcripts", "role told by one state", "by a conversation"],
            [[arm, within(one.accuracy, 2), within(one.by_conversation, 2)] for arm, one in found.told.items()],
        )
    print(f"Centred by {found.control}. Explained: by the signature, of the centred means. 95 % over transcripts.")
    print("Corrected: p of all rows as one family (Holm).")
    ours = [one for one in parts if one["role"] != NO_ROLE]
    fewest = min(one["transcripts"] for one in ours)
    if fewest < _ENOUGH:
        say(f"note: intervals over {fewest} transcripts of a role are too narrow; hold {_ENOUGH} of each or more")
    shared = next((one for one in ours if one["units"] < one["transcripts"]), None)
    if shared:
        say(
            f"note: the {shared['transcripts']} transcripts of {shared['role']} have {shared['units']} of the control beside "
            "them; those that share one count as one"
        )


def print_doses(doses: Sequence[dict[str, Any]]) -> None:
    """What steering with the signatures scored."""
    alphas = sorted({one["alpha"] for one in doses if one["alpha"]})
    scored = {
        (one["role"], one["source"], one["alpha"]): f"{one['trait']:.0f} / {one['coherence']:.0f}" for one in doses
    }
    rows = []
    for role, source in dict.fromkeys((one["role"], one["source"]) for one in doses if one["alpha"]):
        rows.append([role, source, scored[role, "unsteered", 0.0], *(scored[role, source, alpha] for alpha in alphas)])
    columns = ["role", "steered with", "unsteered", *(f"α {alpha:g}" for alpha in alphas)]
    table("", columns, rows, words=["steered with"])
    print("Trait / coherence of fresh conversations, 0–100, all vectors of a role at the same length.")
