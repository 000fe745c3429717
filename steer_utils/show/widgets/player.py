"""ListeningPlayer: hear a sound, see where the model listens, in a notebook.

    player = ListeningPlayer(listening_in(lm, scene, "dog bark"))
    player                       # as the last line of a cell; its static twin is saved with the notebook
    player.show(other)           # the same view, another picture; sound that is the same is not sent again
    player.block, player.head    # what a reader has chosen in the map (None: the default read-out)

Works in any front end of ipywidgets; everything it needs travels with it (static/player.js), nothing is fetched.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import traitlets

from steer_utils.show.widgets.listening import Listening
from steer_utils.show.widgets.payloads import curve_bytes, details, mel_bytes, sound_bytes
from steer_utils.show.widgets.twins import alt_text_twin, publish, twin
from steer_utils.sound.spans import Interval

try:
    import anywidget
except ImportError as error:
    raise ImportError("the player needs anywidget: pip install 'steer-utils[course]'") from error

STATIC = Path(__file__).parent / "static"
#: The browser's side in the order in which it is joined: a widget is one module, and nothing may be fetched.
PARTS = ("sound", "numbers", "marks", "drawing", "map", "page", "needle")


def scripts() -> list[Path]:
    """The files of the browser's side, in order."""
    return [*(STATIC / f"player_{part}.js" for part in PARTS), STATIC / "player.js"]


class ListeningPlayer(anywidget.AnyWidget):
    """One `Listening`, playable. Every trait below is synced both ways.

    block, head                   what is drawn: one head, all heads of a block (head None), one head number over all
                                  blocks (block None), or the default read-out (both None)
    curve                         the label of the curve that is drawn thick
    playhead                      seconds; set it to seek
    playing                       set it to start or stop (a browser may want a click before it lets sound start)
    located_start, located_end    seconds of the located interval; None where there is none
    status                        one line of text under the picture

    Raises ValueError for a block, head or label that the picture does not have. A playhead outside is put inside.
    """

    _esm = "\n".join(path.read_text(encoding="utf-8") for path in scripts())
    _css = STATIC / "player.css"

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

    def __init__(self, listening: Listening) -> None:
        self._listening = listening
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
        publish(twin(shown), alt_text_twin(shown), said)
        bundle = self._repr_mimebundle_()
        if bundle is not None:
            display(bundle[0], raw=True, metadata=bundle[1])


def _same_sound(one: Listening, other: Listening) -> bool:
    if one.rate != other.rate or len(one.samples) != len(other.samples):
        return False
    return one.samples is other.samples or bool((one.samples == other.samples).all())
