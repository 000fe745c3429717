"""How far a sweep is: counts, the time left, a line a unit off a terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from steer_utils.runs import status as sweep_status
from steer_utils.runs.executors import Outcome
from steer_utils.runs.status import Status, shown


def outcome(name: str = "one", **given: object) -> Outcome:
    return Outcome({"name": name}, **given)  # type: ignore[arg-type]


def test_units_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 100.0])
    monkeypatch.setattr(sweep_status.time, "monotonic", lambda: next(clock))
    status = Status(total=10, there=2, workers=3)
    assert (status.left, status.running, status.mean(), status.time_left()) == (8, 3, "-", "-")
    status.add(outcome(value={"overlap": 0.5}, seconds=2.0))
    status.add(outcome("two", value={"overlap": 0.7}))
    status.add(outcome("three", error="OSError: full"))
    status.add(outcome("four", lost=True))
    assert (status.ran, status.failed, status.lost, status.left, status.running) == (2, 1, 1, 4, 3)
    assert status.mean() == "60.0 %"
    assert status.time_left() == "2 min"  # three ended in 100 s, four are left


@pytest.mark.parametrize(
    ("seconds", "words"), [(5, "5 s"), (89, "89 s"), (91, "2 min"), (5340, "89 min"), (7200, "2.0 h")]
)
def test_durations_are_read_at_a_glance(seconds: float, words: str) -> None:
    assert sweep_status._duration(seconds) == words


def test_off_a_terminal_each_unit_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    status = Status(total=3, there=1, workers=1)
    with shown(status) as count:
        count(outcome(value={"overlap": 0.5}, seconds=2.0))
        count(outcome("two", error="OSError: full"))
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("one: 2.0 s (2 of 3 done, 0 failed, best so far 50.0 %, about ")
    assert second == "two: failed: OSError: full (2 of 3 done, 1 failed)"


def test_a_lost_unit_is_not_called_failed(capsys: pytest.CaptureFixture[str]) -> None:
    with shown(Status(total=1, there=0, workers=1)) as count:
        count(outcome(lost=True))
    assert capsys.readouterr().err == "one: not run (0 of 1 done, 0 failed)\n"


def test_the_table_holds_the_same_and_the_dashboard() -> None:
    status = Status(total=4, there=1, workers=2, dashboard="http://host:8787/status")
    status.add(outcome(value={"overlap": 0.25}))
    screen = io.StringIO()
    Console(file=screen, width=100).print(status.table())
    for words in ("2 of 4 (1 of them before)", "25.0 %", "http://host:8787/status", "one: 0.0 s"):
        assert words in screen.getvalue()
    plain = io.StringIO()
    Console(file=plain, width=100).print(Status(4, 0, 2).table())
    assert "dashboard" not in plain.getvalue() and "before" not in plain.getvalue()
