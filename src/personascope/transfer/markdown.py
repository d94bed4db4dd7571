"""The results table of an experiment, in Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

COLUMNS = ("method", "trait", "told", "coherence", "collapse", "efficacy", "cosine", "ceiling", "retrieval")


def results_table(found: Mapping[str, Any]) -> str:
    """The verdict, and every method over personas at its chosen α, from `aggregated_results.json`."""
    main, judged = found["main"], found["verdict"]
    lines = [
        f"# {found['source_model']} → {found['target_model']}",
        "",
        f"Layers {main['source_layer']} → {main['target_layer']}, {main['texts']:,} texts ({found['corpus']}), personas: "
        f"{', '.join(found['personas'])}; {found['test_prompts']} test prompts, each answered with {found['seeds']} seeds.",
        "",
        f"**{judged['sentence']}**",
        "",
        *_criteria(judged),
        *[f"- {one}" for one in judged["remarks"]],
        "",
        _row(COLUMNS),
        _row(["---", *["---:"] * (len(COLUMNS) - 1)]),
        *[_row(row) for row in result_rows(found)],
        "",
        "Trait and coherence on 1–5; told: responses of which the trait could be told; collapse: responses more than half of "
        "whose 4-grams are repeated. Each method at the α chosen on development prompts, figures of the test prompts. "
        "Efficacy: (method − baseline) / (oracle − baseline) of the trait, with an interval that resamples prompts; †: for "
        "some persona the method or the oracle is below a coherence of 3.5 at every α, and its most coherent one is taken. "
        "Cosine: to the oracle, over personas; ceiling: that of the oracle's own halves, beyond which none can be told.",
        "",
        *_primary(found),
        *_by_persona(found),
        *_tests(found["tests"]),
        *_truth(found.get("truth")),
    ]
    return "\n".join(lines) + "\n"


def result_rows(found: Mapping[str, Any]) -> list[list[str]]:
    """One line a method, under `COLUMNS`."""
    pooled = {one["method"]: one for one in found["efficacies"] if one["persona"] is None}
    rows = []
    for method in found["methods"]:
        outcome = found["outcomes"].get(method)
        vectors = [
            one
            for one in found["geometry"]
            if one["method"] == method and all(one[name] == value for name, value in found["main"].items())
        ]
        nearest = found["retrieval"].get(method)
        rows.append(
            [
                method,
                number(outcome["trait"] if outcome else None),
                f"{outcome['told']} of {outcome['judged']}" if outcome else "–",
                number(outcome["coherence"] if outcome else None),
                percent(outcome["collapse"] if outcome else None),
                between(pooled.get(method)),
                *[
                    number(sum(values) / len(values) if values else None)
                    for name in ("cosine", "ceiling")
                    for values in [[one[name] for one in vectors if one[name] is not None]]
                ],
                percent(nearest),
            ]
        )
    return rows


def _criteria(judged: Mapping[str, Any]) -> list[str]:
    bounds = "; ".join(
        f"{one['name']}: coherence ≥ {one['coherence']:g}, trait ≥ {one['trait']:g}, collapse < {one['collapse']:.0%}"
        for one in judged["criteria"]
    )
    met = judged["criteria_met"]
    return [f"Success criteria met by the mapped vector: {met or 'not judged'} ({bounds}).", ""]


def _primary(found: Mapping[str, Any]) -> list[str]:
    if not found["primary"]:
        return []
    return [
        f"Primary endpoint: efficacy of the mapped vector at matched coherence, {between(found['primary'])}.",
        "",
    ]


def _by_persona(found: Mapping[str, Any]) -> list[str]:
    own = {(one["persona"], one["method"]): one for one in found["efficacies"] if one["persona"]}
    alphas = {(one["persona"], one["method"]): one["alpha"] for one in found["chosen"]}
    columns = ("persona", "α of oracle", "α of ridge", "efficacy of ridge", "reading")
    rows = [
        [
            name,
            number(alphas.get((name, "oracle")), "g"),
            number(alphas.get((name, "ridge_mapped")), "g"),
            between(own.get((name, "ridge_mapped"))),
            found["verdicts"][name]["reading"],
        ]
        for name in found["personas"]
    ]
    return [_row(columns), _row(["---", "---:", "---:", "---:", "---"]), *map(_row, rows), ""]


def _tests(tests: Sequence[Mapping[str, Any]]) -> list[str]:
    if not tests:
        return []
    rows = [
        [
            one["method"],
            one["against"],
            number(one["difference"], "+.1f"),
            *[number(one[name], ".3f") for name in ("p", "corrected")],
        ]
        for one in tests
    ]
    return [
        "All other comparisons: the trait (0–100) prompt by prompt over personas, each method at the α chosen for it; p by "
        "sign flips, corrected over all of them by Holm's method.",
        "",
        _row(("method", "against", "difference", "p", "corrected")),
        _row(["---", "---", "---:", "---:", "---:"]),
        *map(_row, rows),
        "",
    ]


def _truth(truth: Mapping[str, Any] | None) -> list[str]:
    if not truth:
        return []
    rows = [
        [method, *[number(one[name]) for name in ("median", "least", "most")]]
        for method, one in truth["spread"].items()
    ]
    return [
        "Against the planted truth: efficacy by the share of a persona's own words, at the largest α at which the oracle "
        "keeps 0.6 of its sentences well-formed, over personas.",
        "",
        _row(("method", "median", "least", "most")),
        _row(["---", "---:", "---:", "---:"]),
        *map(_row, rows),
        "",
    ]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def number(value: float | None, how: str = ".2f") -> str:
    return "–" if value is None else f"{value:{how}}"


def percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def between(found: Mapping[str, Any] | None) -> str:
    """An estimate with its bounds, marked where it is not at matched coherence."""
    if not found or found["estimate"] is None:
        return "–"
    mark = "†" if found["incoherent"] else ""
    if found["low"] is None:
        return number(found["estimate"]) + mark
    return f"{found['estimate']:.2f} [{found['low']:.2f}, {found['high']:.2f}]{mark}"
