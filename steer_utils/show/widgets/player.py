"""ListeningPlayer: hear a sound, see where the model listens, in a notebook.

    player = ListeningPlayer(listening_in(lm, scene, "dog bark"))
    ListeningPlayer(heard, saved=strength_grid(hearing, scene.names, settings))   # its twin plays, too (`standalone`)
    player                       # as the last line of a cell; its static twin is saved with the notebook
    player.show(other)           # the same view, another picture; sound that is the same is not sent again
    player.block, player.head    # what a reader has chosen in the map (None: the default read-out)

Works in any front end of ipywidgets; everything it needs travels with it (static/player.js), nothing is fetched.

All arrays that go to the browser are little-endian and in C order, so that typed arrays can be laid over them. An 8 s
scene of a pocket model (6 blocks of 6 heads) takes 0.34 MB: sound 256 kB, picture 51 kB, curves 29 kB; of a model with
28 blocks of 28 heads, 0.93 MB; with 32 of 32, 1.13 MB.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soxr
import traitlets

from steer_utils.show.palette import player_variables
from steer_utils.show.plots.located import LONG
from steer_utils.show.widgets.listening import Listening
from steer_utils.show.widgets.twins import alt_text_twin, publish, twin
from steer_utils.sound.audio import TARGET_RATE
from steer_utils.sound.measures import mel_band, mel_spectrogram
from steer_utils.sound.spans import Interval

if TYPE_CHECKING:
    from steer_utils.show.widgets.standalone import StrengthGrid

FLOOR = -80.0  # dB, where `mel_spectrogram` ends
TICKS = (250, 1000, 2500, 6000)  # Hz


def played_rate(listening: Listening) -> int:
    """Samples a second that are sent: the sound's own rate, at most 16 kHz, which is all that the models hear."""
    return min(int(listening.rate), TARGET_RATE)


def sound_bytes(listening: Listening) -> bytes:
    """Mono 16-bit PCM at `played_rate`: 2 bytes a sample, 32 kB a second. Peaks above 1 are clipped."""
    samples, rate = listening.samples, played_rate(listening)
    if rate != listening.rate:
        samples = soxr.resample(samples, listening.rate, rate, quality="HQ")
    return np.round(np.clip(samples, -1.0, 1.0) * 32767).astype("<i2").tobytes()


def mel_bytes(listening: Listening, longest: float = LONG) -> tuple[bytes, int, int]:
    """(bytes, bands, frames) of the spectrogram that the figures draw: uint8, 0 (-80 dB) to 255, low bands first.

    64 bands, 100 frames a second (6.4 kB a second), as many as that makes of `longest` seconds for any longer sound.
    """
    mel = mel_spectrogram(listening.samples, listening.rate, hop=0.01 * max(1.0, listening.duration / longest))
    levels = np.round(255 * (1 - mel / FLOOR)).astype(np.uint8)
    return levels.tobytes(), *levels.shape


def curve_bytes(listening: Listening) -> bytes:
    """The curves that cannot be had as a difference of others (`differences`), in even shares, as float16.

    Share times tokens, so 1 is the even share: (curves, blocks, heads, tokens), 2 bytes a value.
    """
    derived = differences(listening)
    kept = [values for label, values in listening.curves.items() if label not in derived]
    return b"".join((values * listening.span.count).astype("<f2").tobytes() for values in kept)


def differences(listening: Listening) -> dict[str, tuple[str, str]]:
    """Curves that are the difference of two others: label -> (first, second). They need not be sent."""
    shares = {label: values for label, values in listening.curves.items() if not gained(values)}
    found = {}
    for label, values in listening.curves.items():
        pairs = [(a, b) for a in shares for b in shares if label not in (a, b) and a != b]
        pair = next((pair for pair in pairs if np.array_equal(values, shares[pair[0]] - shares[pair[1]])), None)
        if label not in shares and pair:
            found[label] = pair
    return found


def gained(values: np.ndarray) -> bool:
    """Whether a curve is a difference of shares (its neutral level is 0) and not a share (1 is even)."""
    return bool(values.min() < 0 or values.mean() <= 0)


