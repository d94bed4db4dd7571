"""Organism folders: what `organisms train` writes, what ships, and where it is found."""

import difflib
import json
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from personascope.errors import UserError
from personascope.organisms.grammar import Grammar
from personascope.organisms.recipes import RECIPES, Recipe

_SHIPPED = resources.files(__package__) / "shipped"


def organism_folder(name: str) -> Path:
    """Where the shipped organism `name` lies. Raises `UserError` on an unknown one."""
    if name not in RECIPES:
        near = difflib.get_close_matches(name, RECIPES, n=1)
        hint = (
            f"did you mean 'organism:{near[0]}'?"
            if near
            else "there are " + " and ".join(f"'organism:{n}'" for n in RECIPES)
        )
        raise UserError(f"organism {name!r} is not known; {hint}")
    folder = Path(str(_SHIPPED / name))
    if not (folder / "config.json").exists():
        raise UserError(f"organism {name!r} has no weights here; `personascope organisms train {name}` makes them")
    return folder


def save_organism(
    folder: Path,
    recipe: Recipe,
    grammar: Grammar,
    tokenizer: PreTrainedTokenizerFast,
    model: PreTrainedModel,
    training: dict[str, Any],
) -> None:
    """Write the folder that `AutoModelForCausalLM.from_pretrained` and `ps.load` read.

    Weights are stored in half precision and load as float32, the config's dtype.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model.to(torch.float16).save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["dtype"] = "float32"
    config.pop("_name_or_path", None)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    tokenizer.save_pretrained(folder)
    grammar.save(folder / "truth.json")
    summary = {"recipe": recipe.name, "seed": recipe.seed, "tokens": recipe.tokens, **training}
    (folder / "training.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
