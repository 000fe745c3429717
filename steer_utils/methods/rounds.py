"""Methods that share their model calls: each says in rounds what it wants read, and all of a round is read at once.

A model call reads all weights, however few rows it has, and rows with one prompt share its tokens. So thirty rows in
one call take little longer than one. A method that needs the model is a generator: it yields the rows of a round,
gets their readings (or answers) back, and returns what it makes of them. Tasks may be about several audios.

    @in_rounds
    def prompting(hearing, query, settings):
        (reading,) = yield [Read(hearing, Row(settings.focus(query.event)))]
        return localise(reading.attention.curve(settings.prompt_blocks), hearing, query)

    prompting(hearing, query, settings)                                  # alone: a plain call
    together([prompting.steps(hearing, query, settings) for query in queries])   # all in one call of the model

One such function takes another's steps over with `yield from other.steps(...)`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, TypeVar

from steer_utils.lm.hearing import Shown, read_together
from steer_utils.lm.plan import Row

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Read:
    """A row to be read behind one audio: a `Reading` comes back."""

    hearing: Shown
    row: Row


@dataclass(frozen=True, eq=False)
class Answer:
    """A row to be answered behind one audio: the model's answer comes back, a string."""

    hearing: Shown
    row: Row


#: Yields what one round wants, gets a list as long back, returns a result.
Steps = Generator[Sequence[Read | Answer], list[Any], T]


class InRounds(Generic[P, T]):
    """A function written as steps. Called, it runs alone; its `steps` run `together` with those of others."""

    def __init__(self, steps: Callable[P, Steps[T]]) -> None:
        self.steps = steps
        functools.update_wrapper(self, steps)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        (result,) = together([self.steps(*args, **kwargs)])
        return result


def in_rounds(steps: Callable[P, Steps[T]]) -> InRounds[P, T]:
    """Make a plain function of a generator function that yields lists of `Read` and `Answer`."""
    return InRounds(steps)


def together(tasks: Iterable[Steps[T]], *, joined: bool = False) -> list[T]:
    """Run all tasks, round by round; the result of each, in order.

    Cost: a round makes one call of `Hearing.read_rows` and one of `Hearing.answers` for each audio that it names.
    `joined`: one of `read_together` for all audios that one model has heard; the rounding of a reading then hangs on
    what is read beside it. Readings of a round are held until all tasks have had theirs. An error ends all of them.
    """
    running = dict(enumerate(tasks))
    results: dict[int, T] = {}
    replies: dict[int, list[Any] | None] = dict.fromkeys(running)
    while running:
        wanted: dict[int, Sequence[Read | Answer]] = {}
        for number, task in list(running.items()):
            try:
                reply = replies.pop(number)
                wanted[number] = next(task) if reply is None else task.send(reply)
            except StopIteration as finished:
                results[number] = finished.value
                del running[number]
        served = iter(_served([request for requests in wanted.values() for request in requests], joined))
        replies = {number: [next(served) for _ in requests] for number, requests in wanted.items()}
    return [results[number] for number in sorted(results)]


def _served(requests: Sequence[Read | Answer], joined: bool) -> list[Any]:
    """What comes back for each request; those of one kind about one audio run together, readings `joined` all."""
    groups: dict[tuple[int, type], dict[int, list[int]]] = {}  # of each call: the places of each audio's requests
    for place, request in enumerate(requests):
        audio, kind = id(request.hearing), type(request)
        call = id(request.hearing.checkpoint) if joined and kind is Read else audio
        groups.setdefault((call, kind), {}).setdefault(audio, []).append(place)
    replies: dict[int, Any] = {}
    for (_, kind), audios in groups.items():
        asked = [(requests[places[0]].hearing, [requests[place].row for place in places]) for places in audios.values()]
        several: Sequence[Sequence[Any]]
        if kind is Answer:
            several = [hearing.answers(rows) for hearing, rows in asked]
        else:
            several = read_together(asked) if joined else [hearing.read_rows(rows) for hearing, rows in asked]
        for places, part in zip(audios.values(), several, strict=True):
            replies.update(zip(places, part, strict=True))
    return [replies[place] for place in range(len(requests))]
