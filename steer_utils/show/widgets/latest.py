"""Only the newest request counts: what a slider asks for while an earlier answer is being worked out.

    latest = Latest(explore, done=show, failed=say)
    latest.submit(choice)          # returns at once; `show(choice, result)` is called from the worker's thread

One request runs at a time. Those that arrive meanwhile replace each other, so at most one is waiting and nothing stale
is ever worked on. A request that has begun is finished and delivered: a long drag shows its steps.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

logger = logging.getLogger(__name__)


class Latest(Generic[T, R]):
    """Runs `work` on the newest value submitted, in one thread of its own.

    `done(value, result)` gets each result, `failed(value, error)` each exception (of `done` too), in the order of the
    requests and from the worker's thread. The thread ends with `close`, or when nobody holds this object any more.
    """

    def __init__(
        self,
        work: Callable[[T], R],
        *,
        done: Callable[[T, R], None],
        failed: Callable[[T, Exception], None],
    ) -> None:
        self._work, self._done, self._failed = work, done, failed
        self._waiting: list[T] = []  # empty, or the one request that will run next
        self._running = False
        self._closed = False
        self._thread: threading.Thread | None = None  # the worker's, once it has run
        self._state = threading.Condition()
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="latest")

    def __repr__(self) -> str:
        state = "closed" if self._closed else "running" if self._running else "idle"
        return f"Latest({state}, {len(self._waiting)} waiting)"

    @property
    def waiting(self) -> bool:
        """Whether a request waits for the one that runs: what a callback delivers is then not the last word."""
        with self._state:
            return bool(self._waiting)

    def submit(self, value: T) -> None:
        """Ask for `value`, in place of a request that still waits. Returns at once; RuntimeError after `close`."""
        with self._state:
            if self._closed:
                raise RuntimeError("this Latest is closed; make another one")
            self._waiting = [value]
            if not self._running:
                self._running = True
                self._worker.submit(self._run)

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until nothing runs or waits; False if that takes longer than `seconds`.

        Raises RuntimeError when called by a callback, which would wait for itself.
        """
        if threading.current_thread() is self._thread:
            raise RuntimeError("a callback cannot wait for the request that it is part of")
        with self._state:
            return self._state.wait_for(lambda: not self._running, seconds)

    def close(self) -> None:
        """Drop the request that waits; the one that runs is finished. Closing twice does nothing."""
        with self._state:
            self._closed = True
            self._waiting = []
        self._worker.shutdown(wait=False)

    def _run(self) -> None:
        """Work until nothing waits; runs in the worker's thread."""
        self._thread = threading.current_thread()
        while True:
            with self._state:
                if not self._waiting:
                    self._running = False
                    self._state.notify_all()
                    return
                value = self._waiting.pop()
            try:
                self._done(value, self._work(value))
            except Exception as error:
                self._tell(value, error)

    def _tell(self, value: T, error: Exception) -> None:
        try:
            self._failed(value, error)
        except Exception:  # there is nobody left to tell; the next request must run all the same
            logger.exception("could not deliver the error %r", error)
