"""The `--workers` option: who runs the rows."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from personascope.errors import UserError
from personascope.subject import Subject

WorkersOption = Annotated[
    str | None,
    typer.Option(
        "--workers", help="ray, or ray:ADDRESS of a cluster: one worker per GPU, or per CPU where there is none"
    ),
]


def check_workers(option: str | None) -> str:
    """The cluster's address, empty for this machine. Raises `UserError` on an unknown kind."""
    kind, _, address = (option or "ray").partition(":")
    if kind != "ray":
        raise UserError(f"--workers {option!r} is not known; write ray or ray:ADDRESS")
    return address


@contextmanager
def working(subject: Subject, source: str, option: str | None, device: str | None, dtype: str) -> Iterator[None]:
    """Have the subject's rows run by workers while the block lasts."""
    if option is None:
        yield
        return
    address = check_workers(option)
    from personascope.engine.workers import RayWorkers

    with RayWorkers(source, {"device": device, "dtype": dtype}, address or None) as workers:
        subject.workers = workers
        try:
            yield
        finally:
            subject.workers = None
