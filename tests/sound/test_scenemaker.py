"""Making scenes: exact ground truth, balance and levels, one seed one scene, errors before any work."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from steer_utils.sound.measures import frame_rms
from steer_utils.sound.recordings import ClipBank
from steer_utils.sound.scenemaker import LOUDNESS, SceneMaker, SoundBank, three_event_maker
from steer_utils.sound.scenes import Event, Scene
from steer_utils.sound.sounds import RATE, SOUNDS
from steer_utils.sound.spans import Interval

NAMES = tuple(SOUNDS)
QUIET_NOISE = (-90.0, -90.0)


@pytest.fixture(scope="module")
def bank() -> SoundBank:
    return SoundBank(per=3, seed=0, seconds=2.4)


@pytest.fixture(scope="module")
def maker(bank: SoundBank) -> SceneMaker:
    return SceneMaker(NAMES, bank=bank)


@pytest.fixture
def clips(tmp_path: Path) -> ClipBank:
    rng = np.random.default_rng(0)
    for name in ("one", "two"):
        soundfile.write(tmp_path / f"{name}.wav", 0.1 * rng.standard_normal(3 * RATE), RATE)
    (tmp_path / "t.csv").write_text("filename,category\none.wav,rain\ntwo.wav,sea_waves\n")
    return ClipBank.read(tmp_path)


def design(maker: SceneMaker, count: int, seed: int) -> list[tuple[str, ...]]:
    """The names of the scenes that `balanced` makes, without making them."""
    return [maker.names_of(index, seed) for index in range(count)]


def equal(first: Scene, second: Scene) -> bool:
    return first.events == second.events and np.array_equal(first.samples, second.samples)


# Ground truth ----------------------------------------------------------------------------------------------------


def test_sound_is_inside_the_spans_and_nowhere_else() -> None:
    for seed in range(20):
        scene = SceneMaker(NAMES, noise_db=QUIET_NOISE).make(seed)
        inside = np.zeros(len(scene.samples), dtype=bool)
        for event in scene.events:
            first, stop = round(event.span.start * RATE), round(event.span.end * RATE)
            inside[first:stop] = True
            assert np.abs(scene.samples[first:stop]).max() > 0.1
            # the span is tight: something sounds within 0.45 s of either edge
            assert np.abs(scene.samples[first : first + int(0.45 * RATE)]).max() > 1e-3
            assert np.abs(scene.samples[stop - int(0.45 * RATE) : stop]).max() > 1e-3
        assert np.abs(scene.samples[~inside]).max() < 1e-3
        assert np.sum(scene.samples[inside] ** 2) > 1e4 * np.sum(scene.samples[~inside] ** 2)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    low=st.integers(1, 4),
    more=st.integers(0, 2),
    gap=st.floats(0, 0.3),
    shortest=st.floats(0.2, 0.9),
    seconds=st.floats(7.0, 12.0),
)
def test_events_fit_in_order_with_their_gaps(
    bank: SoundBank, seed: int, low: int, more: int, gap: float, shortest: float, seconds: float
) -> None:
    lengths = {"event_seconds": (shortest, 2.4), "seconds": (seconds, seconds + 1)}
    maker = SceneMaker(NAMES, bank=bank, events=(low, low + more), min_gap=gap, **lengths)
    scene = maker.make(seed)
    tolerance = 5 / RATE
    assert low <= len(scene.events) <= low + more
    assert len(set(scene.names)) == len(scene.names)
    assert seconds - tolerance <= scene.duration <= seconds + 1 + tolerance
    assert scene.events[0].span.start >= 0
    assert scene.events[-1].span.end <= scene.duration + 1e-9
    for earlier, later in itertools.pairwise(scene.events):
        assert later.span.start - earlier.span.end >= gap - tolerance
    for event in scene.events:
        assert shortest - tolerance <= event.span.duration <= 2.4 + tolerance
    assert scene.samples.dtype == np.float32
    assert np.abs(scene.samples).max() <= 1.0


def test_a_scene_that_just_fits_is_made(bank: SoundBank) -> None:
    scene = SceneMaker(NAMES, bank=bank, seconds=4.0, event_seconds=(1.2, 2.0), min_gap=0.2).make(0)
    assert [event.span.duration for event in scene.events] == pytest.approx([1.2] * 3, abs=1e-3)


def test_labels_are_what_sounds() -> None:
    maker = SceneMaker(NAMES, noise_db=QUIET_NOISE)
    seen: Counter[tuple[str, str]] = Counter()
    for seed in range(60):
        for event in (scene := maker.make(seed)).events:
            part = scene.samples[round(event.span.start * RATE) : round(event.span.end * RATE)]
            low, high = LOUDNESS[str(event.loudness)]
            assert low - 0.05 <= 20 * np.log10(np.abs(part).max()) <= high + 0.05
            assert event.source == "procedural"
            seen[str(event.pitch), str(event.loudness)] += 1
    assert set(seen) == set(itertools.product(("low", "high"), ("loud", "quiet")))
    assert min(seen.values()) > 25  # 45 expected of each


@pytest.mark.parametrize("level", [-55.0, -36.0])
def test_noise_has_its_level_and_fills_the_scene(level: float, bank: SoundBank) -> None:
    for seed in range(5):
        scene = SceneMaker(NAMES, bank=bank, noise_db=(level, level), events=(1, 1)).make(seed)
        (event,) = scene.events
        first, stop = round(event.span.start * RATE), round(event.span.end * RATE)
        outside = np.concatenate([scene.samples[:first], scene.samples[stop:]])
        assert 20 * np.log10(np.sqrt(np.mean(outside**2))) == pytest.approx(level, abs=0.5)
        assert frame_rms(outside, RATE // 10)[:-1].min() > 0


def test_gaps_differ_from_scene_to_scene(maker: SceneMaker) -> None:
    starts = np.array([[event.span.start for event in maker.make(seed).events] for seed in range(40)])
    assert starts.std(axis=0).min() > 0.3
    assert starts[:, 0].min() < 0.3
    assert max(maker.make(seed).events[-1].span.end for seed in range(40)) > 7.7


# Determinism and balance -----------------------------------------------------------------------------------------


def test_one_seed_one_scene(maker: SceneMaker) -> None:
    assert equal(maker.make(5), maker.make(5))
    assert equal(maker.make(5), maker.make(np.random.default_rng(5)))
    assert not equal(maker.make(5), maker.make(6))
    assert maker.make(5).seed == 5
    assert maker.make(np.random.default_rng(5)).seed is None


@pytest.mark.parametrize("names", [("siren", "bell", "rain"), ("drum", "siren")])
def test_make_with_keeps_the_order(maker: SceneMaker, names: tuple[str, ...]) -> None:
    assert maker.make_with(names, 0).names == names


def test_a_scene_of_the_design_can_be_made_alone(maker: SceneMaker) -> None:
    listed = list(maker.balanced(6, seed=3))
    assert equal(listed[4], maker.scene(4, seed=3))
    assert (listed[4].seed, listed[4].index) == (3, 4)
    assert not equal(listed[4], maker.scene(4, seed=4))
    assert design(maker, 6, seed=3) == [scene.names for scene in listed]


@pytest.mark.parametrize("blocks", [1, 5])
@pytest.mark.parametrize("count", [1, 3, 4])
def test_every_name_is_equally_often_in_every_slot(count: int, blocks: int) -> None:
    maker = SceneMaker(NAMES, events=(count, count), event_seconds=(0.5, 1.0))
    scenes = design(maker, blocks * len(NAMES), seed=1)
    for slot in range(count):
        assert Counter(names[slot] for names in scenes) == dict.fromkeys(NAMES, blocks)
    assert all(len(set(names)) == count for names in scenes)


@given(st.integers(1, 200), st.integers(0, 1000), st.sampled_from([3, 5, 14]))
def test_balance_is_exact_to_one_for_any_count(count: int, seed: int, size: int) -> None:
    scenes = design(SceneMaker(NAMES[:size]), count, seed)
    for slot in range(3):
        often = Counter(names[slot] for names in scenes)
        assert max(often.values()) - min(often.get(name, 0) for name in NAMES[:size]) <= 1


def test_designs_are_shuffled_and_pairs_vary() -> None:
    maker = SceneMaker(NAMES)
    assert design(maker, 14, 0) != design(maker, 14, 1)
    assert design(maker, 28, 0)[:14] != design(maker, 28, 0)[14:]
    pairs = Counter(names[:2] for names in design(maker, 14 * 50, 0))
    assert len(pairs) > 150  # of 182; one fixed cyclic shift would give 14


def test_numpy_global_state_is_left_alone(maker: SceneMaker) -> None:
    before = np.random.get_state()[1].copy()  # type: ignore[index,union-attr]
    maker.make(0)
    assert np.array_equal(before, np.random.get_state()[1])  # type: ignore[index]


# The bank and recordings -----------------------------------------------------------------------------------------


def test_bank_is_deterministic_whatever_the_order(bank: SoundBank) -> None:
    other = SoundBank(per=3, seed=0, seconds=2.4)
    other.take("drum", "low", 1.0, np.random.default_rng(9))
    cut = bank.take("siren", "high", 1.0, np.random.default_rng(1))
    assert np.array_equal(cut, other.take("siren", "high", 1.0, np.random.default_rng(1)))
    assert cut.shape == (RATE,)
    assert np.abs(cut).max() == pytest.approx(1.0)


@pytest.mark.parametrize("name", NAMES)
def test_short_cuts_of_the_bank_still_sound(bank: SoundBank, name: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        cut = bank.take(name, "low", 0.1, rng)
        assert np.isfinite(cut).all()
        assert np.abs(np.unique(cut)).max() == pytest.approx(1.0)
        assert len(np.unique(cut)) > 100  # more than the rounding of silence blown up


def test_bank_refuses_what_it_has_not(bank: SoundBank) -> None:
    with pytest.raises(ValueError, match=r"2\.4 s"):
        bank.take("siren", "low", 2.5, np.random.default_rng(0))
    with pytest.raises(ValueError, match="no procedural sound"):
        bank.take("cow", "low", 1.0, np.random.default_rng(0))
    with pytest.raises(ValueError, match="per"):
        SoundBank(per=0)
    with pytest.raises(ValueError, match="bank"):
        SceneMaker(NAMES, bank=bank, event_seconds=(1.0, 2.5))


def test_recordings_are_placed_and_named(clips: ClipBank) -> None:
    maker = SceneMaker(["rain", "sea waves", "bell"], clips=clips, noise_db=QUIET_NOISE)
    scene = maker.make_with(["sea waves", "bell", "rain"], 0)
    assert [event.source for event in scene.events] == ["two.wav", "procedural", "one.wav"]
    assert scene.event("sea waves").pitch is None
    assert scene.event("bell").pitch in ("low", "high")
    for event in scene.events:
        part = scene.samples[round(event.span.start * RATE) : round(event.span.end * RATE)]
        low, high = LOUDNESS[str(event.loudness)]
        assert low - 0.05 <= 20 * np.log10(np.abs(part).max()) <= high + 0.05


@pytest.mark.parametrize(("share", "low", "high"), [(0.0, 0, 0), (0.5, 10, 30), (1.0, 40, 40)])
def test_share_of_recordings(clips: ClipBank, share: float, low: int, high: int) -> None:
    maker = SceneMaker(["rain"], clips=clips, events=(1, 1), recordings=share)
    assert low <= sum(maker.make(seed).events[0].source != "procedural" for seed in range(40)) <= high


def test_category_without_a_procedural_twin_is_always_recorded(clips: ClipBank) -> None:
    maker = SceneMaker(["sea waves"], clips=clips, events=(1, 1), recordings=0.0, augment=True)
    assert maker.make(0).events[0].source == "two.wav"


@pytest.mark.recordings
def test_real_recordings_in_scenes(real_folder: str) -> None:
    bank = ClipBank.read(real_folder)
    few = ClipBank([clip for name in bank.categories for clip in bank.subset(categories=[name]).clips[:2]])
    maker = SceneMaker(few.categories, clips=few, recordings=1.0, events=(2, 2), noise_db=QUIET_NOISE)
    for scene in maker.balanced(len(few.categories), seed=0):
        inside = np.zeros(len(scene.samples), dtype=bool)
        for event in scene.events:
            assert event.source.endswith((".ogg", ".wav", ".flac", ".mp3"))
            inside[round(event.span.start * RATE) : round(event.span.end * RATE)] = True
        assert np.abs(scene.samples[~inside]).max() < 1e-3 < np.abs(scene.samples[inside]).max()


# Errors before work ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": ["siren", "cow", "bell"]}, "cannot make 'cow'.*siren"),
        ({"names": ["siren", "siren", "bell"]}, "twice"),
        ({"names": ["siren", "bell"]}, "distinct"),
        ({"names": []}, "distinct"),
        ({"seconds": 3.0}, "need 3.90 s"),
        ({"seconds": (3.0, 9.0)}, "need 3.90 s"),
        ({"seconds": 4.0, "min_gap": 0.3}, "need 4.20 s"),
        ({"seconds": float("nan")}, "seconds"),
        ({"seconds": (9.0, 8.0)}, "seconds"),
        ({"events": (0, 3)}, "events"),
        ({"events": (3, 2)}, "events"),
        ({"events": (5, 5)}, "need 6.60 s"),
        ({"event_seconds": (2.0, 1.0)}, "event_seconds"),
        ({"event_seconds": (0.01, 1.0)}, "event_seconds"),
        ({"event_seconds": (1.0, float("inf"))}, "event_seconds"),
        ({"noise_db": (-30.0, -60.0)}, "noise_db"),
        ({"min_gap": -0.1}, "min_gap"),
        ({"recordings": 1.5}, "probability"),
    ],
)
def test_impossible_scenes_are_refused_when_the_maker_is_made(options: dict, message: str) -> None:
    full = {"names": NAMES, "seconds": 6.0, **options}
    with pytest.raises(ValueError, match=message):
        SceneMaker(full.pop("names"), **full)


def test_misspelt_option_is_refused() -> None:
    with pytest.raises(TypeError, match="min_gaps"):
        SceneMaker(NAMES, min_gaps=0.1)  # type: ignore[call-arg]


def test_make_with_refuses_what_cannot_be(maker: SceneMaker) -> None:
    for names, message in ((["cow"], "cow"), ([], "distinct"), (["bell", "bell"], "distinct"), (NAMES[:7], "need")):
        with pytest.raises(ValueError, match=message):
            maker.make_with(names, 0)
    with pytest.raises(ValueError, match="negative"):
        maker.scene(-1, 0)


@pytest.mark.parametrize(
    ("longest", "seconds", "event"), [(8.0, 8.0, (1.2, 2.4)), (30.0, 17.0, (5.0, 5.0)), (600.0, 17.0, (5.0, 5.0))]
)
def test_scenes_of_three_events_fit_a_model_and_are_never_a_long_window(
    longest: float, seconds: float, event: tuple[float, float]
) -> None:
    maker = three_event_maker(("bell", "siren", "dog bark"), longest)
    assert (maker.seconds, maker.event_seconds, maker.events) == ((seconds, seconds), event, (3, 3))
    with pytest.raises(ValueError, match="distinct"):
        three_event_maker(("bell", "siren"), longest)


# Harder scenes ---------------------------------------------------------------------------------------------------


def mixed_as_before(maker: SceneMaker, names: tuple[str, ...], index: int, seed: int) -> Scene:
    """How scenes were put together before beds, overlaps and doubled names: the oracle of what must not change."""
    rng = np.random.default_rng([seed, index, 1])
    n = round(rng.uniform(*maker.seconds) * RATE)
    durations = maker._durations(len(names), n / RATE, rng)
    sounds = [maker._sound(name, seconds, rng) for name, seconds in zip(names, durations, strict=True)]
    track = maker._noise(n, rng)
    slack = n - sum(len(samples) for samples, *_ in sounds) - (len(sounds) - 1) * round(maker.min_gap * RATE)
    shares = rng.dirichlet(np.ones(len(sounds) + 1))
    events, position = [], 0
    for i, (name, (samples, pitch, source)) in enumerate(zip(names, sounds, strict=True)):
        position += int(shares[i] * max(slack, 0)) + (round(maker.min_gap * RATE) if i else 0)
        position = min(position, n - len(samples))
        loudness = ("loud", "quiet")[rng.integers(2)]
        gain = np.float32(10 ** (rng.uniform(*LOUDNESS[loudness]) / 20))
        track[position : position + len(samples)] += gain * samples
        span = Interval(position / RATE, (position + len(samples)) / RATE)
        events.append(Event(name, span, pitch, loudness, source))
        position += len(samples)
    np.clip(track, -1.0, 1.0, out=track)
    return Scene(track, RATE, tuple(events), seed, index)


def test_scenes_of_existing_seeds_are_the_same_to_the_last_sample(bank: SoundBank) -> None:
    makers = (
        SceneMaker(NAMES),
        SceneMaker(NAMES, bank=bank, events=(2, 4), seconds=(8, 10), min_gap=0.3),
        three_event_maker(NAMES[:5], 30.0),
    )
    for maker in makers:
        for index, seed in ((0, 0), (7, 3)):
            names = maker.names_of(index, seed)
            assert equal(maker.scene(index, seed), mixed_as_before(maker, names, index, seed))
    # The draws themselves: names, places, pitches and levels of these seeds, which differ on no machine.
    drawn = repr([maker.scene(index, 7).events for maker in makers for index in range(3)])
    assert hashlib.sha256(drawn.encode()).hexdigest()[:16] == "f92351252f093242"


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), first=st.floats(-12, 12), difference=st.floats(2, 8), count=st.integers(1, 4))
def test_events_lie_as_far_above_the_bed_as_asked(
    bank: SoundBank, seed: int, first: float, difference: float, count: int
) -> None:
    makers = [
        SceneMaker(NAMES, bank=bank, events=(count, count), event_seconds=(0.6, 1.2), bed_db=level)
        for level in (first, first - difference)
    ]
    loud, soft = (maker.scene(1, seed) for maker in makers)
    assert loud.events == soft.events and {event.loudness for event in loud.events} == {None}
    assume(max(np.abs(scene.samples).max() for scene in (loud, soft)) < 0.999)  # else the whole is turned down
    # The two differ in the events' level alone, so their difference is the events, and what is left is the bed.
    alone = (loud.samples.astype(float) - soft.samples) / (1 - 10 ** (-difference / 20))
    bed = loud.samples - alone
    assert frame_rms(bed, RATE // 10)[:-1].min() > 0
    for event in loud.events:
        place = slice(round(event.span.start * RATE), round(event.span.end * RATE))
        level = 10 * np.log10(np.mean(alone[place] ** 2) / np.mean(bed[place] ** 2))
        assert level == pytest.approx(first, abs=0.1)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(2, 5), overlap=st.floats(0.05, 0.5))
def test_neighbours_sound_at_once_as_long_as_asked_and_never_three(
    bank: SoundBank, seed: int, count: int, overlap: float
) -> None:
    maker = SceneMaker(NAMES, bank=bank, events=(count, count), event_seconds=(0.6, 1.4), overlap=overlap)
    scene = maker.make(seed)
    spans = [event.span for event in scene.events]
    for earlier, later in itertools.pairwise(spans):
        shared = overlap * min(earlier.duration, later.duration)
        assert earlier.intersection(later) == pytest.approx(shared, abs=2 / RATE)
    for earlier, later in zip(spans, spans[2:], strict=False):
        assert earlier.intersection(later) <= 2 / RATE
    assert spans[0].start >= 0 and spans[-1].end <= scene.duration + 1e-9
    assert np.abs(scene.samples).max() <= 1.0


def test_a_chain_of_overlapping_events_stands_anywhere(bank: SoundBank) -> None:
    maker = SceneMaker(NAMES, bank=bank, events=(2, 2), overlap=0.5)
    starts = [maker.make(seed).events[0].span.start for seed in range(60)]
    assert min(starts) < 0.6 and max(starts) > 4.0


@given(st.integers(0, 500), st.integers(0, 50), st.integers(2, 4))
def test_one_name_sounds_twice_in_slots_that_take_turns(index: int, seed: int, count: int) -> None:
    maker = SceneMaker(NAMES, events=(count, count), event_seconds=(0.5, 1.0), twice=True)
    names = maker.names_of(index, seed)
    assert len(names) == count and len(set(names)) == count - 1
    pairs = count * (count - 1) // 2
    places = set()
    for following in range(pairs):
        doubled = maker.names_of(index + following, seed)
        (twice,) = {name for name in doubled if doubled.count(name) == 2}
        places.add(tuple(slot for slot, name in enumerate(doubled) if name == twice))
    assert len(places) == pairs


def test_a_doubled_name_is_two_events(maker: SceneMaker) -> None:
    doubled = SceneMaker(NAMES, bank=maker.bank, twice=True)
    for scene in (doubled.scene(2, 0), doubled.make(5)):
        assert sorted(map(scene.names.count, set(scene.names))) == [1, 2]
    assert equal(doubled.make(5), doubled.make(5))
    assert doubled.make_with(("siren", "bell", "siren"), 0).names == ("siren", "bell", "siren")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bed_db": 40.0}, "bed_db is 40"),
        ({"bed_db": float("nan")}, "bed_db is nan"),
        ({"overlap": 0.6}, "overlap is 0.6"),
        ({"overlap": -0.1}, "overlap"),
        ({"twice": True, "events": (1, 3)}, "at least two"),
    ],
)
def test_impossible_harder_scenes_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SceneMaker(NAMES, **options)
