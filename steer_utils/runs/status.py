"""How far a sweep is, on stderr: a table that stays in its place on a terminal, else a line a unit."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from steer_utils.runs.executors import Outcome

if TYPE_CHECKING:
    from rich.table import Table


class Status:
    """Counts the outcomes of a sweep of `total` units, `there` of which were finished before, run by `workers`."""

    def __init__(self, total: int, there: int, workers: int, dashboard: str = "") -> None:
        self.total, self.there, self.workers, self.dashboard = total, there, workers, dashboard
        self.ran = self.failed = self.lost = 0
        self.overlaps: list[float] = []
        self.last = ""
        self._start = time.monotonic()

    def add(self, outcome: Outcome) -> None:
        """Count one more outcome."""
        self.ran += outcome.done
        self.failed += bool(outcome.error)
        self.lost += outcome.lost
        value = outcome.value.get("overlap") if isinstance(outcome.value, dict) else None
        if value is not None:
            self.overlaps.append(float(value))
        ended = f"failed: {outcome.error}" if outcome.error else f"{outcome.seconds:.1f} s"
        self.last = f"{outcome.unit['name']}: {'not run' if outcome.lost else ended}"

    @property
    def left(self) -> int:
        """Units that have no outcome yet."""
        return self.total - self.there - self.ran - self.failed - self.lost

    @property
    def running(self) -> int:
        """Units that are being done, if every worker has one."""
        return min(self.workers, self.left)

    def mean(self) -> str:
        """Mean over the units of this run of their best point's overlap on the development scenes."""
        return f"{100 * sum(self.overlaps) / len(self.overlaps):.1f} %" if self.overlaps else "-"

    def time_left(self) -> str:
        """From the rate so far; a dash before the first unit ends."""
        ended = self.ran + self.failed
        return _duration((time.monotonic() - self._start) / ended * self.left) if ended else "-"

    def line(self) -> str:
        """The outcome that came last, and where the sweep is."""
        done = self.there + self.ran
        ended = f"{self.last} ({done} of {self.total} done, {self.failed} failed"
        return f"{ended}, best so far {self.mean()}, about {self.time_left()} left)" if self.left else f"{ended})"

    def table(self) -> Table:
        """The same as a table of rich."""
        from rich.table import Table

        grid = Table.grid(padding=(0, 2))
        there = f" ({self.there} of them before)" if self.there else ""
        rows: dict[str, Any] = {
            "done": f"{self.there + self.ran} of {self.total}{there}",
            "running": self.running,
            "failed": self.failed,
            "best setting so far": f"{self.mean()} (mean over units, development classes)" if self.overlaps else "-",
            "time left": self.time_left(),
            "last": self.last or "-",
            **({"dashboard": self.dashboard} if self.dashboard else {}),
        }
        for name, value in rows.items():
            grid.add_row(name, str(value))
        return grid


@contextmanager
def shown(status: Status) -> Iterator[Callable[[Outcome], None]]:
    """Show the status while the block runs; call what this yields with each outcome."""
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    if console.is_terminal:
        with Live(get_renderable=status.table, console=console, refresh_per_second=2):
            yield status.add
        return

    def count_and_print(outcome: Outcome) -> None:
        status.add(outcome)
        print(status.line(), file=sys.stderr, flush=True)

    yield count_and_print


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
