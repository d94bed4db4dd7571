"""`personascope features show`: what a run found or mined."""

from collections.abc import Sequence
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.text import Text

from personascope.cli.find import print_found
from personascope.cli.signs import printable
from personascope.cli.terminal import JsonOption, emit, progress, quiet_libraries, stdout
from personascope.directions.direction import TokenLens
from personascope.errors import UserError
from personascope.features.explain import explain
from personascope.features.found import Found
from personascope.features.mined import Mined
from personascope.features.mined_file import load_mined
from personascope.features.neuronpedia import neuronpedia_records
from personascope.judging.endpoint import Endpoint
from personascope.report.features import RESULT, save_labels
from personascope.runs import RunFolder, write_json

_AROUND = 12
# Prompts and controls shown of a feature.
_PROMPTS = 3
RunArgument = Annotated[Path, typer.Argument(help="run folder of `features find` or `features mine`", metavar="RUN")]


def show_command(
    run: RunArgument,
    feature: Annotated[list[int] | None, typer.Option("--feature", help="only this one; may be given again")] = None,
    contexts: Annotated[int, typer.Option("--contexts", help="shown per feature", min=0)] = 5,
    labels: Annotated[
        bool,
        typer.Option("--explain", help="let a chat model label the features; PERSONASCOPE_JUDGE_BASE_URL and _MODEL"),
    ] = False,
    neuronpedia: Annotated[
        Path | None, typer.Option("--neuronpedia", help="also write the features here, in Neuronpedia's shape")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show a run's features: contexts with the tokens marked that fire them, statistics, tokens they promote."""
    quiet_libraries()
    folder = RunFolder.read(run)
    if folder.what == "features find":
        if labels or neuronpedia:
            raise UserError(
                f"{run} holds no contexts to explain or export; mine some with `features mine --found {run}`"
            )
        plain = _result(folder)
        found = Found.load(run)
        _check_known(feature, found.indices.tolist(), "found")
        if as_json:
            emit(_only(plain, feature))
            return
        promoted = {one["feature"]: [token for token, _ in one["promoted"]] for one in plain["features"]}
        print_found(found, feature, promoted)
        for one in feature or ():
            print(f"\nfeature {one}")
            _print_prompts(plain, one)
        return
    if folder.what != "features mine":
        raise UserError(
            f"{run} is a run of `personascope {folder.what}`; give one of `features find` or `features mine`"
        )
    plain = _result(folder)
    mined = load_mined(run)
    _check_known(feature, mined.features, "mined")
    if labels:
        plain = _explained(folder, mined, feature)
    if neuronpedia is not None:
        lenses = {one["feature"]: _lens(one) for one in plain["features"]}
        named = {one["feature"]: one["label"] for one in plain["features"] if "label" in one}
        write_json(neuronpedia, neuronpedia_records(mined, lenses, named))
    if as_json:
        emit(_only(plain, feature))
        return
    print_contexts(mined, contexts, feature, plain)


def _result(folder: RunFolder) -> dict[str, Any]:
    """What a run wrote. Raises `UserError` where it is of another shape."""
    plain = folder.load_json(RESULT)
    if not isinstance(plain, dict) or not isinstance(plain.get("features"), list):
        raise UserError(f"{folder.path / RESULT} is no result of `personascope features`; run the command again")
    return plain


def _check_known(asked: list[int] | None, known: Sequence[int], how: str) -> None:
    unknown = sorted(set(asked or ()) - set(known))
    if unknown:
        raise UserError(f"feature {unknown[0]} was not {how} here; there are {', '.join(map(str, known))}")


def _only(plain: dict[str, Any], features: list[int] | None) -> dict[str, Any]:
    """A run's result with these features alone."""
    return {**plain, "features": [one for one in plain["features"] if not features or one["feature"] in features]}


def _lens(record: dict[str, Any]) -> TokenLens:
    return TokenLens(*(tuple((str(t), float(e)) for t, e in record[side]) for side in ("promoted", "suppressed")))


def _explained(folder: RunFolder, mined: Mined, features: list[int] | None) -> dict[str, Any]:
    """The run's result with labels."""
    endpoint = Endpoint.from_environment()
    with closing(folder.journal) as journal, progress() as advance:
        found = explain(mined, endpoint, features, journal, advance)
    return save_labels(folder, found)


def print_contexts(
    mined: Mined, count: int, features: Sequence[int] | None = None, plain: dict[str, Any] | None = None
) -> None:
    """Each feature's numbers, and its best contexts with the tokens in colour that fire it. plain: the run's result, for
    what is known beside the contexts."""
    known = {one["feature"]: one for one in plain["features"]} if plain else {}
    rates, means = mined.tally.rate, mined.tally.mean
    print(f"{mined.tally.tokens:,} tokens of {mined.documents:,} documents in {mined.corpus}, layer {mined.layer}.")
    for feature in features or mined.features:
        column = mined.features.index(feature)
        record = known.get(feature, {})
        head = Text(f"\nfeature {feature}", style="bold")
        head.append(
            f"  fires on {rates[column]:.2%} of tokens, there {means[column]:.2f} in the mean", style="not bold"
        )
        if "label" in record:
            score = f" (tells {record['label_score']:.2f})" if record["label_score"] is not None else ""
            head.append(f"  {printable(record['label'])}{score}", style="italic not bold")
        stdout.print(head)
        for verb, side in (("promotes", "promoted"), ("suppresses", "suppressed")):
            if record.get(side):
                words = " ".join(token.strip() or "␣" for token, _ in record[side])
                stdout.print(Text(f"  {verb} {printable(words)}", style="dim"))
        if "found" in record:
            stdout.print(Text(f"  {_contrasted(record['found'])}", style="dim"))
        for one in mined.contexts[feature][:count]:
            stdout.print(_marked(one.score, mined.pieces(one.ids), one.activations, one.peak))
        if not mined.contexts[feature]:
            stdout.print(Text("  never fired", style="dim"))
        if plain is not None and count:
            _print_prompts(plain, feature)


def _contrasted(found: dict[str, Any]) -> str:
    """A feature on the prompts it was found with, against the controls where there were some."""
    if "auroc" not in found:
        return f"on the prompts {found['value']:.2f} in the mean, fires on {found['share']:.0%}"
    return (
        f"on the prompts {found['mean']:.2f}, fires on {found['share']:.0%}; on controls {found['control_mean']:.2f}, "
        f"{found['control_share']:.0%}; AUROC {found['auroc']:.2f}"
    )


def _print_prompts(plain: dict[str, Any], feature: int) -> None:
    """The prompts, and the controls, that fire a feature most, with the tokens marked on which it does."""
    if feature not in plain.get("traced", ()):
        return
    column = plain["traced"].index(feature)
    for name, traces in (
        ("prompts", plain["traces"][: plain["prompts"]]),
        ("controls", plain["traces"][plain["prompts"] :]),
    ):
        strongest = sorted(traces, key=lambda one: -max(one["activations"][column]))[:_PROMPTS]
        fired = [one for one in strongest if max(one["activations"][column]) > 0]
        if traces:
            stdout.print(Text(f"  in the {name}" + ("" if fired else ": never"), style="dim"))
        for one in fired:
            values = np.asarray(one["activations"][column])
            stdout.print(_marked(float(values.max()), one["tokens"], values, int(values.argmax())))


def _marked(score: float, tokens: Sequence[str], activations: np.ndarray, peak: int) -> Text:
    """What surrounds a peak, tokens marked that have at least half of its activation."""
    line = Text(f"  {score:7.2f}  ", no_wrap=True, overflow="ellipsis")
    pieces = list(map(printable, tokens))
    start = max(0, peak - _AROUND)
    for strong, group in groupby(
        range(start, min(len(pieces), peak + 4)), lambda place: activations[place] >= score / 2
    ):
        text = "".join(pieces[place] for place in group)
        if strong and not stdout.is_terminal:
            bare = text.lstrip(" ")
            text = f"{text[: len(text) - len(bare)]}«{bare}»"
        line.append(text, style="bold reverse" if strong else "")
    return line
