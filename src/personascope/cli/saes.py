"""What commands with an SAE share: its options, and which one is meant."""

from pathlib import Path
from typing import Annotated

import typer

from personascope.cli.layers import read_numbers
from personascope.cli.terminal import say
from personascope.errors import UserError
from personascope.features.found import Found
from personascope.features.load import load_sae
from personascope.features.sae import SAE, check_fits
from personascope.subject import Subject

SaeOption = Annotated[
    str | None,
    typer.Option("--sae", help="file, folder or Hugging Face repo of an SAE; an organism's own by default"),
]
LayerOption = Annotated[
    int | None, typer.Option("--layer", help="the layer it reads, where there are several or none is said")
]
TrainerOption = Annotated[int | None, typer.Option("--trainer", help="which of several trained SAEs of a layer")]
FeaturesOption = Annotated[str | None, typer.Option("--features", help="such as 3,17,40-44")]
FoundOption = Annotated[
    Path | None, typer.Option("--found", help="run folder of `features find`: the features it found")
]

FOUND_FILE, MINED_FILE, RESULT_FILE, LABELS_FILE = "found.h5", "mined.h5", "features.json", "labels.json"


def sae_for(subject: Subject, source: str | None, layer: int | None, trainer: int | None) -> SAE:
    """The SAE that is meant, once it fits the subject; doubts about it are said. Raises `UserError` where none is named
    and the subject has none of its own."""
    if source is None:
        if subject.truth is None:
            raise UserError(f"{subject.name} comes without an SAE; name one with --sae")
        source = subject.name
    sae = load_sae(source, layer=layer, trainer=trainer)
    for doubt in check_fits(sae, subject):
        say(f"note: {doubt}")
    return sae


def features_of(features: str | None, found: Path | None) -> tuple[list[int], Found | None]:
    """The features of `--features` and `--found`. Raises `UserError` where neither names any."""
    named = read_numbers(features, "--features") if features else []
    held = Found.load(found / FOUND_FILE if found.is_dir() else found) if found is not None else None
    listed = list(dict.fromkeys([*(int(one) for one in (held.indices if held else ())), *named]))
    if not listed:
        raise UserError("say which features: --features 3,17 or --found RUN of `personascope features find`")
    return listed, held
