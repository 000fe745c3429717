"""Players without a kernel: what is saved is what was read, and it is small; pages hold all they need, and no markup.

How they look and play is tested in a browser (tests/browser/test_standalone.py).
"""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import soundfile
from listenings import NOISE, RATE, SPAN, shares
from PIL import Image

from steer_utils.lm.hearing import Hearing
from steer_utils.lm.models import AudioLM
from steer_utils.methods.locate import locate
from steer_utils.methods.settings import PAPER, Settings
from steer_utils.show.widgets import player, standalone
from steer_utils.show.widgets.listening import SHIFT, STEERED
from steer_utils.show.widgets.standalone import (
    LARGEST,
    SoughtSound,
    StrengthGrid,
    host_html,
    opus_bytes,
    payload,
    player_html,
    player_page,
    strength_grid,
)
from steer_utils.sound.spans import AudioSpan, Interval

FOUND = (None, Interval(0.4, 1.0), Interval(0.5, 1.2))
NASTY = '</script><b>bell</b> & "co"'


def grid(**changes: object) -> StrengthGrid:
    plain = shares(1)[0]
    sounds = (
        SoughtSound("dog bark", np.stack([plain, shares(), shares()]), FOUND, Interval(0.5, 1.1), "probability 0.97"),
        SoughtSound(NASTY, np.stack([plain, shares(), shares()]), (None, None, Interval(1.2, 1.9))),
    )
    one = StrengthGrid(NOISE, RATE, SPAN, (0.0, 2.0, 8.0), 1, plain, sounds)
    return replace(one, **changes)  # type: ignore[arg-type]


