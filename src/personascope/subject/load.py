"""Loading a subject by name, from a folder, or from objects."""

import os
from functools import partial
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import HFValidationError
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from personascope.errors import UserError
from personascope.organisms.package import organism_folder
from personascope.organisms.recipes import RECIPES
from personascope.organisms.truth import Truth
from personascope.subject.layers import find_layers, module_tree, unwrap
from personascope.subject.pieces import token_pieces
from personascope.subject.subject import Subject

_ORGANISM = "organism:"


def load_subject(
    source: str | Path | PreTrainedModel,
    *,
    tokenizer: PreTrainedTokenizerBase | str | Path | None = None,
    dtype: str | torch.dtype = "auto",
    device: str | torch.device | None = None,
    device_map: str | dict[str, Any] | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> Subject:
    """The model under study.

    source: `organism:llama` or `organism:gemma2`, a Hugging Face id, a local folder, or a loaded model (quantised and
    PEFT ones too) with `tokenizer=`. dtype: `auto` keeps the checkpoint's. device: CUDA where there is one, else the
    CPU; `device_map` spreads the model over several. Raises `UserError` where the model cannot be found or read, and
    where its decoder blocks cannot.
    """
    if not isinstance(source, (str, os.PathLike)):
        return _from_objects(source, tokenizer)
    wanted = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if dtype not in ("auto", None) and not (isinstance(wanted, torch.dtype) and wanted.is_floating_point):
        raise UserError(
            f"dtype {str(dtype)!r} is none that a model computes in; use auto, float32, bfloat16 or float16"
        )
    name = str(source)
    if name.startswith("~"):
        name = os.path.expanduser(name)
    if name.startswith((".", os.sep)) and not Path(name).exists():
        raise UserError(f"the folder {name} does not exist; give one that holds a model, or a Hugging Face id")
    folder = organism_folder(name.removeprefix(_ORGANISM)) if name.startswith(_ORGANISM) else name
    settings: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}
    try:
        config = AutoConfig.from_pretrained(folder, **settings)
        if getattr(config, "is_encoder_decoder", False):
            raise UserError(f"{name} is an encoder-decoder model; Personascope reads decoder-only language models")
        read = AutoTokenizer.from_pretrained(
            tokenizer if isinstance(tokenizer, (str, os.PathLike)) else folder, **settings
        )
        model = _read_model(folder, dtype, device_map, settings)
    except UserError:
        raise
    except (OSError, ValueError, KeyError, HFValidationError, SafetensorError, RuntimeError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise UserError(_unreadable(name, error)) from error
    if not isinstance(tokenizer, PreTrainedTokenizerBase) and not read("a")["input_ids"]:
        raise UserError(f"there is no tokenizer beside the model {name}; save it there, or give one with tokenizer=")
    if device_map is None:
        model = model.to(device_named(device))  # type: ignore[arg-type]
    subject = Subject(
        model=model.eval(),
        tokenizer=tokenizer if isinstance(tokenizer, PreTrainedTokenizerBase) else read,
        layers=find_layers(model),
        name=name,
        revision=revision or getattr(config, "_commit_hash", None),
    )
    if name.startswith(_ORGANISM):
        markup = RECIPES[name.removeprefix(_ORGANISM)].markup
        subject.truth = Truth.load(Path(folder), markup, subject.tokenizer, partial(token_pieces, subject.tokenizer))
    return subject


def device_named(device: str | torch.device | None) -> torch.device:
    """The device of a name, CUDA where there is one by default. Raises `UserError` on one that models cannot run on here."""
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise UserError(f"device {device!r} is not known; use cpu, cuda or cuda:1 …") from error
    if found.type not in ("cpu", "cuda"):
        raise UserError(f"device {device!r} is none that models run on here; use cpu, cuda or cuda:1 …")
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise UserError(f"device {device!r} is not here: this machine has {torch.cuda.device_count()} CUDA devices")
    return found


def _from_objects(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | str | Path | None) -> Subject:
    if not isinstance(model, torch.nn.Module):
        raise UserError(f"{model!r:.60} is no model; give a Hugging Face id, a local folder or a loaded model")
    if tokenizer is None:
        raise UserError("a loaded model needs its tokenizer: ps.load(model, tokenizer=tokenizer)")
    if isinstance(tokenizer, (str, os.PathLike)):
        tokenizer = _read_tokenizer(tokenizer)
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise UserError(f"{tokenizer!r:.60} is no tokenizer; give a loaded one, or the name or folder of one")
    base = unwrap(model)
    if not isinstance(base, PreTrainedModel):
        raise UserError(f"{type(base).__name__} is no model of transformers; its modules are:\n{module_tree(base)}")
    if model.training:
        raise UserError("the model is in training mode, where dropout makes every pass differ; call model.eval() first")
    if getattr(base.config, "is_encoder_decoder", False):
        raise UserError("this is an encoder-decoder model; Personascope reads decoder-only language models")
    if not isinstance(base.get_output_embeddings(), torch.nn.Module):
        raise UserError(
            f"{type(base).__name__} has no output head that chooses tokens; load it with AutoModelForCausalLM. "
            f"Its modules are:\n{module_tree(base)}"
        )
    name = getattr(base.config, "_name_or_path", "") or type(base).__name__
    return Subject(model=model, tokenizer=tokenizer, layers=find_layers(model), name=name)


def _read_tokenizer(source: str | os.PathLike[str]) -> PreTrainedTokenizerBase:
    try:
        return AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError, HFValidationError) as error:
        raise UserError(f"there is no readable tokenizer at {source}: {str(error).splitlines()[0]}") from error


def _read_model(folder: str | Path, dtype: Any, device_map: Any, settings: dict[str, Any]) -> PreTrainedModel:
    was = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, device_map=device_map, **settings)
    finally:
        if was:
            transformers_logging.enable_progress_bar()
    assert isinstance(model, PreTrainedModel)
    return model


def _unreadable(name: str, error: Exception) -> str:
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if Path(name).is_dir():
        return f"the folder {name} does not hold a readable model: {first}"
    if "trust_remote_code" in str(error):
        return f"{name} brings its own code, which is not run by default; pass trust_remote_code=True if you trust it"
    if "gated" in str(error).lower():
        return f"{name} is a gated model; ask for access on its page and log in with `hf auth login`"
    return (
        f"model {name!r} was not found: give 'organism:llama', 'organism:gemma2', a local folder, or a Hugging Face id "
        f"that can be reached from here ({first})"
    )
