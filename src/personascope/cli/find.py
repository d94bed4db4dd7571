"""`personascope features find`: the features that fire on some prompts and not on others."""

from pathlib import Path
from typing import Annotated, Any

import typer

from personascope.cli.saes import (
    LayerOption,
    SaeOption,
    ScaleOption,
    ThresholdOption,
    TrainerOption,
    lenses_of,
    sae_for,
)
from personascope.cli.terminal import (
    DeviceOption,
    DtypeOption,
    JsonOption,
    ModelArgument,
    OutOption,
    SeedOption,
    emit,
    quiet_libraries,
    say,
    table,
)
from personascope.corpora import control_prompts, read_prompts, self_prompts
from personascope.engine import load
from personascope.features.find import find_features
from personascope.features.found import Found
from personascope.report.features import save_found
from personascope.runs import Config, RunFolder, cell_key
from personascope.subject import PromptLike


def find_command(
    model: ModelArgument,
    sae: SaeOption = None,
    layer: LayerOption = None,
    trainer: TrainerOption = None,
    threshold: ThresholdOption = None,
    scale: ScaleOption = None,
    prompts: Annotated[
        Path | None, typer.Option("--prompts", help="a prompt a record; twelve questions about the self by default")
    ] = None,
    control: Annotated[
        Path | None,
        typer.Option("--control", help="prompts to set against them; beside the default prompts sixty like them"),
    ] = None,
    has_control: Annotated[bool, typer.Option("--contrast/--no-contrast", help="whether to use controls")] = True,
    top: Annotated[int, typer.Option("--top", help="how many features")] = 20,
    tokens: Annotated[
        str, typer.Option("--tokens", help="where they are read: prompt[-1], prompt, response …")
    ] = "prompt[-1]",
    chat: Annotated[bool, typer.Option("--chat/--no-chat", help="through the chat template, or raw text")] = True,
    max_new_tokens: Annotated[
        int, typer.Option("--max-new-tokens", help="of a response, where one is read", min=1)
    ] = 60,
    out: OutOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = None,
    dtype: DtypeOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Find the features that fire on prompts, and more on them than on others."""
    quiet_libraries()
    asked: list[PromptLike] = [one.prompt for one in read_prompts(prompts)] if prompts else list(self_prompts())
    others: list[PromptLike] | None = None
    if has_control and control is not None:
        others = [one.prompt for one in read_prompts(control)]
    elif has_control and prompts is None:
        others = list(control_prompts())
    subject = load(model, device=device, dtype=dtype)
    chosen = sae_for(subject, sae, layer, trainer, threshold, scale)
    identity: dict[str, Any] = {
        "sae": chosen.digest,
        "prompts": cell_key(prompts=asked),
        "controls": cell_key(prompts=others),
        "top": top,
        "tokens": tokens,
        "chat": chat,
        "max_new_tokens": max_new_tokens,
    }
    path = out or Path("runs") / f"features-find-{cell_key(model=model, seed=seed, **identity)[:8]}"
    folder = RunFolder.open(
        path, "features find", Config(identity, {}, {"device": str(subject.input_device)}), subject.describe(), seed
    )
    with folder.running():
        found = find_features(
            subject, chosen, asked, others, top, tokens, chat=chat, max_new_tokens=max_new_tokens, seed=seed
        )
        lenses = lenses_of(chosen, subject, map(int, found.indices))
        page = save_found(folder, found, lenses)
    if as_json:
        emit({"run": folder.path, "report": page, **found.describe()})
        return
    print_found(found, None, {feature: [token for token, _ in lens.promoted] for feature, lens in lenses.items()})
    print(f"\nreport  {page}")


def print_found(found: Found, features: list[int] | None, promoted: dict[int, list[str]]) -> None:
    """The features in a table, or some of them, and what the numbers are of."""
    rows = []
    for one in found.describe()["features"]:
        if features and one["feature"] not in features:
            continue
        words = " ".join(token.strip() or "␣" for token in promoted.get(one["feature"], [])[:5])
        row = [str(one["feature"]), f"{one['value']:.2f}", f"{one['share']:.0%}"]
        if found.contrast is not None:
            row += [
                f"{one['difference']:.2f}",
                f"{one['share']:.0%} / {one['control_share']:.0%}",
                f"{one['auroc']:.2f}",
                f"{one['corrected']:.2g}",
            ]
            row[2:3] = []
        rows.append([*row, words])
    columns = ["feature", "mean", "prompts it fires on", "promotes"]
    if found.contrast is not None:
        columns = ["feature", "mean", "difference", "fires on (control)", "AUROC", "p, corrected", "promotes"]
    if rows:
        table("", columns, rows, cut=["promotes"])
    else:
        print("No feature fires on the prompts more than on the controls.")
    held = f"{len(found.prompts)} prompts"
    if found.contrast is not None:
        held += (
            f" against {len(found.controls)} controls: chosen on one half, the other columns but mean are of the other"
        )
    print(f"Layer {found.layer}, read at {found.tokens}. {held}.")
    if found.sparsity is not None:
        promised = f", promised {found.sparsity.promised:g}" if found.sparsity.promised else ""
        explained = f"; {found.sparsity.explained:.0%} of the variance explained" if found.sparsity.explained else ""
        print(f"{found.sparsity.l0:.1f} features active on a token{promised}{explained}.")
        if found.sparsity.doubt:
            say(f"note: {found.sparsity.doubt}")
