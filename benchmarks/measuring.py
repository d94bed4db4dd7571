"""What all benchmarks share: sides timed in turn, ratios, and files that say what every part ran on."""

import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers


def timed(sides: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each side in each round; the sides take turns, after one round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, side in sides.items():
            _settle()
            started = time.perf_counter()
            side()
            _settle()
            if number:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def _settle() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def ratios(seconds: dict[str, list[float]], of: str) -> dict[str, dict[str, float]]:
    """Median seconds of each side, and the median over rounds of its ratio to side `of` in the same round."""
    return {
        name: {
            "seconds": round(statistics.median(each), 4),
            f"of {of}": round(statistics.median(a / b for a, b in zip(each, seconds[of], strict=True)), 3),
        }
        for name, each in seconds.items()
    }


def show(title: str, table: dict[str, dict[str, float]]) -> None:
    print(f"\n{title}")
    for name, row in table.items():
        print(f"  {name:52s}" + "  ".join(f"{key} {value:g}" for key, value in row.items()), flush=True)


def bandwidth(device: torch.device) -> float:
    """Bytes a second that a large copy moves, those read and those written."""
    source = torch.ones(2**30 if device.type == "cuda" else 2**28, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    seconds = timed({"copy": lambda: target.copy_(source)}, 9)["copy"]
    return 2 * len(source) / statistics.median(seconds)


def place(device: str) -> str:
    """What a device is called."""
    return torch.cuda.get_device_name() if device.startswith("cuda") else f"CPU, {torch.get_num_threads()} threads"


def record(
    parts: dict[str, Callable[[], dict[str, Any]]],
    only: list[str] | None,
    path: Path | None,
    device: str = "cpu",
    **settings: Any,
) -> None:
    """Measure the parts that are asked for, all by default. Each goes into the JSON file with what it ran on, beside the
    others that are there already."""
    for name in only or parts:
        measured = parts[name]()
        ran_on = {
            "device": place(device),
            "machine": platform.processor() or platform.machine(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            **settings,
        }
        if path:
            figures = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
            figures[name] = {"ran on": ran_on, **measured}
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
