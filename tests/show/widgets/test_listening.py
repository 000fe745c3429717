"""Listening: steered as the method steers, curves that mean what they say, a message for each mistake."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from listenings import BASE, NOISE, OTHER, RATE, SPAN, picture
from tinies import knowing_five

from steer_utils.lm.attention_maps import AttentionMap
from steer_utils.lm.hearing import Hearing
from steer_utils.lm.models import AudioLM
from steer_utils.methods.base import Query
from steer_utils.methods.settings import Settings
from steer_utils.methods.table import METHODS
from steer_utils.show.widgets.listening import PLAIN, SHIFT, STEERED, Listening, listening, listening_in, listening_of
from steer_utils.sound.audio import AudioError
from steer_utils.sound.scenemaker import SceneMaker
from steer_utils.sound.spans import Interval

SETTINGS = Settings(strength=2.0, blocks=(0, 1), read_blocks=(2, 3))
QUERY = Query("dog bark", 0.6)


# -- steering ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("read", ["difference", "share"])
@pytest.mark.parametrize("read_blocks", [None, (2,), (1, 3)])
def test_interval_and_curve_are_those_of_the_steering_method(
    hearing: Hearing, read: str, read_blocks: tuple[int, ...] | None
) -> None:
    chosen = replace(SETTINGS, read=read, read_blocks=read_blocks)  # type: ignore[arg-type]
    found = METHODS["steering"].find(hearing, QUERY, chosen)  # type: ignore[misc]
    heard = listening(hearing, QUERY, chosen)
    assert heard.located == found.interval
    assert heard.read == (SHIFT if read == "difference" else STEERED)
    assert heard.curve() == pytest.approx(found.curve, abs=1e-7)
    assert heard.samples is hearing.samples and heard.span == hearing.span and heard.title == "dog bark"


def test_chosen_heads_are_read_as_per_head_selection_reads_them(hearing: Hearing) -> None:
    chosen = replace(SETTINGS, read_heads=((1, 0), (3, 2)))
    found = METHODS["steering-heads"].find(hearing, QUERY, chosen)  # type: ignore[misc]
    heard = listening(hearing, QUERY, chosen, heads=chosen.read_heads)
    assert heard.located == found.interval and heard.curve() == pytest.approx(found.curve, abs=1e-7)
    assert heard.cells() == chosen.read_heads
    assert heard.curve(STEERED, 3, 2) == pytest.approx(heard.curves[STEERED][3, 2])


def test_every_block_and_head_is_kept_plain_steered_and_as_their_difference(hearing: Hearing) -> None:
    heard = listening(hearing, QUERY, SETTINGS)
    base = hearing.read(SETTINGS.question).attention
    assert list(heard.curves) == [PLAIN, STEERED, SHIFT] and heard.shape == (4, 4)
    assert heard.curves[PLAIN] == pytest.approx(base.share[:, :, 0].numpy(), abs=1e-6)
    assert np.array_equal(heard.curves[SHIFT], heard.curves[STEERED] - heard.curves[PLAIN])
    assert np.abs(heard.curves[SHIFT][0]).max() < 1e-6 < np.abs(heard.curves[SHIFT][1]).max()  # from block 1 on
    plain = listening(hearing, QUERY, replace(SETTINGS, strength=0.0))
    assert np.array_equal(plain.curves[STEERED], plain.curves[PLAIN]) and not plain.curves[SHIFT].any()


def test_answers_are_those_of_the_model(hearing: Hearing) -> None:
    assert listening(hearing, QUERY, SETTINGS).answers == {}
    heard = listening(hearing, QUERY, SETTINGS, answer=True)
    assert heard.answers[PLAIN] == hearing.answer(SETTINGS.question) and set(heard.answers) == {PLAIN, STEERED}


def test_a_scene_brings_its_truth_and_its_events(lm: AudioLM) -> None:
    five = knowing_five(lm)
    scene = SceneMaker(["siren", "bell"], seconds=3.0, events=(2, 2), event_seconds=(0.8, 1.0)).make(3)
    heard = listening_in(five, scene, "bell", SETTINGS)
    truth = scene.event("bell").span
    method = METHODS["steering"].find(Hearing(five, scene.samples), Query("bell", truth.duration), SETTINGS)  # type: ignore[misc]
    assert heard.located == method.interval and heard.truth == truth
    assert heard.events == tuple((each.name, each.span) for each in scene.events)
    assert heard.overlap == pytest.approx(heard.located.covers(truth))
    with pytest.raises(ValueError, match="no 'dog bark'; it has: "):
        listening_in(five, scene, "dog bark", SETTINGS)
    long = replace(scene, samples=np.tile(scene.samples, 2))
    with pytest.raises(AudioError, match=r"takes at most 4 s"):
        listening_in(five, long, "bell", SETTINGS)


def test_steering_the_last_block_says_that_it_moves_nothing(hearing: Hearing) -> None:
    with pytest.raises(ValueError, match="changes no attention"):
        listening(hearing, QUERY, replace(SETTINGS, blocks=(3,), read_blocks=None))


def test_maps_become_pictures() -> None:
    import torch

    def attention(values: np.ndarray, first: int) -> AttentionMap:
        share = torch.tensor(values)[:, :, None]
        return AttentionMap(share, torch.ones(share.shape[:-1]), SPAN, first)

    base, steered = attention(BASE, 0), attention(OTHER, 2)
    both = listening_of(NOISE, RATE, base, steered, seconds=0.4, events=[("bell", Interval(0, 1))])
    assert both.located == (steered - base).window(0.4) and both.read_blocks == (2, 3) and both.read == SHIFT
    share = listening_of(NOISE, RATE, base, steered, seconds=0.4, read="share", read_heads=((0, 1),))
    assert share.located == steered.window(0.4, blocks=[0], heads=[1]) and share.read == STEERED
    alone = listening_of(NOISE, RATE, base)
    assert list(alone.curves) == [PLAIN] and alone.located is None and alone.read_blocks == (0, 1, 2, 3)
    given = listening_of(NOISE, RATE, base, steered, seconds=0.4, located=Interval(0.1, 0.2))
    assert given.located == Interval(0.1, 0.2)
    last = listening_of(NOISE, RATE, base, read_blocks=[-1], seconds=0.4)  # counted from the end, as maps count
    assert last.read_blocks == (3,) and last.located == base.window(0.4, blocks=[3])
    with pytest.raises(ValueError, match="blocks has 7, but the map has blocks 0 to 3"):
        listening_of(NOISE, RATE, base, read_blocks=[7])


# -- what is drawn -------------------------------------------------------------------------------------------------
def test_a_choice_of_block_and_head_is_a_mean_over_its_cells() -> None:
    one = picture()
    assert one.curve(PLAIN) == pytest.approx(BASE[1:3].mean(axis=(0, 1)))
    assert one.curve(PLAIN, block=3) == pytest.approx(BASE[3].mean(axis=0))
    assert one.curve(PLAIN, head=1) == pytest.approx(BASE[:, 1].mean(axis=0))
    assert one.curve(PLAIN, 2, 0) == pytest.approx(BASE[2, 0])
    assert one.curve() == pytest.approx(one.curve(STEERED) - one.curve(PLAIN), abs=1e-8)
    everything = picture(read_blocks=None)
    assert everything.curve(PLAIN) == pytest.approx(BASE.mean(axis=(0, 1)))


def test_it_says_what_was_found() -> None:
    assert picture().described() == "located 0.40-1.00 s; true 0.50-1.10 s; overlap 83 %"
    assert picture(truth=None).described() == "located 0.40-1.00 s" and picture(truth=None).overlap is None
    assert picture(located=None).described() == "nothing located; true 0.50-1.10 s"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"samples": NOISE[:, None]}, r"mono, \(n,\), got shape"),
        ({"samples": np.full(800, np.nan, np.float32)}, "samples must be finite"),
        ({"samples": NOISE[:0]}, "samples must be finite"),
        ({"rate": 0}, "rate is 0; pass samples a second"),
        ({"curves": {PLAIN: BASE[..., :-1]}}, r"\(blocks, heads, 50 tokens\), got 'asked plainly'"),
        ({"curves": {PLAIN: BASE, SHIFT: BASE[:2]}}, "one shape"),
        ({"curves": {PLAIN: BASE[:0]}}, "one shape"),
        ({"curves": {SHIFT: np.full_like(BASE, np.inf)}, "read": ""}, "holds NaN or infinity"),
        ({"read": "loudness"}, "no curve 'loudness'; there are: asked plainly, steered, steered minus plain"),
        ({"read_blocks": (4,)}, r"no \(block, head\) \(4, 0\); there are 4 blocks of 3 heads"),
        ({"read_heads": ((0, 3),)}, r"no \(block, head\) \(0, 3\)"),
        ({"read_heads": ((-1, 0),)}, r"no \(block, head\) \(-1, 0\)"),
        ({"truth": Interval(2.5, 3.0)}, "truth is 2.50-3.00 s, but the sound lasts 2.00 s"),
        ({"events": (("horn", Interval(-2, -1)),)}, "horn is -2.00--1.00 s, but the sound lasts"),
    ],
)
def test_each_mistake_has_its_message(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        picture(**changes)


def test_asking_for_what_is_not_there_has_its_message() -> None:
    with pytest.raises(ValueError, match="no curve 'nothing'; there are: asked plainly"):
        picture().curve("nothing")
    with pytest.raises(ValueError, match=r"no \(block, head\) \(9, 0\)"):
        picture().curve(block=9)
    with pytest.raises(ValueError, match="there are: none"):
        Listening(NOISE, RATE, SPAN).curve()
