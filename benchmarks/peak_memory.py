"""Peak memory with and without watching."""

import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from measuring import show
from models import random_ids, requests, watched

from personascope.engine.generate import run_requests
from personascope.subject import Subject

TOKENS = (64, 512)
_PROCESS = """
import sys
from pathlib import Path
sys.path.insert(0, {folder!r})
import torch
from models import random_model
from peak_memory import generate
subject = random_model({shape!r}, "cpu", torch.{dtype})
# What making the model took does not count.
Path("/proc/self/clear_refs").write_text("5")
generate(subject, {tokens}, {watching}, {rows}, {prompt}, {directions})
print(next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")).split()[1])
"""


def generate(subject: Subject, tokens: int, watching: bool, rows: int, prompt: int, directions: int) -> None:
    watch = watched(subject, torch.randn(directions, subject.hidden_size)) if watching else ()
    run_requests(subject, requests(random_ids(subject, rows, prompt), tokens, watch=watch))


def memory(subject: Subject, shape: str, dtype: str, rows: int, prompt: int, directions: int) -> dict[str, Any]:
    """Peak memory with and without watching: of the device, or on a CPU that of processes of their own."""
    table = {}
    for tokens in TOKENS:
        peaks = {}
        for watching in (False, True):
            if subject.input_device.type == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
                generate(subject, tokens, watching, rows, prompt, directions)
                peaks[watching] = torch.cuda.max_memory_allocated() / 2**20
            else:
                asked = {"tokens": tokens, "watching": watching, "rows": rows, "prompt": prompt}
                code = _PROCESS.format(
                    folder=str(Path(__file__).parent), shape=shape, dtype=dtype, directions=directions, **asked
                )
                runs = [
                    subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
                    for _ in range(3)
                ]
                peaks[watching] = statistics.median(float(run.stdout) / 1024 for run in runs)
        table[f"{tokens} new tokens"] = {
            "MiB": round(peaks[False]),
            "watching MiB": round(peaks[True]),
            "adds %": round(100 * (peaks[True] / peaks[False] - 1), 1),
        }
    show(f"peak memory, watching {directions} directions at every layer", table)
    return table
