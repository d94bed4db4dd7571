"""`personascope features decompose`: a direction as a sum of features."""

from pathlib import Path
from typing import Annotated

import typer

from personascope.cli.doubts import say_doubts
from personascope.cli.saes import (
    LayerOption,
    SaeOption,
    ScaleOption,
    ThresholdOption,
    TrainerOption,
    check_sparsity,
    lenses_of,
    sae_for,
    save_alone,
)
from personascope.cli.signs import printable
from personascope.cli.terminal import (
    DeviceOption,
    DtypeOption,
    JsonOption,
    ModelArgument,
    SeedOption,
    emit,
    quiet_libraries,
    table,
)
from personascope.directions.doors import load_directions
from personascope.engine import load
from personascope.errors import UserError
from personascope.features.decompose import Decomposition, decompose
from personascope.features.sae import sae_layer
from personascope.runs import write_json


def decompose_command(
    model: ModelArgument,
    directions: Annotated[
        list[Path], typer.Option("--directions", help="files or folders of directions; may be given again")
    ],
    name: Annotated[list[str] | None, typer.Option("--name", help="only these; all by default")] = None,
    sae: SaeOption = None,
    layer: LayerOption = None,
    trainer: TrainerOption = None,
    threshold: ThresholdOption = None,
    scale: ScaleOption = None,
    terms: Annotated[int, typer.Option("--terms", help="features in the sum")] = 10,
    out: Annotated[Path | None, typer.Option("--out", help="JSON file to write the sums to")] = None,
    remainders: Annotated[
        Path | None, typer.Option("--remainders", help="folder for what remains of each, as directions to steer with")
    ] = None,
    seed: SeedOption = 0,
    device: DeviceOption = None,
    dtype: DtypeOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Take directions apart into signed, sparse sums of features' decoder columns."""
    quiet_libraries()
    held = {one.name: one for one in load_directions(directions)}
    unknown = sorted(set(name or ()) - set(held))
    if unknown:
        raise UserError(f"there is no direction {unknown[0]!r}; there are {', '.join(held)}")
    say_doubts(held[one] for one in name or held)
    subject = load(model, device=device, dtype=dtype)
    chosen = sae_for(subject, sae, layer, trainer, threshold, scale)
    check_sparsity(chosen, subject)
    at = sae_layer(chosen, subject)
    lacking = [one for one in name or held if at not in held[one].layers]
    if lacking:
        raise UserError(
            f"{lacking[0]!r} has no direction at layer {at}, which the SAE reads; extract it with --layers {at}"
        )
    found = [decompose(held[one][at], chosen, terms, seed) for one in name or held]
    result = {"sae": chosen.name, "layer": at, "directions": [one.describe() for one in found]}
    if out is not None:
        write_json(out, result)
    if remainders is not None:
        save_alone([one.remainder for one in found], remainders)
    if as_json:
        emit(result)
        return
    for one in found:
        lenses = lenses_of(chosen, subject, [term.feature for term in one.terms])
        _print(one, {feature: [token for token, _ in lens.promoted[:5]] for feature, lens in lenses.items()})


def _print(found: Decomposition, promoted: dict[int, list[str]]) -> None:
    rows = [
        [
            str(term.feature),
            f"{term.coefficient:+.2f}",
            f"{term.cosine:+.2f}",
            f"{term.explained:.0%}",
            f"{rival:.0%}",
            printable(" ".join(token.strip() or "␣" for token in promoted[term.feature])),
        ]
        for term, rival in zip(found.terms, found.random_explained, strict=True)
    ]
    columns = ["feature", "coefficient", "cosine", "explained", "of a random one", "promotes"]
    table(f"{found.direction.key}, length {found.direction.norm:.2f}", columns, rows, words=["promotes"])
    left = found.remainder.norm / found.direction.norm
    print(f"What remains has length {found.remainder.norm:.2f}, {left:.0%} of the direction's.")
