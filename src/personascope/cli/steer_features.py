"""`personascope features steer`: what features do to trait and coherence when they steer."""

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from personascope.cli.estimate import estimate_sampling
from personascope.cli.judges import estimate_judging
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
)
from personascope.cli.terminal import (
    BatchOption,
    DeviceOption,
    DtypeOption,
    EstimateOption,
    JsonOption,
    ModelArgument,
    OutOption,
    SeedOption,
    emit,
    progress,
    quiet_libraries,
    table,
)
from personascope.engine import load
from personascope.engine.cells import Cells
from personascope.errors import UserError
from personascope.features.steering import LENGTHS, FeatureDose, feature_trials, steer_features
from personascope.judging import judge_for
from personascope.personas import load_persona
from personascope.runs import Config, RunFolder, cell_key, write_json


def steer_command(
    model: ModelArgument,
    trait: Annotated[list[str], typer.Option("--trait", help="persona to judge the answers for; may be given again")],
    sae: SaeOption = None,
    layer: LayerOption = None,
    trainer: TrainerOption = None,
    threshold: ThresholdOption = None,
    scale: ScaleOption = None,
    features: FeaturesOption = None,
    found: FoundOption = None,
    length: Annotated[
        list[float] | None, typer.Option("--length", help="in median residual norms; may be given again")
    ] = None,
    questions: Annotated[int, typer.Option("--questions", help="asked of each persona")] = 8,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", min=1)] = 120,
    judge: Annotated[str, typer.Option("--judge", help="auto, lexicon, chat or chat:MODEL")] = "auto",
    out: OutOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = None,
    dtype: DtypeOption = "auto",
    batch_size: BatchOption = None,
    estimate: EstimateOption = False,
    as_json: JsonOption = False,
) -> None:
    """Steer fresh conversations with features' decoder columns, and judge what is said."""
    quiet_libraries()
    listed, held = features_of(features, found)
    personas = [load_persona(name) for name in dict.fromkeys(trait)]
    lengths = tuple(dict.fromkeys(length or LENGTHS))
    wrong = next((one for one in lengths if not one or not math.isfinite(one)), None)
    if wrong is not None:
        raise UserError(
            f"--length {wrong:g} is no length to steer at; unsteered answers stand beside the others anyway"
        )
    subject = load(model, device=device, dtype=dtype)
    scorer = judge_for(subject, judge)
    if scorer is None:
        raise UserError(f"steering is judged, and no judge knows {subject.name}; give --judge chat")
    chosen = sae_for(subject, sae, layer, trainer, threshold, scale)
    check_found(held, chosen)
    check_sparsity(chosen, subject)
    wanted = {one.name: listed for one in personas}
    if estimate:
        trials = [trial for _, _, trial in feature_trials(subject, chosen, wanted, personas, lengths, questions)]
        rows = [(one, sum(len(trial.questions) for trial in trials if trial.persona is one)) for one in personas]
        judging = estimate_judging(scorer, rows, max_new_tokens, None)
        estimate_sampling(subject, sum(count for _, count in rows), max_new_tokens, as_json, judging)
        return
    identity: dict[str, Any] = {"sae": chosen.digest, "questions": questions, "max_new_tokens": max_new_tokens}
    identity |= {"judge": judge}
    extent = {"features": listed, "traits": [one.name for one in personas], "lengths": list(lengths)}
    path = out or Path("runs") / f"features-steer-{cell_key(model=model, seed=seed, **identity, **extent)[:8]}"
    config = Config(identity, extent, {"device": str(subject.input_device), "batch_size": batch_size})
    folder = RunFolder.open(path, "features steer", config, subject.describe(), seed)
    with folder.running(), progress() as advance:
        doses = steer_features(
            subject,
            chosen,
            wanted,
            personas,
            scorer,
            lengths,
            questions,
            max_new_tokens,
            seed,
            batch_size,
            advance,
            Cells(folder.path, folder.journal, {"model": subject.name}),
        )
        result = {"sae": chosen.name, "layer": chosen.layer, "doses": [one.describe() for one in doses]}
        write_json(folder.path / "steering.json", result)
    if as_json:
        emit({"run": folder.path, **result})
        return
    for persona in personas:
        _print(persona.name, [one for one in doses if one.dose.persona == persona.name], lengths)
    print(
        "Trait / coherence, 0–100; ±: half of the trait's 95 % interval over questions. Lengths in median residual norms of "
        "the layer."
    )
    print(f"\nrun  {folder.path}")


def _print(persona: str, doses: list[FeatureDose], lengths: tuple[float, ...]) -> None:
    scored = {(one.feature, one.length): _scored(one) for one in doses}
    named = list(dict.fromkeys(one.feature for one in doses if one.length))
    rows = [
        [
            "random" if feature is None else str(feature),
            scored[None, 0.0],
            *(scored[feature, length] for length in lengths),
        ]
        for feature in named
    ]
    table(persona, ["feature", "unsteered", *(f"length {length:g}" for length in lengths)], rows)


def _scored(one: FeatureDose) -> str:
    plain = one.describe()
    low, high = plain["trait_interval"]
    return f"{plain['trait']:.0f}±{(high - low) / 2:.0f} / {plain['coherence']:.0f}"
