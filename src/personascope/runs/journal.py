"""The journal of a run: one row per finished cell, committed as it finishes."""

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from personascope.errors import UserError


def cell_key(**parts: Any) -> str:
    """A hash of everything that determines a cell. Parts are plain values; their order does not matter."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


class Journal:
    """Finished cells by key. A cell is in once and for good; one process writes.

    Survives being killed at any moment: a cell is either in, whole, or not there. Raises `UserError` where another
    process holds the journal, or where the file is not one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._database = sqlite3.connect(path, isolation_level=None, timeout=1.0)
            self._database.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=FULL")
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS cells (key TEXT PRIMARY KEY, kind TEXT NOT NULL, value TEXT NOT NULL, "
                "finished TEXT NOT NULL DEFAULT (datetime('now')))"
            )
        except sqlite3.OperationalError as error:
            raise UserError(
                f"{path} is in use by another process or cannot be written ({error}); wait for it to end"
            ) from error
        except sqlite3.DatabaseError as error:
            raise UserError(f"{path} is not a journal: {error}; give another run folder") from error

    def __contains__(self, key: str) -> bool:
        return self._database.execute("SELECT 1 FROM cells WHERE key = ?", (key,)).fetchone() is not None

    def __len__(self) -> int:
        return int(self._database.execute("SELECT COUNT(*) FROM cells").fetchone()[0])

    def get(self, key: str) -> Any:
        """The value of a finished cell, None if it is not in."""
        row = self._database.execute("SELECT value FROM cells WHERE key = ?", (key,)).fetchone()
        return json.loads(row[0]) if row else None

    def put(self, key: str, kind: str, value: Any) -> None:
        """Enter a cell. A cell that is in already stays as it is."""
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        self._database.execute("INSERT OR IGNORE INTO cells (key, kind, value) VALUES (?, ?, ?)", (key, kind, text))

    def once(self, key: str, kind: str, make: Callable[[], Any]) -> Any:
        """The value of a cell, made and entered if it is not in."""
        if key not in self:
            self.put(key, kind, make())
        return self.get(key)

    def put_all(self, kind: str, cells: Mapping[str, Any]) -> None:
        """Enter cells that are done together: all of them, or none if the process dies."""
        rows = [(key, kind, json.dumps(value, ensure_ascii=False, allow_nan=False)) for key, value in cells.items()]
        self._database.execute("BEGIN")
        self._database.executemany("INSERT OR IGNORE INTO cells (key, kind, value) VALUES (?, ?, ?)", rows)
        self._database.execute("COMMIT")

    def drop(self, key: str) -> None:
        """Forget a cell whose shard is lost, so that it can be entered again."""
        self._database.execute("DELETE FROM cells WHERE key = ?", (key,))

    def cells(self, kind: str) -> Iterator[tuple[str, Any]]:
        """All finished cells of a kind, in the order they finished."""
        for key, value in self._database.execute("SELECT key, value FROM cells WHERE kind = ? ORDER BY rowid", (kind,)):
            yield key, json.loads(value)

    def close(self) -> None:
        self._database.close()
