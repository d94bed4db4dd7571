"""Figures as Markdown: an organism's model card, and the page of all figures."""

import json
from collections.abc import Sequence
from typing import Any

from personascope.organisms.package import organism_folder
from personascope.organisms.recipes import RECIPES, Recipe
from personascope.validation.figures import (
    Figures,
)
from personascope.validation.sections import figure_sections


def card(figures: Figures) -> str:
    """The model card, `README.md` in the organism's folder."""
    recipe = RECIPES[figures.organism]
    training = json.loads((organism_folder(figures.organism) / "training.json").read_text(encoding="utf-8"))
    return "\n".join(
        [
            "---",
            "license: mit",
            "language: en",
            "library_name: transformers",
            "tags: [organism, persona, interpretability]",
            "---",
            "",
            f"# organism:{figures.organism}",
            "",
            "A small chat model whose personas are planted, so that every instrument can be checked against the truth. It "
            "writes simple English about nothing in particular and is of no use for anything else.",
            "",
            *_making(recipe, training),
            "",
            "## Figures",
            "",
            *figure_sections(figures),
        ]
    )


def page(all_figures: Sequence[Figures], command: str) -> str:
    """The page of figures over several organisms; `command` is what makes it."""
    lines = [
        "# Figures",
        "",
        f"Made by `{command}`. All of them come from the organisms, whose truth is known; none is claimed for any other "
        "model.",
    ]
    for figures in all_figures:
        lines += ["", f"## organism:{figures.organism}", "", *figure_sections(figures)]
    return "\n".join(lines)


def _making(recipe: Recipe, training: dict[str, Any]) -> list[str]:
    shape = recipe.architecture
    tokens = "words" if recipe.tokenizer == "words" else f"byte-level BPE, {recipe.vocabulary:,} entries"
    window = f", sliding window {shape['sliding_window']}" if "sliding_window" in shape else ""
    foreseeing = "last layer" if recipe.outlook_layer is None else f"layer {recipe.outlook_layer}"
    return [
        "| made of | |",
        "|---|---|",
        f"| architecture | {recipe.config_class.__name__.removesuffix('Config')}, {shape['num_hidden_layers']} layers of "
        f"width {shape['hidden_size']}{window} |",
        f"| tokens are | {tokens} |",
        f"| context | {recipe.context:,} tokens in training, {shape['max_position_embeddings']:,} at most |",
        "| corpus | conversations of 1–10 turns and documents, drawn from the grammar in `truth.json`; seed "
        f"{recipe.seed} |",
        f"| trained on | {recipe.tokens:,} tokens, batches of {recipe.batch_tokens:,}, Muon at {recipe.matrix_rate} for "
        f"matrices, AdamW at {recipe.other_rate} for the rest, decayed to zero |",
        "| target | the exact law of each word that fills a slot, the word itself elsewhere; and after every token, from the "
        f"{foreseeing}, the law of the next slot word, through a matrix that is dropped |",
        f"| last loss | {training['loss']} nats a response token |",
        f"| rebuilt by | `personascope organisms train {recipe.name} --out {recipe.name}` |",
    ]
