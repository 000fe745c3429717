"""Scenes that are less kind than three clear events apart from each other: each way of being so has a name.

maker = CONDITIONS["bed -5 dB"].maker(three_event_maker(names, longest=8.0))
scene = maker.scene(0, seed=7)                                   # three events 5 dB below a bed of noise
"""

from __future__ import annotations

from dataclasses import dataclass

from steer_utils.sound.scenemaker import SceneMaker

BRIEF = (0.075, 0.1375)  # of the scene: six events fit (0.6 to 1.1 s of 8 s)
TINY = (0.04, 0.09)  # 0.32 to 0.72 s of 8 s


@dataclass(frozen=True)
class Condition:
    """How scenes differ from the benchmark's own, from which they take names, recordings and what is not said here.

    name     as users ask for it
    words    what it is, for lists and figures' alt text
    events   how many events sound
    share    range of an event's duration as a share of the scene's; None: as in the benchmark
    bed_db, overlap, twice   as `SceneMaker` takes them
    seconds  duration of a scene; None: as in the benchmark
    """

    name: str
    words: str
    events: int = 3
    share: tuple[float, float] | None = None
    bed_db: float | None = None
    overlap: float = 0.0
    twice: bool = False
    seconds: float | None = None

    def maker(self, plain: SceneMaker) -> SceneMaker:
        """What makes such scenes, out of the maker of the benchmark's own. Raises ValueError where they do not fit."""
        longest, (low, high) = plain.seconds[1], self.share or (None, 1.0)
        return SceneMaker(
            plain.names,
            clips=plain.clips,
            seconds=plain.seconds if self.seconds is None else self.seconds,
            events=(self.events, self.events),
            event_seconds=plain.event_seconds if low is None else (low * longest, high * longest),
            min_gap=plain.min_gap,
            noise_db=plain.noise_db,
            recordings=plain.recordings,
            bed_db=self.bed_db,
            overlap=self.overlap,
            twice=self.twice,
        )


PLAIN = "plain"
CONDITIONS: dict[str, Condition] = {
    condition.name: condition
    for condition in (
        Condition(PLAIN, "three events apart from each other, as in the benchmark"),
        Condition("bed 10 dB", "three events 10 dB above a background bed of noise", bed_db=10.0),
        Condition("bed 0 dB", "three events as loud as a background bed of noise", bed_db=0.0),
        Condition("bed -5 dB", "three events 5 dB below a background bed of noise", bed_db=-5.0),
        Condition("overlapping", "three events, each beginning before the one before it ends", overlap=0.5),
        Condition("2 brief events", "two brief events", 2, BRIEF),
        Condition("3 brief events", "three brief events", 3, BRIEF),
        Condition("4 brief events", "four brief events", 4, BRIEF),
        Condition("5 brief events", "five brief events", 5, BRIEF),
        Condition("6 brief events", "six brief events", 6, BRIEF),
        Condition("under 10 %", "one event alone, shorter than a tenth of the audio", 1, TINY),
        Condition("twice", "three events, two of them of the same class, which is asked for", twice=True),
        Condition("20 s", "three events in 20 s", seconds=20.0),
        Condition("60 s", "three events in 60 s", seconds=60.0),
    )
}


def condition_named(name: str) -> Condition:
    """One of CONDITIONS. Raises ValueError for another name."""
    if name not in CONDITIONS:
        raise ValueError(f"there are no scenes called {name!r}; pass one of {', '.join(CONDITIONS)}")
    return CONDITIONS[name]
