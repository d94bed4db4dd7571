"""`personascope features directions`: features' decoder columns as directions to watch, steer and ablate with."""

from pathlib import Path
from typing import Annotated

from typer import Option

from personascope.cli.saes import (
    FeaturesOption,
    FoundOption,
    LayerOption,
    SaeOption,
    ScaleOption,
    ThresholdOption,
    TrainerOption,
    check_found,
    check_sparsity,
    features_of,
    sae_for,
    save_alone,
)
from personascope.cli.terminal import (
    DeviceOption,
    DtypeOption,
    JsonOption,
    ModelArgument,
    emit,
    quiet_libraries,
)
from personascope.engine import load
from personascope.engine.norms import median_norm
from personascope.features.sae import sae_layer


def directions_command(
    model: ModelArgument,
    out: Annotated[Path, Option("--out", help="folder for the files")],
    sae: SaeOption = None,
    layer: LayerOption = None,
    trainer: TrainerOption = None,
    threshold: ThresholdOption = None,
    scale: ScaleOption = None,
    features: FeaturesOption = None,
    found: FoundOption = None,
    device: DeviceOption = None,
    dtype: DtypeOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Write features' decoder columns as directions, which watch, generate, persist and export take as --directions."""
    quiet_libraries()
    listed, held = features_of(features, found)
    subject = load(model, device=device, dtype=dtype)
    chosen = sae_for(subject, sae, layer, trainer, threshold, scale)
    check_found(held, chosen)
    check_sparsity(chosen, subject)
    at = sae_layer(chosen, subject)
    files = save_alone([chosen.direction(feature) for feature in listed], out)
    norm = median_norm(subject, at)
    if as_json:
        emit({"layer": at, "median_norm": norm, "files": files})
        return
    for file in files:
        print(file)
    print(f"Layer {at}. The columns are as the SAE has them; the layer's median residual norm is {norm:.3g}.")
