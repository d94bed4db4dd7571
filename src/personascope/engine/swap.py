"""A function of another library that a thread sees as ours for a while."""

import threading
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

State = TypeVar("State")


class Swap(Generic[State]):
    """Calls of the function `name` in `where`, by a thread that is `on`, are calls of `ours`: with the real function, the
    thread's state and the call's arguments. Other threads see the real one."""

    def __init__(self, where: MutableMapping[str, Any], name: str, ours: Callable[..., Any]) -> None:
        self._where, self._name, self._ours, self._real = where, name, ours, where[name]
        self._lock, self._inside, self._here = threading.Lock(), 0, threading.local()
        self._mine = self._call

    @contextmanager
    def on(self, state: State) -> Iterator[None]:
        before: State | None = getattr(self._here, "state", None)
        with self._lock:
            # Threads may be inside together: the first puts ours in place, the last puts back what was there, unless
            # somebody has put something else there meanwhile.
            if self._where[self._name] is not self._mine:
                self._real, self._where[self._name] = self._where[self._name], self._mine
            self._inside += 1
        self._here.state = state
        try:
            yield
        finally:
            self._here.state = before
            with self._lock:
                self._inside -= 1
                if not self._inside and self._where[self._name] is self._mine:
                    self._where[self._name] = self._real

    def _call(self, *args: Any, **settings: Any) -> Any:
        state: State | None = getattr(self._here, "state", None)
        return self._real(*args, **settings) if state is None else self._ours(self._real, state, *args, **settings)
