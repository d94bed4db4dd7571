"""A run folder: what was asked for, what was done, and what came of it."""

import datetime
import json
import logging
import math
import platform
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

from personascope.errors import UserError
from personascope.runs.files import write_json
from personascope.runs.journal import Journal

_JOURNAL = ("journal.sqlite", "journal.sqlite-wal", "journal.sqlite-shm", "journal.sqlite-journal")
# What opening a run puts into its folder, also where it was killed half-way.
_OPENED = ("run.json", "run.json.part", "run.log", *_JOURNAL)
_VERSIONED = ("personascope", "torch", "transformers", "tokenizers", "numpy", "scikit-learn")


@dataclass(frozen=True)
class Config:
    """What a run was asked for, as plain values.

    identity: what makes it this run; a folder holds one. extent: what may grow from one start to the next.
    runtime: what changes nothing in the results.
    """

    identity: Mapping[str, Any]
    extent: Mapping[str, Any] = field(default_factory=dict)
    runtime: Mapping[str, Any] = field(default_factory=dict)


class RunFolder:
    """An open run folder. Opening an old one with the same identity goes on with it; with another it is refused, unless the
    old one came to nothing: then its settings are replaced."""

    def __init__(
        self,
        path: Path,
        what: str,
        record: dict[str, Any],
        is_new: bool = False,
        reached: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = path
        self.what = what
        self.record = record
        self._is_new = is_new
        self._reached = dict(reached or {})
        self._is_partial = False

    @classmethod
    def open(cls, path: str | Path, what: str, config: Config, model: Mapping[str, Any], seed: int) -> "RunFolder":
        """Start or resume a run. Raises `UserError` naming what differs from the run that is there, and a number asked for
        that is none."""
        path = Path(path)
        _refuse_nonfinite({**config.identity, **config.extent, **config.runtime})
        fresh = {
            "what": what,
            "model": dict(model),
            "config": {
                "identity": dict(config.identity),
                "extent": dict(config.extent),
                "runtime": dict(config.runtime),
            },
            "versions": _versions(),
            "seed": seed,
            "state": "running",
            "started": _now(),
        }
        if path.is_dir() and not (path / "run.json").exists() and _others(path):
            raise UserError(f"{path} holds other files and no run; give a new or empty folder as --out")
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror or error}; choose another --out") from error
        # The journal is the lock: whoever does not get it leaves the folder as it is.
        with closing(Journal(path / "journal.sqlite")) as journal:
            is_new = not len(journal) and not _others(path)
            reached: Mapping[str, Any] = {}
            if not is_new:
                old = cls._read(path)
                plain = json.loads(json.dumps(fresh, default=str))
                _refuse_another(path, old, plain)
                reached = _reached(old)
                _refuse_less(path, reached, plain)
                fresh["started"] = old.get("started", fresh["started"])
            write_json(path / "run.json", fresh)
        return cls(path, what, fresh, is_new, reached)

    @classmethod
    def read(cls, path: str | Path) -> "RunFolder":
        """A run to look at. Raises `UserError` where there is none."""
        path = Path(path)
        record = cls._read(path)
        return cls(path, record["what"], record)

    @staticmethod
    def _read(path: Path) -> dict[str, Any]:
        try:
            record = json.loads((path / "run.json").read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise UserError(f"{path} is not a run folder: it has no run.json") from error
        except (OSError, ValueError) as error:
            raise UserError(f"{path}/run.json cannot be read: {error}") from error
        if not isinstance(record, dict) or "what" not in record:
            raise UserError(f"{path}/run.json does not describe a run")
        return record

    @cached_property
    def journal(self) -> Journal:
        return Journal(self.path / "journal.sqlite")

    def load_json(self, name: str) -> Any:
        """One of the run's JSON results. Raises `UserError` where the run has not got that far."""
        try:
            return json.loads((self.path / name).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise UserError(f"{self.path} has no {name}: the run did not finish; start it again to resume") from error
        except ValueError as error:
            raise UserError(f"{self.path / name} is not readable JSON: {error}") from error

    @contextmanager
    def running(self) -> Iterator["RunFolder"]:
        """Keep `state` and `run.log` while work goes on: finished, partly failed, interrupted or failed at the end.

        A new run that a user's mistake ends before anything was done or written leaves nothing behind, so that the mistake
        can be mended and the same folder given again. One that is ended later keeps what was done, and `reached`, the extent
        of the last start that ended well: what went wrong may be left out of the next.
        """
        _ = self.journal
        handler = logging.FileHandler(self.path / "run.log", encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger = logging.getLogger("personascope")
        logger.addHandler(handler)
        _enter(handler, f"{self.what} of {self.record['model'].get('model', 'no model')} starts")
        state, is_void = "failed", False
        try:
            yield self
            state = "partly failed" if self._is_partial else "finished"
        except KeyboardInterrupt:
            state = "interrupted"
            raise
        except UserError:
            is_void = self._is_new and not len(self.journal) and not _others(self.path)
            self.record["reached"] = self._reached
            raise
        finally:
            _enter(handler, f"ends: {state}")
            logger.removeHandler(handler)
            handler.close()
            if "journal" in self.__dict__:
                self.journal.close()
                del self.__dict__["journal"]
            if is_void:
                self._clear()
            else:
                self.record |= {"state": state, "ended": _now()}
                write_json(self.path / "run.json", self.record)

    def lacks(self, failed: Mapping[str, str], came: Mapping[str, Any] | None) -> None:
        """Enter what of the run failed, each part with its reason. The next start may leave it out, and not `came`, the
        extent of what came of the rest; None where nothing did."""
        self._is_partial = True
        self.record |= {"failed": dict(failed), "reached": self._reached if came is None else dict(came)}

    def _clear(self) -> None:
        """Take away what opening put there, and the folder."""
        for name in _OPENED:
            (self.path / name).unlink(missing_ok=True)
        with suppress(OSError):
            self.path.rmdir()


def _others(path: Path) -> set[str]:
    """What a folder holds beside what opening a run puts there."""
    return {file.name for file in path.iterdir()} - set(_OPENED)


def _enter(handler: logging.Handler, said: str) -> None:
    """A line of the run's own log, and of nobody else's."""
    handler.handle(logging.makeLogRecord({"levelno": logging.INFO, "levelname": "INFO", "msg": said}))


def _refuse_nonfinite(asked: Mapping[str, Any]) -> None:
    for name, value in asked.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{name}={value} is not a number to run with; give a finite one")


def _refuse_another(path: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    before, now = (
        {
            "what": run["what"],
            "seed": run.get("seed"),
            **run.get("config", {}).get("identity", {}),
            **{f"model {key}" if key != "model" else key: value for key, value in run.get("model", {}).items()},
        }
        for run in (old, new)
    )
    if old["what"] != new["what"]:
        raise UserError(f"{path} holds a run of `personascope {old['what']}`; give another --out")
    differing = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    if differing:
        changes = "; ".join(
            f"{key} was {_short(before.get(key))} and is {_short(now.get(key))}" for key in differing[:3]
        )
        raise UserError(f"{path} holds another run ({changes}); give another --out, or the same settings to resume")


def _reached(old: Mapping[str, Any]) -> Mapping[str, Any]:
    """The extent that must not be left out; none of what a user's mistake ended."""
    return old.get("reached", old.get("config", {}).get("extent", {}))


def _refuse_less(path: Path, reached: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """What a run was asked for may grow; what it has must not be left out."""
    for key, before in reached.items():
        now = new["config"]["extent"].get(key)
        if isinstance(before, list):
            gone = [one for one in before if one not in (now or [])]
            if gone:
                raise UserError(
                    f"{path} already has {key} that are left out now ({_short(_said(gone[0]))}"
                    f"{' and more' if len(gone) > 1 else ''}); name them too, or give another --out"
                )
        elif before is None and isinstance(now, int):
            raise UserError(
                f"{path} already has all {key}, more than {now}; leave the option out, or give another --out"
            )
        elif isinstance(before, int) and isinstance(now, int) and now < before:
            raise UserError(
                f"{path} already has {key}={before}, more than {now}; ask for as many, or give another --out"
            )


def _said(one: Any) -> Any:
    """What an entry of an extent says: of a prompt with its response the prompt, of a chat its last message."""
    while isinstance(one, list | dict) and one:
        is_chat = isinstance(one, list) and all(isinstance(part, dict) for part in one)
        one = one.get("content", "") if isinstance(one, dict) else one[-1 if is_chat else 0]
    return one


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _VERSIONED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
