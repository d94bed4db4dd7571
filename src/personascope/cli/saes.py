"""What commands with an SAE share: its options, and which one is meant."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from personascope.cli.layers import read_numbers
from personascope.cli.terminal import say
from personascope.directions import Direction, DirectionSet
from personascope.directions.direction import TokenLens
from personascope.errors import UserError
from personascope.features.found import Found
from personascope.features.load import load_sae
from personascope.features.sae import SAE, check_fits, sae_layer
from personascope.features.sparsity import sparsity_on
from personascope.runs import RunFolder
from personascope.runs.files import file_name
from personascope.subject import Subject

SaeOption = Annotated[
    str | None,
    typer.Option("--sae", help="file, folder or Hugging Face repo of an SAE; an organism's own by default"),
]
LayerOption = Annotated[
    int | None, typer.Option("--layer", help="the layer it reads, where there are several or none is said")
]
ThresholdOption = Annotated[
    float | None, typer.Option("--threshold", help="for a BatchTopK SAE whose training ended before it set one")
]
ScaleOption = Annotated[
    float | None, typer.Option("--scale", help="the factor on its inputs, for a SAELens one that lost it")
]
TrainerOption = Annotated[int | None, typer.Option("--trainer", help="which of several trained SAEs of a layer")]
FeaturesOption = Annotated[str | None, typer.Option("--features", help="such as 3,17,40-44")]
FoundOption = Annotated[
    Path | None, typer.Option("--found", help="run folder of `features find`: the features it found")
]


def sae_for(
    subject: Subject,
    source: str | None,
    layer: int | None,
    trainer: int | None,
    threshold: float | None,
    scale: float | None,
) -> SAE:
    """The SAE that is meant, once it fits the subject; doubts about it are said. Raises `UserError` where none is named
    and the subject has none of its own."""
    if source is None:
        if subject.truth is None:
            raise UserError(f"{subject.name} comes without an SAE; name one with --sae")
        source = subject.name
    sae = load_sae(source, layer=layer, trainer=trainer, threshold=threshold, scale=scale)
    for doubt in check_fits(sae, subject):
        say(f"note: {doubt}")
    return sae


def check_sparsity(sae: SAE, subject: Subject) -> None:
    """Measure how many features fire on a little text, and say so where that is far from what the SAE promises."""
    measured = sparsity_on(subject, sae, sae_layer(sae, subject))
    if measured.doubt:
        say(f"note: {measured.doubt}")


def lenses_of(sae: SAE, subject: Subject, features: Iterable[int]) -> dict[int, TokenLens]:
    """The tokens that each feature's decoder column promotes and suppresses; none for a feature without one."""
    columns = {feature: sae.direction(feature) for feature in features}
    return {feature: column.tokens(subject, 8) for feature, column in columns.items() if column.norm}


def save_alone(directions: Iterable[Direction], folder: Path) -> list[Path]:
    """Write directions into a folder, each as a file that `--directions` reads."""
    return [
        DirectionSet(one.name, (one.layer,), one.vector[None], provenance=one.provenance).save(
            folder / f"{file_name(one.name)}.safetensors"
        )
        for one in directions
    ]


def check_found(held: Found | None, sae: SAE) -> None:
    """Raises `UserError` where features were found with another SAE than the one they are used with; a file that does not
    say which is only told by its layer and number of features, and then by a note."""
    if held is None:
        return
    if held.layer != sae.layer or held.n_features != sae.n_features:
        raise UserError(
            f"--found holds features of {held.sae or 'an SAE'} with {held.n_features} features of layer {held.layer}, and "
            f"{sae.name} has {sae.n_features} of layer {sae.layer}; name the SAE they were found with as --sae"
        )
    if held.digest and held.digest != sae.digest:
        raise UserError(
            f"the features of --found are of another SAE, {held.sae}, than {sae.name}, where their numbers mean others; "
            "name the SAE they were found with as --sae"
        )
    if held.sae != sae.name and held.sae and not held.digest:
        say(f"note: the features of --found were found with {held.sae}, and are looked up in {sae.name}")


def features_of(features: str | None, found: Path | None) -> tuple[list[int], Found | None]:
    """The features of `--features` and `--found`. Raises `UserError` where neither names any."""
    named = read_numbers(features, "--features") if features else []
    if found is not None and (found / "run.json").exists() and (run := RunFolder.read(found)).what != "features find":
        raise UserError(f"{found} is a run of `personascope {run.what}`; give one of `features find` as --found")
    held = Found.load(found) if found is not None else None
    listed = list(dict.fromkeys([*(int(one) for one in (held.indices if held else ())), *named]))
    if not listed and held is not None:
        raise UserError(f"{found} found no features; name some with --features, or find others")
    if not listed:
        raise UserError("say which features: --features 3,17 or --found RUN of `personascope features find`")
    return listed, held
