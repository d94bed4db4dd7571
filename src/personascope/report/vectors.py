"""Saving what an extraction found: directions, JSON, and the page."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from personascope.directions import DirectionSet
from personascope.extraction.doubts import doubts, maybe_chance, maybe_idle
from personascope.extraction.extraction import Extraction
from personascope.report.page import write_report
from personascope.runs import RunFolder, write_json


def save_vectors(folder: RunFolder, extractions: Mapping[str, Extraction]) -> Path | None:
    """Write what an extraction found and `report.html` into a run folder; the page's path, None where it found nothing."""
    sets = write_vectors(folder, extractions)
    return write_report([folder.path], folder.path / "report.html") if sets else None


def write_vectors(folder: RunFolder, extractions: Mapping[str, Extraction]) -> list[DirectionSet]:
    """Write `directions/`, `quality.json` and `vectors.json` into a run folder; extractions: by their tokens.

    Returns the direction sets as they are called there: further selections stand beside the first under names of their
    own.
    """
    sets = named_sets(extractions)
    for one in sets:
        one.save(direction_file(folder.path, one))
    write_json(folder.path / "quality.json", {one.name: plain_quality(one) for one in sets})
    groups = [_group(tokens, extraction) for tokens, extraction in extractions.items()]
    write_json(folder.path / "vectors.json", {"groups": groups}, indent=None)
    return sets


def named_sets(extractions: Mapping[str, Extraction]) -> list[DirectionSet]:
    """All direction sets, those of further selections under names of their own."""
    first = next(iter(extractions))
    return [
        one if tokens == first else one.named(f"{one.name} {tokens}")
        for tokens, extraction in extractions.items()
        for one in extraction
    ]


def direction_file(run: Path, directions: DirectionSet) -> Path:
    """Where a run keeps a direction set."""
    return run / "directions" / f"{directions.name}.safetensors"


def plain_quality(directions: DirectionSet) -> dict[str, Any]:
    """Quality and choices as plain values."""
    return {
        "layers": {str(layer): dict(figures) for layer, figures in directions.quality.items()},
        "choices": dict(directions.choices),
        "doubts": doubts(directions),
        "reads_surely": maybe_chance(directions, directions.best_layer) is None,
        "steers_surely": maybe_idle(directions) is None,
        "sampled": directions.provenance.get("sampled"),
        "kept": directions.provenance.get("kept"),
    }


def _group(tokens: str, extraction: Extraction) -> dict[str, Any]:
    return {
        "tokens": tokens,
        "personas": [
            {
                "name": one.name,
                "kind": one.provenance.get("kind", ""),
                "positive_pole": one.provenance.get("positive_pole", ""),
                **plain_quality(one),
                "examples": [example.describe() for example in extraction.examples.get(one.name, ())],
            }
            for one in extraction
        ],
        "relations": extraction.relations.describe() if extraction.relations else None,
    }
