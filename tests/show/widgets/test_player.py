"""The player's Python side, and what can be said of its browser side without a browser.

What is drawn and played is tested in a real JupyterLab (tests/browser).
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from listenings import BASE, NOISE, OTHER, RATE, RNG, SPAN, picture

from steer_utils.show.widgets import player
from steer_utils.show.widgets import player as payloads
from steer_utils.show.widgets.listening import PLAIN, SHIFT, STEERED, Listening
from steer_utils.show.widgets.player import ListeningPlayer
from steer_utils.show.widgets.twins import TWIN, WIDGET
from steer_utils.sound.measures import mel_spectrogram
from steer_utils.sound.spans import AudioSpan, Interval

BINARY = {"sound", "mel", "curves"}


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
    """The names in each message that a player would send."""
    messages: list[set[str]] = []
    monkeypatch.setattr(ListeningPlayer, "_send", lambda self, msg, buffers=None: messages.append(_names(msg, buffers)))
    return messages


def _names(message: dict[str, Any], buffers: Any) -> set[str]:
    paths = {path[0] for path in message.get("buffer_paths", [])}
    return set(message.get("state", {})) | paths


def own(traits: set[str]) -> set[str]:
    return traits & (
        BINARY | {"details", "block", "head", "curve", "playhead", "playing", "located_start", "located_end", "status"}
    )


# -- traits --------------------------------------------------------------------------------------------------------
def test_a_player_holds_what_the_payloads_hold() -> None:
    one = picture()
    made = ListeningPlayer(one)
    assert made.sound == payloads.sound_bytes(one) and made.curves == payloads.curve_bytes(one)
    data, bands, frames = payloads.mel_bytes(one)
    assert made.mel == data and made.details == payloads.details(one, bands, frames)
    assert made.listening is one and made.located == one.located == Interval(0.4, 1.0)
    assert (made.block, made.head, made.curve, made.playhead, made.playing) == (None, None, SHIFT, 0.0, False)
    assert made.status == "overlap 83 %"
    nothing = ListeningPlayer(picture(located=None))
    assert nothing.located is None and nothing.located_start is None and nothing.status == ""


def test_a_sound_without_attention_can_be_played() -> None:
    made = ListeningPlayer(Listening(NOISE, RATE, SPAN))
    assert made.curve == "" and made.curves == b"" and made.details["blocks"] == 0


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("block", 4, "block is 4; this picture has blocks 0 to 3, or None for the read-out"),
        ("block", -1, "block is -1"),
        ("head", 3, "head is 3; this picture has heads 0 to 2"),
        ("curve", "loudness", "no curve 'loudness'; there are: asked plainly, steered, steered minus plain"),
    ],
)
def test_each_wrong_choice_has_its_message_and_changes_nothing(name: str, value: object, message: str) -> None:
    made = ListeningPlayer(picture())
    made.block, made.head, made.curve = 3, 2, STEERED
    with pytest.raises(ValueError, match=message):
        setattr(made, name, value)
    assert (made.block, made.head, made.curve) == (3, 2, STEERED)
    made.block = None
    assert made.block is None


def test_a_playhead_outside_is_put_inside() -> None:
    made = ListeningPlayer(picture())
    for asked, kept in ((1.5, 1.5), (-3.0, 0.0), (99.0, 2.0)):
        made.playhead = asked
        assert made.playhead == kept


# -- another picture -----------------------------------------------------------------------------------------------
def test_the_same_sound_is_not_sent_again(sent: list[set[str]]) -> None:
    made = ListeningPlayer(picture())
    made.block, made.playhead = 2, 1.2
    sent.clear()
    other = picture(curves={PLAIN: OTHER, STEERED: BASE, SHIFT: BASE - OTHER}, located=Interval(1.0, 1.6))
    made.show(replace(other, samples=NOISE.copy()))
    assert len(sent) == 1 and not own(sent[0]) & {"sound", "mel"}
    assert {"curves", "located_start", "located_end", "status"} <= sent[0]
    assert made.located == Interval(1.0, 1.6) and made.block == 2 and made.playhead == 1.2
    assert made.curves == payloads.curve_bytes(other) and made.details == payloads.details(other, 64, 200)


def test_another_sound_is_sent_and_starts_at_its_beginning(sent: list[set[str]]) -> None:
    made = ListeningPlayer(picture())
    made.playhead, made.playing = 1.2, True
    sent.clear()
    other = picture(samples=NOISE[::-1])
    made.show(other)
    assert len(sent) == 1 and {"sound", "mel", "playhead", "playing"} <= sent[0]
    assert made.sound == payloads.sound_bytes(other) and made.playhead == 0.0 and not made.playing


def test_what_the_new_picture_lacks_goes_back_to_its_default() -> None:
    made = ListeningPlayer(picture())
    made.block, made.head, made.curve = 3, 2, STEERED
    small = picture(curves={PLAIN: BASE[:1]}, read="", read_blocks=None)
    made.show(small)
    assert (made.block, made.head, made.curve) == (None, None, PLAIN)
    made.show(picture(located=None))
    assert made.located is None and made.curve == PLAIN


def test_the_text_of_a_player_is_short() -> None:
    said = repr(ListeningPlayer(picture()))
    assert said == "ListeningPlayer('dog bark', 2.00 s, located 0.40-1.00 s; true 0.50-1.10 s; overlap 83 %)"


def test_displaying_publishes_the_twin_and_then_the_widget(displayed: list[tuple[dict, Any]]) -> None:
    made = ListeningPlayer(picture())
    made._ipython_display_()
    image, words, widget = (data for data, _ in displayed)
    assert "image/png" in image and words["text/plain"].startswith(f"{TWIN}dog bark: located 0.40-1.00 s")
    assert widget[WIDGET]["model_id"] == made.model_id and len(widget["text/plain"]) < 200


# -- the browser's side --------------------------------------------------------------------------------------------
SOURCE = "\n".join(path.read_text(encoding="utf-8") for path in player.scripts())


def test_nothing_is_fetched_and_no_label_becomes_markup() -> None:
    style = (player.STATIC / "player.css").read_text(encoding="utf-8")
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
        assert word not in SOURCE
    for text in (SOURCE, style):
        assert not re.search(r"https?://|@import|url\(|\bfetch\(|\bimport\b\s*[({\"']|XMLHttpRequest|WebSocket", text)


def test_both_sides_know_the_same_traits() -> None:
    asked = set(re.findall(r'model\.(?:get|set)\("(\w+)"', SOURCE))
    heard = set(re.findall(r'"change:(\w+)"', SOURCE))
    synced = set(ListeningPlayer(picture()).traits(sync=True))
    assert asked | heard <= synced
    assert own(synced) <= asked | heard
    keys = set(payloads.details(picture(), 1, 1))
    used = set(re.findall(r"details\.(\w+)", SOURCE)) | {"title", "answers"}
    assert used <= keys


def test_a_live_view_and_its_twin_have_the_names_that_the_rule_goes_by() -> None:
    assert '"steer-live"' in SOURCE and " .steer-live)" in player.stylesheet()
    assert ":has(.steer-words)" in player.stylesheet()


def _node() -> str | None:
    if found := shutil.which("node"):
        return found
    try:
        import playwright
    except ImportError:
        return None
    driver = Path(playwright.__file__).parent / "driver" / "node"
    return str(driver) if driver.is_file() else None


needs_node = pytest.mark.skipif(_node() is None, reason="needs node (or playwright, which brings one)")

CHECK = """
const { state, choices, span } = JSON.parse(require("fs").readFileSync(0, "utf8"));
const raw = (text) => new DataView(Uint8Array.from(Buffer.from(text, "base64")).buffer);
const tracks = decodedCurves(raw(state.curves), state.details);
const curves = [...tracks.values()].map((track) => choices.map(([block, head]) =>
  Array.from(meanCurve(track, state.details, cellsOf(state.details, block, head)))));
