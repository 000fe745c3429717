"""Latest: one at a time, nothing stale waits, the last request is always worked out, errors arrive, nothing hangs."""

from __future__ import annotations

import gc
import logging
import threading
import time
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steer_utils.show.widgets.latest import Latest


class Log:
    """What was worked on and delivered, with an optional gate that holds the work up."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.done: list[tuple[int, int]] = []
        self.failed: list[tuple[int, str]] = []
        self.at_once = self.most = 0
        self.gate = threading.Event()
        self.gate.set()
        self.started = threading.Event()

    def work(self, value: int) -> int:
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        self.begun.append(value)
        self.started.set()
        self.gate.wait(5)
        self.at_once -= 1
        if value < 0:
            raise ValueError(f"{value} is negative")
        return value * value

    def latest(self) -> Latest[int, int]:
        return Latest(
            self.work,
            done=lambda value, result: self.done.append((value, result)),
            failed=lambda value, error: self.failed.append((value, str(error))),
        )


def held_up() -> tuple[Log, Latest[int, int]]:
    """Work on 1 has begun, and goes on when the gate is opened."""
    log = Log()
    log.gate.clear()
    latest = log.latest()
    latest.submit(1)
    assert log.started.wait(5)
    return log, latest


def test_requests_that_arrive_meanwhile_replace_each_other() -> None:
    log, latest = held_up()
    for value in (2, 3, 4, 5):
        latest.submit(value)
    assert latest.waiting and log.begun == [1]
    log.gate.set()
    assert latest.wait(5)
    assert log.begun == [1, 5]
    assert log.done == [(1, 1), (5, 25)] and not latest.waiting


def test_submit_returns_at_once() -> None:
    log = Log()
    log.gate.clear()
    latest = log.latest()
    begin = time.perf_counter()
    for value in range(50):
        latest.submit(value)
    assert time.perf_counter() - begin < 1 and log.done == []
    log.gate.set()
    assert latest.wait(5)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 30), st.sampled_from([0.0, 0.0, 0.001, 0.003])), min_size=1, max_size=25))
def test_whatever_is_asked_and_when(requests: list[tuple[int, float]]) -> None:
    log = Log()
    seen: list[int] = []

    def slow(value: tuple[int, int]) -> int:
        seen.append(value[0])
        time.sleep(0.001)
        return log.work(value[1])

    delivered: list[int] = []
    most = 0
    latest: Latest[tuple[int, int], int] = Latest(
        slow, done=lambda value, _: delivered.append(value[0]), failed=lambda value, _: delivered.append(value[0])
    )
    for number, (value, pause) in enumerate(requests):
        latest.submit((number, value))
        most = max(most, len(latest._waiting))
        time.sleep(pause)
    assert latest.wait(10)
    latest.close()
    assert most <= 1 and log.most == 1
    assert seen == delivered  # what was worked on was delivered in that order, and nothing that was replaced
    assert seen == sorted(set(seen)) and seen[-1] == len(requests) - 1


def test_an_error_is_delivered_and_the_next_request_runs() -> None:
    log = Log()
    latest = log.latest()
    latest.submit(-2)
    assert latest.wait(5)
    latest.submit(3)
    assert latest.wait(5)
    assert log.failed == [(-2, "-2 is negative")] and log.done == [(3, 9)]


def test_an_error_of_showing_is_delivered_too() -> None:
    told: list[str] = []

    def show(value: int, result: int) -> None:
        raise OSError("the screen is gone")

    latest = Latest(lambda value: value, done=show, failed=lambda value, error: told.append(str(error)))
    latest.submit(1)
    assert latest.wait(5) and told == ["the screen is gone"]


def test_an_error_of_the_last_resort_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def broken(value: int, error: Exception) -> None:
        raise OSError("no line to write on")

    shown: list[int] = []
    latest = Latest(lambda value: 1 // value, done=lambda value, result: shown.append(result), failed=broken)
    with caplog.at_level(logging.ERROR):
        latest.submit(0)
        assert latest.wait(5)
    assert "could not deliver" in caplog.text
    latest.submit(1)
    assert latest.wait(5) and shown == [1]


def test_close_drops_what_waits_and_refuses_more() -> None:
    log, latest = held_up()
    latest.submit(2)
    latest.close()
    latest.close()
    with pytest.raises(RuntimeError, match="closed"):
        latest.submit(3)
    log.gate.set()
    assert latest.wait(5)
    assert log.done == [(1, 1)]


def test_wait_gives_up_and_refuses_to_wait_for_itself() -> None:
    log, latest = held_up()
    assert not latest.wait(0.01)
    log.gate.set()
    assert latest.wait(5)

    told: list[str] = []
    inside: Latest[int, bool] = Latest(
        lambda value: inside.wait(5), done=lambda *_: None, failed=lambda _, error: told.append(str(error))
    )
    inside.submit(1)
    assert inside.wait(5) and "wait for the request" in told[0]


def test_the_thread_ends_with_its_owner() -> None:
    log = Log()
    latest = log.latest()
    latest.submit(1)
    assert latest.wait(5)
    thread = latest._thread
    assert thread is not None and thread is not threading.current_thread()
    gone = weakref.ref(latest)
    del latest
    gc.collect()
    thread.join(5)
    assert gone() is None and not thread.is_alive()
