"""Rows run by workers on other devices or machines, through Ray."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from importlib import import_module
from typing import Any

import torch

from personascope.engine.load import load
from personascope.engine.rows import Generation, Request
from personascope.engine.selection import Selection
from personascope.engine.stream import RowStream
from personascope.errors import PersonascopeError, UserError
from personascope.subject import Subject

_LARGEST, _SMALLEST = 256, 4
# A worker that dies is replaced; a row that kills them again and again is given up.
_ATTEMPTS = 4
# Until a worker's process is up; it loads its model after that.
_START_SECONDS = 300.0


class WorkersFailed(PersonascopeError):
    """Rows kept killing the workers they ran on."""


def run_here(
    subject: Subject,
    requests: Sequence[Request],
    batch_size: int | None,
    means: Sequence[str | Selection],
    mean_layers: Sequence[int] | None,
) -> Iterator[tuple[int, Generation]]:
    """Each row's number and what came of it, as rows end."""
    stream = RowStream(subject, batch_size, means, mean_layers)
    place = {stream.submit(request): index for index, request in enumerate(requests)}
    while len(stream):
        for event in stream.step():
            if event.generation is not None:
                yield place[event.row], event.generation


class RayWorkers:
    """Workers that each hold a copy of the model: one per GPU of the Ray cluster, or per CPU where it has no GPU.

    Set as `subject.workers`, they run all rows that are sampled; results come back here, to the one process that writes.
    Rows of a worker that dies are run again on another. source, settings: as for `load`; the workers load the model
    themselves. address: of a running cluster; without one, workers are started on this machine. count: how many.
    Raises `UserError` where ray is not installed, the cluster cannot be reached, or it starts no worker in five minutes.
    """

    def __init__(
        self,
        source: str,
        settings: Mapping[str, Any] | None = None,
        address: str | None = None,
        count: int | None = None,
    ) -> None:
        try:
            ray: Any = import_module("ray")
        except ImportError as error:
            raise UserError("workers need ray: pip install 'personascope[ray]'") from error
        self._ray: Any = ray
        self._owns = not ray.is_initialized()
        if self._owns:
            quiet = {"include_dashboard": False} if address is None else {}
            # Ray would otherwise replace the environment of workers started under a project manager.
            os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
            try:
                ray.init(
                    address=address or "local",
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    **quiet,
                )
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise UserError(f"the Ray cluster at {address} cannot be reached: {error}") from error
        found = ray.cluster_resources()
        gpus, cpus = int(found.get("GPU", 0)), int(found.get("CPU", 1))
        self.count = count or gpus or cpus
        needs = {"num_gpus": 1} if gpus else {"num_cpus": 1}
        threads = max(1, cpus // self.count)
        self._settings = dict(settings or {})
        self._make = lambda: ray.remote(**needs)(_Worker).remote(source, self._settings, None if gpus else threads)
        self._workers = [self._make() for _ in range(self.count)]
        up, _ = ray.wait([worker.process.remote() for worker in self._workers], timeout=_START_SECONDS)
        if not up:
            free = ray.available_resources()
            self.close()
            raise UserError(
                f"no worker started within {_START_SECONDS:.0f} s; each needs a {'GPU' if gpus else 'CPU'} and the cluster "
                f"has {free.get('GPU', 0):g} GPUs and {free.get('CPU', 0):g} CPUs free: wait for other work on it to end"
            )

    def run(
        self,
        requests: Sequence[Request],
        batch_size: int | None,
        means: Sequence[str | Selection],
        mean_layers: Sequence[int] | None,
    ) -> Iterator[tuple[int, Generation]]:
        """Each row's number and what came of it, a chunk of rows at a time."""
        ray = self._ray
        size = min(_LARGEST, max(_SMALLEST, -(-len(requests) // (4 * self.count))))
        waiting = [list(range(start, min(start + size, len(requests)))) for start in range(0, len(requests), size)]
        attempts = {chunk[0]: 0 for chunk in waiting}
        idle, running = list(range(self.count)), dict[Any, tuple[int, list[int]]]()
        waiting.reverse()
        while waiting or running:
            while waiting and idle:
                worker, chunk = idle.pop(), waiting.pop()
                rows = [requests[index] for index in chunk]
                settings = (batch_size, list(means), None if mean_layers is None else list(mean_layers))
                running[self._workers[worker].run.remote(rows, *settings)] = worker, chunk
            (ended,), _ = ray.wait(list(running), num_returns=1)
            worker, chunk = running.pop(ended)
            try:
                found = ray.get(ended)
            except ray.exceptions.RayTaskError as error:
                cause = error.cause
                raise cause if isinstance(cause, PersonascopeError) else error from None
            except ray.exceptions.RayError as error:
                attempts[chunk[0]] += 1
                if attempts[chunk[0]] >= _ATTEMPTS:
                    raise WorkersFailed(
                        f"{len(chunk)} rows were given up: {_ATTEMPTS} workers died on them ({type(error).__name__}); try a "
                        "smaller --batch-size"
                    ) from error
                self._workers[worker] = self._make()
                waiting.append(chunk)
                idle.append(worker)
                continue
            idle.append(worker)
            yield from ((chunk[place], generation) for place, generation in found)

    def processes(self) -> list[int]:
        """The workers' process ids."""
        return list(self._ray.get([worker.process.remote() for worker in self._workers]))

    def close(self) -> None:
        """Stop the workers, and the cluster if it was started for them."""
        for worker in self._workers:
            self._ray.kill(worker)
        if self._owns:
            self._ray.shutdown()

    def __enter__(self) -> "RayWorkers":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Worker:
    """What runs in a worker's process."""

    def __init__(self, source: str, settings: dict[str, Any], threads: int | None) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self._load = partial(load, source, **settings)

    @cached_property
    def subject(self) -> Subject:
        return self._load()

    def run(
        self, requests: list[Request], batch_size: int | None, means: list[Any], mean_layers: list[int] | None
    ) -> list[tuple[int, Generation]]:
        return list(run_here(self.subject, requests, batch_size, means, mean_layers))

    def process(self) -> int:
        return os.getpid()
