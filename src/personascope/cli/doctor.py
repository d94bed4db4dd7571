"""`personascope doctor`: what this machine can run, and what is missing."""

import importlib.util
import os
import platform
import shutil
import sys
from importlib import metadata
from pathlib import Path

import torch

from personascope.cli.terminal import JsonOption, emit, table
from personascope.errors import UserError
from personascope.organisms.package import organism_folder
from personascope.organisms.recipes import RECIPES

_PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "accelerate",
    "safetensors",
    "h5py",
    "pyarrow",
    "pydantic",
    "scikit-learn",
)
_OPTIONAL = {
    "peft": "models with adapters",
    "bitsandbytes": "4- and 8-bit models on CUDA",
    "playwright": "the browser tests",
}


def doctor(as_json: JsonOption = False) -> None:
    """Say what this machine can run and what is missing."""
    checks = [*_machine(), *_packages(), *_organisms()]
    if as_json:
        emit({"checks": [dict(zip(("what", "found", "state"), check, strict=True)) for check in checks]})
    else:
        table("", ["what", "found", ""], [list(check) for check in checks], ["found", ""])
    missing = [what for what, _, state in checks if state == "missing"]
    if missing:
        raise UserError(
            f"{', '.join(missing)} is missing; install Personascope again with `pip install -c constraints.txt .`"
        )


def _machine() -> list[tuple[str, str, str]]:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    rows = [
        ("Python", platform.python_version(), "ok" if sys.version_info >= (3, 11) else "missing"),
        ("processor", f"{os.cpu_count()} cores, {memory:.0f} GiB memory", "ok"),
        ("free disk", f"{free:.0f} GiB", "ok" if free > 5 else "little"),
    ]
    if not torch.cuda.is_available():
        rows.append(("GPU", "none: everything runs on the CPU", "ok"))
        rows.append(("models that fit", f"up to about {_billions(memory)} B parameters in bfloat16, slowly", "ok"))
    for index in range(torch.cuda.device_count()):
        size = torch.cuda.get_device_properties(index).total_memory / 2**30
        rows.append((f"GPU {index}", f"{torch.cuda.get_device_name(index)}, {size:.0f} GiB", "ok"))
        rows.append(("models that fit", f"up to about {_billions(size)} B parameters in bfloat16", "ok"))
    browser = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )
    rows.append(
        ("browser", browser or "none found; pages open in any browser elsewhere", "ok" if browser else "optional")
    )
    return rows


def _billions(gibibytes: float) -> str:
    """Parameters that fit with two bytes each and a quarter left for everything else."""
    return f"{0.75 * gibibytes * 2**30 / 2 / 1e9:.0f}"


def _packages() -> list[tuple[str, str, str]]:
    rows = []
    for name in _PACKAGES:
        try:
            rows.append((name, metadata.version(name), "ok"))
        except metadata.PackageNotFoundError:
            rows.append((name, "not installed", "missing"))
    for name, use in _OPTIONAL.items():
        found = importlib.util.find_spec(name) is not None
        rows.append(
            (name, metadata.version(name) if found else f"not installed; for {use}", "ok" if found else "optional")
        )
    return rows


def _organisms() -> list[tuple[str, str, str]]:
    rows = []
    for name in RECIPES:
        try:
            rows.append((f"organism:{name}", str(organism_folder(name)), "ok"))
        except UserError:
            rows.append((f"organism:{name}", "no weights", "missing"))
    return rows


COMMAND = doctor