const levels = [...tracks.values()].map((track) =>
  inside(meanCurve(track, state.details, cellsOf(state.details, null, null)), state.details, span));
const words = choices.map(([block, head]) => choiceWords(state.details, block, head));
console.log(JSON.stringify({ curves, levels, words, pcm: Array.from(int16(raw(state.sound))).slice(0, 50) }));
"""


@needs_node
@pytest.mark.parametrize("read_heads", [None, ((0, 1), (3, 2))])
def test_the_browser_computes_what_python_does(read_heads: Any) -> None:
    """Curves of every choice, their mean in a span, and the sound: the script's own functions, on the real bytes."""
    import base64

    one = picture(read_heads=read_heads)
    made = ListeningPlayer(one)
    state = {name: base64.b64encode(getattr(made, name)).decode() for name in BINARY} | {"details": made.details}
    choices = [[None, None], [2, None], [None, 1], [3, 2]]
    whole = re.sub(r"export default[\s\S]*", "", SOURCE) + CHECK
    ran = subprocess.run(
        [str(_node()), "-e", whole],
        input=json.dumps({"state": state, "choices": choices, "span": [0.5, 1.1]}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    inside = SPAN.tokens(Interval(0.5, 1.1))
    for label, drawn, level in zip(one.curves, found["curves"], found["levels"], strict=True):
        for (block, head), values in zip(choices, drawn, strict=True):
            assert values == pytest.approx(50 * one.curve(label, block, head), rel=2e-3, abs=0.02)
        assert level == pytest.approx(np.mean(drawn[0][inside]))
    assert found["pcm"] == np.frombuffer(made.sound, "<i2")[:50].tolist()
    first = "read-out: 2 chosen heads" if read_heads else "read-out: blocks 1 to 2, all heads"
    assert found["words"] == [first, "block 2, mean of its heads", "head 1, mean over blocks", "block 3, head 2"]


def test_sound_is_16_bit_and_no_faster_than_16_khz() -> None:
    sent = np.frombuffer(payloads.sound_bytes(picture()), "<i2")
    assert sent / 32767 == pytest.approx(NOISE, abs=0.5 / 32767 + 1e-7) and payloads.played_rate(picture()) == RATE
    fast = picture(samples=np.repeat(NOISE, 3), rate=3 * RATE)
    assert payloads.played_rate(fast) == RATE
    assert len(payloads.sound_bytes(fast)) == pytest.approx(2 * len(NOISE), abs=4)
    slow = picture(samples=NOISE[::2], rate=RATE // 2)
    assert payloads.played_rate(slow) == RATE // 2 and len(payloads.sound_bytes(slow)) == len(NOISE)
    loud = np.frombuffer(payloads.sound_bytes(picture(samples=NOISE * 100)), "<i2")
    assert loud.max() == 32767 and loud.min() == -32767 and (np.sign(loud) == np.sign(NOISE)).mean() > 0.99


def test_the_picture_of_the_sound_is_the_spectrogram_of_the_figures() -> None:
    data, bands, frames = payloads.mel_bytes(picture())
    mel = mel_spectrogram(NOISE, RATE)
    assert (bands, frames) == mel.shape and len(data) == mel.size
    levels = np.frombuffer(data, np.uint8).reshape(mel.shape)
    assert levels / 255 * 80 - 80 == pytest.approx(mel, abs=0.5 * 80 / 255 + 1e-5) and levels.max() == 255
    long = picture(samples=np.tile(NOISE, 100), rate=RATE)
    assert 5900 < payloads.mel_bytes(long)[2] < 6100


def test_curves_come_back_in_even_shares_and_the_difference_is_not_sent() -> None:
    one = picture()
    assert payloads.differences(one) == {SHIFT: (STEERED, PLAIN)}
    sent = np.frombuffer(payloads.curve_bytes(one), "<f2").astype(float).reshape(2, 4, 3, 50)
    assert sent[0] == pytest.approx(50 * BASE, rel=1e-3, abs=1e-6)
    assert sent[1] - sent[0] == pytest.approx(50 * (OTHER - BASE), rel=1e-3, abs=0.02)
    other = picture(curves={PLAIN: BASE, SHIFT: OTHER - BASE}, read="")
    assert payloads.differences(other) == {} and len(payloads.curve_bytes(other)) == 2 * 2 * BASE.size
    none = Listening(NOISE, RATE, SPAN)
    assert payloads.curve_bytes(none) == b"" and payloads.details(none, 1, 1)["curves"] == []


def test_a_scene_of_eight_seconds_stays_under_a_megabyte() -> None:
    """Of a model with 28 blocks of 28 heads (Audio Flamingo 3, 7B), as the docstring says."""
    span, sound = AudioSpan(0, 200), np.tile(NOISE, 4)
    wide = RNG.random((28, 28, 200), dtype=np.float32) / 100
    more = RNG.random((28, 28, 200), dtype=np.float32) / 100
    one = Listening(sound, RATE, span, {PLAIN: wide, STEERED: more, SHIFT: more - wide})
    mel, bands, frames = payloads.mel_bytes(one)
    text = json.dumps(payloads.details(one, bands, frames))
    parts = [len(payloads.sound_bytes(one)), len(mel), len(payloads.curve_bytes(one))]
    assert parts == [256_000, 51_200, 627_200] and sum(parts) + len(text) < 1_000_000


def test_details_are_json_and_labels_stay_as_they_are() -> None:
    found = json.loads(json.dumps(payloads.details(picture(), 64, 200), allow_nan=False))
    assert found["events"] == [["dog bark", 0.5, 1.1], ["<b>bell</b>", 1.2, 1.9]] and found["truth"] == [0.5, 1.1]
    assert [(each["label"], each["gained"], each["minus"]) for each in found["curves"]] == [
        (PLAIN, False, []),
        (STEERED, False, []),
        (SHIFT, True, [STEERED, PLAIN]),
    ]
    assert found["read_cells"] == [[b, h] for b in (1, 2) for h in range(3)] and found["duration"] == 2.0
    assert found["answers"] == [[PLAIN, "one"], [STEERED, "a dog"]]
    still = payloads.details(picture(curves={STEERED: BASE, SHIFT: 0 * BASE}, read=""), 1, 1)["curves"]
    assert [each["gained"] for each in still] == [False, True]  # no shift at all is still a difference


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-4, 4, width=32), min_size=50, max_size=50), st.text(max_size=40))
def test_any_label_and_any_values_can_be_sent(values: list[float], label: str) -> None:
    curves = {label: np.array(values, np.float32)[None, None]}
    one = Listening(NOISE, RATE, SPAN, curves, title=label, events=((label, Interval(0, 1)),))
    sent = np.frombuffer(payloads.curve_bytes(one), "<f2").astype(float)
    assert sent == pytest.approx(50 * np.array(values), rel=1e-3, abs=1e-4)
    assert json.loads(json.dumps(payloads.details(one, 1, 1)))["title"] == label