def read_back(one: StrengthGrid) -> dict[str, Any]:
    """The json in the page, as a browser would read it."""
    found = re.search(r'<script type="application/json">(.*?)</script>', host_html(one), re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_curves_and_intervals_come_back_as_they_were() -> None:
    one = grid()
    saved = read_back(one)
    curves = np.frombuffer(base64.b64decode(saved["curves"]), "<f2").reshape(7, SPAN.count)
    given = np.stack([one.plain, *one.sounds[0].steered, *one.sounds[1].steered]) * SPAN.count
    np.testing.assert_allclose(curves, given, rtol=1e-3, atol=1e-3)
    assert saved["strengths"] == [0.0, 2.0, 8.0] and saved["own"] == 1
    located = [query["located"] for query in saved["queries"]]
    assert located == [[None, [0.4, 1.0], [0.5, 1.2]], [None, None, [1.2, 1.9]]]
    assert [query["details"]["title"] for query in saved["queries"]] == ["dog bark", NASTY]
    assert [query["details"]["truth"] for query in saved["queries"]] == [[0.5, 1.1], None]
    assert saved["details"]["events"] == [["dog bark", 0.5, 1.1]]


def test_a_player_begins_with_the_sound_that_is_asked_for() -> None:
    assert read_back(grid())["first"] == 0
    assert read_back(grid().beginning_with(NASTY))["first"] == 1
    assert grid(first=1).beginning_with("whistle").first == 1
    with pytest.raises(ValueError, match="first is 2; there are sounds 0 to 1"):
        grid(first=2)


def test_the_view_finds_all_it_asks_for() -> None:
    saved = read_back(grid())
    asked = set(player.details(grid().listening(grid().sounds[0], 1), 1, 1))
    for query in saved["queries"]:
        assert set(saved["details"]) | set(query["details"]) == asked
    for low, high in [saved["queries"][0]["details"]["range"][kind] for kind in ("share", "gained")]:
        assert low <= 0 < high


def test_sound_and_spectrogram_come_back() -> None:
    rise = np.linspace(0, 1, RATE)
    sound = np.zeros(3 * RATE, np.float32)
    sound[RATE : 2 * RATE] = 0.5 * np.sin(2 * np.pi * (200 * rise + 1500 * rise**2))
    heard, rate = soundfile.read(io.BytesIO(opus_bytes(sound, RATE)))
    assert (rate, len(heard)) == (RATE, len(sound)) and np.abs(heard[: RATE - 400]).max() < 0.02
    assert np.sqrt(np.mean(heard[RATE : 2 * RATE] ** 2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.1)
    late = int(np.argmax(np.correlate(heard, sound[RATE : 2 * RATE], mode="valid"))) - RATE
    assert abs(late) <= 16  # a millisecond
    one = grid()
    content, picture = payload(one)
    mel, bands, frames = player.mel_bytes(one.listening(one.sounds[0], 1), standalone.PICTURE_SECONDS)
    with Image.open(io.BytesIO(picture)) as image:
        levels = 255 - np.asarray(image)[::-1]
    np.testing.assert_array_equal(levels, np.frombuffer(mel, np.uint8).reshape(bands, frames))
    assert content["samples"] == len(NOISE)


def test_a_page_is_small_and_fetches_nothing() -> None:
    span = AudioSpan(5, 750)
    noise = np.random.default_rng(0).normal(size=30 * RATE).astype(np.float32) * 0.1  # nothing packs worse
    flat = np.full((3, 750), 1 / 750)
    sounds = tuple(replace(sound, steered=flat) for sound in grid().sounds)
    big = grid(samples=noise, span=span, plain=flat[0], sounds=sounds)
    for one in (grid(), big):
        html = player_html(one)
        assert len(html.encode()) < LARGEST
        assert not re.search(r"https?://|@import|\bfetch\(|\bimport\(|<link|<script src", html)
    with pytest.raises(ValueError, match="pass fewer sounds or strengths"):
        steered = np.tile(flat[:1], (101, 1))
        many = tuple(replace(sound, steered=steered, located=(None,) * 101) for sound in sounds)
        player_html(replace(big, strengths=tuple(map(float, range(101))), sounds=many))


def test_names_never_become_markup() -> None:
    for page in (player_html(grid()), player_page([grid()], NASTY)):
        assert "<b>bell" not in page and page.count("</script>") == page.count("<script")


def test_without_scripts_the_picture_says_where() -> None:
    html = host_html(grid(start=12.0))
    assert 'alt="Spectrogram of 2.0 s of sound, from 12.00 s on. dog bark 12.40-13.00 s (true 12.50-13.10 s)' in html
    assert "dog bark: 12.40-13.00 s; probability 0.97" in html and ": not located" in html
    assert "margin-left: 20.0%; width: 30.0%" in html


def test_pages_can_share_script_and_styles() -> None:
    page = player_page([grid(), grid(start=2.0)], "street.wav", assets=("player.js", "player.css"))
    assert page.count('class="steer-saved"') == 2 and len(page) < 200_000
    assert '<script src="player.js"></script>' in page and "createView" not in page
    assert "export default" not in standalone.script() and "createView" in standalone.script()


@pytest.mark.parametrize(
    "settings", [replace(PAPER, strength=1.5), Settings(strength=16.0, read="share", blocks=(0,), read_blocks=(1, 2))]
)
def test_the_settings_own_strength_gives_what_locate_finds(
    tiny_models: dict[str, AudioLM], samples: np.ndarray, settings: Settings
) -> None:
    lm = tiny_models["qwen2_audio"]
    one = strength_grid(lm.hear(samples, sampling_rate=RATE), ["dog bark", "bell"], settings)
    assert one.strengths[0] == 0.0 and one.strengths[-1] == max(8.0, settings.strength)
    assert one.strengths[one.own] == settings.strength and one.read == (STEERED if settings.read == "share" else SHIFT)
    for sound in one.sounds:
        located = locate(lm, samples, sound.event, sampling_rate=RATE, settings=settings)
        assert sound.located[one.own] == located.interval
        curve = sound.steered[one.own] - (one.plain if settings.read == "difference" else 0)
        np.testing.assert_allclose(curve, located.curve, atol=2e-6)
        if settings.read == "difference":
            assert sound.located[0] is None  # strength 0 moves nothing
        np.testing.assert_allclose(sound.steered[0], one.plain, atol=2e-6)


def test_what_makes_no_player_is_refused(tiny_models: dict[str, AudioLM], samples: np.ndarray) -> None:
    hearing = Hearing(tiny_models["qwen2_audio"], samples)
    for arguments, message in (
        ({"events": []}, "at least one sound"),
        ({"events": ["bell"], "strengths": [0.0, float("nan")]}, "pass finite numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            strength_grid(hearing, settings=PAPER, **arguments)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="takes 30 s"):
        grid(samples=np.zeros(40 * RATE, np.float32))
    with pytest.raises(ValueError, match="must be"):
        grid(strengths=(0.0, 1.0))