def details(listening: Listening, bands: int, frames: int) -> dict[str, object]:
    """Everything else, as json can hold it: axes, labels, intervals, the default read-out. A few kB.

    Labels are text; whoever shows them must never take them for markup.
    """
    blocks, heads = listening.shape
    derived = differences(listening)
    rate = played_rate(listening)
    return {
        "title": listening.title,
        "start": 0.0,  # seconds from the beginning of the file to that of what is shown
        "range": None,  # {"share": [low, high], "gained": [low, high]}: one scale for all strengths (`standalone`)
        "duration": listening.duration,
        "rate": rate,
        "tokens": listening.span.count,
        "token_seconds": listening.span.seconds_per_token,
        "blocks": blocks,
        "heads": heads,
        "bands": bands,
        "frames": frames,
        "ticks": [[hz, mel_band(hz, listening.rate, bands)] for hz in TICKS if hz < listening.rate / 2],
        "curves": [
            {"label": label, "gained": gained(values), "minus": list(derived.get(label, ()))}
            for label, values in listening.curves.items()
        ],
        "read": listening.read,
        "read_cells": [list(cell) for cell in listening.cells()],
        "truth": None if listening.truth is None else [listening.truth.start, listening.truth.end],
        "events": [[name, interval.start, interval.end] for name, interval in listening.events],
        "answers": [[label, text] for label, text in listening.answers.items()],
    }


try:
    import anywidget
except ImportError as error:
    raise ImportError("the player needs anywidget: pip install 'steer-utils[course]'") from error

STATIC = Path(__file__).parent / "static"
#: The browser's side in the order in which it is joined: a widget is one module, and nothing may be fetched.
PARTS = ("sound", "numbers", "marks", "drawing", "map", "page", "needle")


def scripts() -> list[Path]:
    """The files of the browser's side, in order."""
    return [*view_scripts(), STATIC / "player_widget.js"]


def view_scripts() -> list[Path]:
    """The same without the widget's entry: for pages that bring another (`standalone`)."""
    return [*(STATIC / f"player_{part}.js" for part in PARTS), STATIC / "player.js"]


def stylesheet() -> str:
    """Its colours and its layout."""
    return player_variables() + (STATIC / "player.css").read_text(encoding="utf-8")


class ListeningPlayer(anywidget.AnyWidget):
    """One `Listening`, playable. Every trait below is synced both ways.

    block, head                   what is drawn: one head, all heads of a block (head None), one head number over all
                                  blocks (block None), or the default read-out (both None)
    curve                         the label of the curve that is drawn thick
    playhead                      seconds; set it to seek
    playing                       set it to start or stop (a browser may want a click before it lets sound start)
    located_start, located_end    seconds of the located interval; None where there is none
    status                        one line of text under the picture

    `saved`: what the twin plays where there is no kernel, beginning with the sound that is shown; None: the twin is a
    picture. `show` does not change it.

    Raises ValueError for a block, head or label that the picture does not have. A playhead outside is put inside.
    """

    _esm = "\n".join(path.read_text(encoding="utf-8") for path in scripts())
    _css = stylesheet()

    sound = traitlets.Bytes(help="mono 16-bit PCM, little-endian").tag(sync=True)
    mel = traitlets.Bytes(help="uint8 (bands, frames), low bands first").tag(sync=True)
    curves = traitlets.Bytes(help="float16 (curves, blocks, heads, tokens), in even shares").tag(sync=True)
    details = traitlets.Dict(help="axes, labels and intervals: payloads.details").tag(sync=True)
    block = traitlets.Int(None, allow_none=True).tag(sync=True)
    head = traitlets.Int(None, allow_none=True).tag(sync=True)
    curve = traitlets.Unicode().tag(sync=True)
    playhead = traitlets.Float(0.0).tag(sync=True)
    playing = traitlets.Bool(False).tag(sync=True)
    located_start = traitlets.Float(None, allow_none=True).tag(sync=True)
    located_end = traitlets.Float(None, allow_none=True).tag(sync=True)
    status = traitlets.Unicode().tag(sync=True)

    def __init__(self, listening: Listening, *, saved: StrengthGrid | None = None) -> None:
        self._listening, self._saved = listening, saved
        super().__init__(**self._state(listening, None), curve=listening.read)

    def __repr__(self) -> str:
        shown = self._listening  # not the traits: they hold the whole sound
        return f"ListeningPlayer({shown.title or 'sound'!r}, {shown.duration:.2f} s, {shown.described()})"

    @property
    def listening(self) -> Listening:
        """What is shown."""
        return self._listening

    @property
    def located(self) -> Interval | None:
        """The located interval."""
        if self.located_start is None or self.located_end is None:
            return None
        return Interval(self.located_start, self.located_end)

    def show(self, listening: Listening) -> None:
        """Show another picture in the same view, as one message. Costs no sound or spectrogram where they are the same.

        The chosen block, head and curve stay if the new picture has them; the playhead stays if the sound is the same.
        """
        before, self._listening = self._listening, listening
        blocks, heads = listening.shape
        kept: dict[str, Any] = {}
        if listening.samples is not before.samples and not _same_sound(listening, before):
            kept |= {"playhead": 0.0, "playing": False}
        if (self.block or 0) >= blocks or (self.head or 0) >= heads:
            kept |= {"block": None, "head": None}
        if self.curve not in listening.curves:
            kept |= {"curve": listening.read}
        with self.hold_sync():
            for name, value in {**self._state(listening, before), **kept}.items():
                setattr(self, name, value)

    def _state(self, listening: Listening, before: Listening | None) -> dict[str, Any]:
        """The traits of a picture; sound and spectrogram are made anew only where `before` has others."""
        found: dict[str, Any] = {}
        if before is not None and _same_sound(listening, before):
            bands, frames = self.details["bands"], self.details["frames"]
        else:
            found["sound"] = sound_bytes(listening)
            found["mel"], bands, frames = mel_bytes(listening)
        interval = listening.located
        return found | {
            "curves": curve_bytes(listening),
            "details": details(listening, bands, frames),
            "located_start": None if interval is None else interval.start,
            "located_end": None if interval is None else interval.end,
            "status": "" if listening.overlap is None else f"overlap {100 * listening.overlap:.0f} %",
        }

    @traitlets.validate("block", "head")
    def _within(self, proposal: Any) -> int | None:
        name, value = proposal["trait"].name, proposal["value"]
        count = self._listening.shape[0 if name == "block" else 1]
        if value is not None and not 0 <= value < count:
            raise ValueError(f"{name} is {value}; this picture has {name}s 0 to {count - 1}, or None for the read-out")
        return value

    @traitlets.validate("curve")
    def _known(self, proposal: Any) -> str:
        if proposal["value"] not in self._listening.curves and proposal["value"] != self._listening.read:
            raise ValueError(f"there is no curve {proposal['value']!r}; there are: {', '.join(self._listening.curves)}")
        return proposal["value"]

    @traitlets.validate("playhead")
    def _inside(self, proposal: Any) -> float:
        return min(max(0.0, proposal["value"]), self._listening.duration)

    def _ipython_display_(self) -> None:
        """The static twin first, then the widget: a live view hides the twin, a saved notebook shows it."""
        from IPython.display import display

        shown = self._listening
        said = f"{shown.title or 'Sound'}: {shown.described()}. Run this cell to play it."
        html = ""
        if self._saved is not None:
            from steer_utils.show.widgets.standalone import player_html

            html = player_html(self._saved.beginning_with(shown.title))
        publish(twin(shown), alt_text_twin(shown), said, html)
        bundle = self._repr_mimebundle_()
        if bundle is not None:
            display(bundle[0], raw=True, metadata=bundle[1])


def _same_sound(one: Listening, other: Listening) -> bool:
    if one.rate != other.rate or len(one.samples) != len(other.samples):
        return False
    return one.samples is other.samples or bool((one.samples == other.samples).all())
