"""A player that plays without a kernel: on the project's site, in exported notebooks, in a report on many files.

    grid = strength_grid(hearing, ["dog bark", "rain"], settings)     # read at each strength from 0 to 8
    Path("street.html").write_text(player_page([grid], "street.wav"))  # a page of its own
    player_html(grid)                                                   # a fragment, for a page that is there
    ListeningPlayer(heard, saved=grid)                                  # and as the twin of a widget

The same JavaScript as in a notebook, on data that travel in the page: sound as Ogg/Opus, the spectrogram as a picture,
curves of each sound and strength as float16, each with its interval. Nothing is fetched. A reader hears the sound, sees
the playhead, drags the strength, and switches what is sought. Where scripts are off there is the picture, with words.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape

import numpy as np
import soundfile
import soxr
from PIL import Image  # comes with matplotlib

from steer_utils.lm.hearing import Hearing
from steer_utils.methods.base import Query, averaged, contrast_of, read_out, steered_row
from steer_utils.methods.settings import Settings
from steer_utils.show.widgets.listening import PLAIN, SHIFT, STEERED, Listening
from steer_utils.show.widgets.player import STATIC, details, mel_bytes, played_rate, stylesheet, view_scripts
from steer_utils.sound.spans import AudioSpan, Interval, best_segment, best_window

LARGEST = 400_000  # bytes of a player with its scripts
LONGEST = 30.0  # seconds of sound in one player
STEPS = 33  # strengths, 0 to 8 in quarters
TOP = 8.0
PICTURE_SECONDS = 10.0  # longer sound has as many columns of spectrogram as so many seconds
FLAT = 1e-5  # even shares by which a curve must rise for its interval to mean anything
OPUS_BLOCK = 16_000  # samples that are encoded at once


@dataclass(frozen=True, eq=False)
class SoughtSound:
    """One sound that a reader can choose.

    steered   (strengths, tokens): attention shares, as the settings read them, at each strength
    located   where the sound is put at each strength; None where steering moved nothing
    truth     where it is, None if that is not known
    words     a line under the picture, such as how likely it is that it is there at all
    """

    event: str
    steered: np.ndarray
    located: tuple[Interval | None, ...]
    truth: Interval | None = None
    words: str = ""


@dataclass(frozen=True, eq=False)
class StrengthGrid:
    """Some sounds in one stretch of audio, read at several strengths.

    plain     (tokens,): attention shares without a vector
    own       the place of the settings' own strength in `strengths`
    start     seconds from the beginning of the file to that of the stretch; times are shown from there
    read      the label of the curve that intervals are read from: STEERED or SHIFT
    first     the place in `sounds` of the one that a player begins with

    Raises ValueError for no sounds, a first one that is not there, sound that is too long for one player, and curves of
    other shapes.
    """

    samples: np.ndarray
    rate: int
    span: AudioSpan
    strengths: tuple[float, ...]
    own: int
    plain: np.ndarray
    sounds: tuple[SoughtSound, ...]
    read: str = SHIFT
    start: float = 0.0
    first: int = 0

    def __post_init__(self) -> None:
        if not self.sounds:
            raise ValueError("a player needs at least one sound to seek")
        if self.first not in range(len(self.sounds)):
            raise ValueError(f"first is {self.first}; there are sounds 0 to {len(self.sounds) - 1}")
        if self.duration > LONGEST + 1.0:
            raise ValueError(f"the sound lasts {self.duration:.1f} s; a player without a kernel takes {LONGEST:g} s")
        shape = (len(self.strengths), self.span.count)
        for sound in self.sounds:
            if sound.steered.shape != shape or len(sound.located) != shape[0]:
                raise ValueError(f"the curves of {sound.event!r} are {sound.steered.shape}; they must be {shape}")

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.samples) / self.rate

    def listening(self, sound: SoughtSound, step: int) -> Listening:
        """What the player in a notebook would show of one sound at one strength: read-outs, of no block or head."""
        steered = sound.steered[step]
        curves = {PLAIN: self.plain, STEERED: steered, SHIFT: steered - self.plain}
        return Listening(
            self.samples,
            self.rate,
            self.span,
            {label: curve[None, None] for label, curve in curves.items()},
            title=sound.event,
            located=sound.located[step],
            truth=sound.truth,
            events=tuple((each.event, each.truth) for each in self.sounds if each.truth is not None),
            read=self.read,
        )

    def beginning_with(self, event: str) -> StrengthGrid:
        """The same, beginning with `event`; as it is where that is none of its sounds."""
        names = [sound.event for sound in self.sounds]
        return replace(self, first=names.index(event)) if event in names else self

    def described(self) -> str:
        """In words: where each sound is put at the settings' own strength, in seconds of the file."""
        parts = []
        for sound in self.sounds:
            found = sound.located[self.own]
            where = "not located" if found is None else str(found.shifted(self.start))
            known = "" if sound.truth is None else f" (true {sound.truth.shifted(self.start)})"
            parts.append(f"{sound.event} {where}{known}{f', {sound.words}' if sound.words else ''}")
        return "; ".join(parts)


def strength_grid(
    hearing: Hearing,
    events: Sequence[str],
    settings: Settings,
    *,
    strengths: Sequence[float] | None = None,
    seconds: float | None = None,
    truths: Mapping[str, Interval] | None = None,
    words: Mapping[str, str] | None = None,
    start: float = 0.0,
) -> StrengthGrid:
    """Steer towards each of `events` at each strength, as METHODS["steering"] does, and keep the read-out curves.

    `strengths`: 0 to 8 in quarters (to the settings' own, if that is more), and the settings' own, unless they are
    given. `seconds`: the width of the interval; None: it follows the curve, as in `locate`. `truths` and `words` by
    event; `start`: see `StrengthGrid`. Cost: two suffix passes an event, one a strength and event, and one. Raises
    ValueError for strengths that are not finite, and as `StrengthGrid` does.
    """
    if strengths is None:
        strengths = [*np.linspace(0.0, max(TOP, abs(settings.strength)), STEPS), settings.strength]
    levels = tuple(float(level) for level in np.unique([*strengths]))
    if not levels or not np.isfinite(levels).all():
        raise ValueError(f"strengths is {strengths!r}; pass finite numbers")
    span, count = hearing.span, hearing.checkpoint.num_blocks
    first_read = min(settings.steered_blocks(count)) + 1
    blocks = settings.read_blocks if settings.read_blocks is not None else tuple(range(first_read, count))
    plain_map = hearing.read(settings.question).attention
    sounds = []
    for event in events:
        vector = contrast_of(hearing, Query(event, 1.0), settings)
        rows = [steered_row(replace(settings, strength=level), vector) for level in levels]
        curves, located = [], list[Interval | None]()
        at_once = hearing.maps_at_once()
        for first in range(0, len(rows), at_once):
            for reading in hearing.read_rows(rows[first : first + at_once]):
                steered = reading.attention
                curve = read_out(steered, plain_map, settings.read, blocks)
                curves.append(averaged(steered, blocks, None))
                flat = np.ptp(curve) * len(curve) < FLAT
                interval = best_segment(curve, span) if seconds is None else best_window(curve, span, seconds)
                located.append(None if flat else interval[0])
        sounds.append(
            SoughtSound(
                event, np.stack(curves), tuple(located), (truths or {}).get(event), (words or {}).get(event, "")
            )
        )
    return StrengthGrid(
        hearing.samples,
        hearing.checkpoint.sampling_rate,
        span,
        levels,
        levels.index(min(levels, key=lambda level: abs(level - settings.strength))),
        averaged(plain_map, blocks, None),
        tuple(sounds),
        STEERED if settings.read == "share" else SHIFT,
        start,
    )


# -- bytes -----------------------------------------------------------------------------------------------------------
def opus_bytes(samples: np.ndarray, rate: int) -> bytes:
    """Mono Ogg/Opus of `samples` at 16 kHz or less, about 3 kB a second; every browser of today decodes it to the same
    instants, which MP3 does not promise."""
    buffer = io.BytesIO()
    values = np.clip(samples, -1.0, 1.0).astype(np.float32)
    with soundfile.SoundFile(buffer, "w", rate, 1, subtype="OPUS", format="OGG") as file:
        for first in range(0, len(values), OPUS_BLOCK):  # libsndfile has overrun its stack on long blocks
            file.write(values[first : first + OPUS_BLOCK])
    return buffer.getvalue()


def spectrogram_picture(mel: bytes, bands: int, frames: int) -> bytes:
    """A grey PNG of a spectrogram (`player.mel_bytes`): loud is dark, high bands are on top."""
    levels = 255 - np.frombuffer(mel, np.uint8).reshape(bands, frames)[::-1]
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def payload(grid: StrengthGrid) -> tuple[dict[str, object], bytes]:
    """What standalone.js reads: json, and the spectrogram as a picture.

    sound      base64 of Ogg/Opus; `samples`: how many there are of it
    curves     base64 of float16, in even shares: the plain one, then each sound's, strength by strength, (tokens,) each
    details    what all sounds share, and `queries` what each has for itself: `player.details`; located: [start, end]
               or null a strength, in seconds of what is heard here
    """
    heard = grid.listening(grid.sounds[0], grid.own)
    rate = played_rate(heard)
    samples = heard.samples if rate == heard.rate else soxr.resample(heard.samples, heard.rate, rate, quality="HQ")
    mel, bands, frames = mel_bytes(heard, PICTURE_SECONDS)
    shared = details(heard, bands, frames)
    shared |= {
        "start": grid.start,
        "curves": [
            {"label": PLAIN, "gained": False, "minus": []},
            {"label": STEERED, "gained": False, "minus": []},
            {"label": SHIFT, "gained": True, "minus": [STEERED, PLAIN]},
        ],
    }
    own = ("title", "truth")
    queries = [
        {
            "details": {
                **{name: details(grid.listening(sound, grid.own), bands, frames)[name] for name in own},
                "range": _range(grid, sound),
            },
            "located": [None if found is None else [found.start, found.end] for found in sound.located],
            "words": sound.words,
        }
        for sound in grid.sounds
    ]
    curves = np.concatenate([grid.plain[None], *(sound.steered for sound in grid.sounds)]) * grid.span.count
    content: dict[str, object] = {
        "sound": _base64(opus_bytes(samples, rate)),
        "samples": len(samples),
        "curves": _base64(curves.astype("<f2").tobytes()),
        "strengths": list(grid.strengths),
        "own": grid.own,
        "first": grid.first,
        "details": {name: value for name, value in shared.items() if name not in own},
        "queries": queries,
    }
    return content, spectrogram_picture(mel, bands, frames)


def _range(grid: StrengthGrid, sound: SoughtSound) -> dict[str, list[float]]:
    """Lowest and highest value over all strengths, so that a curve that grows is seen to grow."""
    shares = np.stack([grid.plain, *sound.steered])
    shares = shares / np.maximum(shares.mean(axis=1, keepdims=True), 1e-12)
    moved = (sound.steered - grid.plain) * grid.span.count
    low, high = float(min(0.0, moved.min())), float(max(0.5, moved.max()))
    return {"share": [0.0, round(float(max(1.5, shares.max())), 3)], "gained": [round(low, 3), round(high, 3)]}


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


# -- pages -----------------------------------------------------------------------------------------------------------
def script() -> str:
    """The whole browser side as one classic script: pages that lie on a disk may not load modules."""
    parts = [*view_scripts(), STATIC / "standalone.js"]
    return "(() => {\n" + "\n".join(path.read_text(encoding="utf-8") for path in parts) + "})();\n"


def styles() -> str:
    """Its stylesheet."""
    return stylesheet() + (STATIC / "standalone.css").read_text(encoding="utf-8")


def player_html(grid: StrengthGrid) -> str:
    """The player as a fragment of html that holds all it needs. Raises ValueError for one above 400 kB: then pass fewer
    sounds or strengths, or shorter audio."""
    html = f"{host_html(grid)}\n<style>\n{styles()}</style>\n<script>\n{script()}</script>\n"
    if len(html.encode()) > LARGEST:
        raise ValueError(
            f"the player takes {len(html.encode()) / 1000:.0f} kB, more than {LARGEST / 1000:g}; pass fewer sounds or "
            f"strengths (there are {len(grid.sounds)} and {len(grid.strengths)}), or shorter audio"
        )
    return html


def player_page(grids: Sequence[StrengthGrid], title: str, *, assets: tuple[str, str] | None = None) -> str:
    """A page with a player a grid. `assets`: where the page finds `script` and `styles`; None: they are in it."""
    if assets is None:
        looks, acts = f"<style>\n{styles()}</style>", f"<script>\n{script()}</script>"
    else:
        acts = f'<script src="{escape(assets[0])}"></script>'
        looks = f'<link rel="stylesheet" href="{escape(assets[1])}">'
    return html_page(title, looks, "\n".join(map(host_html, grids)), acts)


def html_page(title: str, head: str, main: str, foot: str) -> str:
    """A page: `title` (text) as its title and heading; `head`, `main` and `foot` are html."""
    heading = escape(title)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{heading}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{PAGE_STYLE}</style>\n{head}\n</head>\n<body>\n<main>\n<h1>{heading}</h1>\n{main}\n</main>\n"
        f"{foot}\n</body>\n</html>\n"
    )


PAGE_STYLE = (
    ":root { color-scheme: light dark; } body { font-family: system-ui, sans-serif; line-height: 1.4; margin: 8px; }"
    " main { max-width: 1000px; } h1 { font-size: 1.1rem; margin: 4px 0; overflow-wrap: anywhere; }"
)


def host_html(grid: StrengthGrid) -> str:
    """What `script` makes a player of: the picture with its words, and the data."""
    content, picture = payload(grid)
    alt = f"Spectrogram of {grid.duration:.1f} s of sound, from {grid.start:.2f} s on. {grid.described()}."
    bars = "".join(_bar(grid, sound) for sound in grid.sounds)
    data = json.dumps(content, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return (
        f'<div class="steer-saved">\n<figure>\n<img alt="{escape(alt)}" width="100%" height="120" '
        f'src="data:image/png;base64,{_base64(picture)}">\n{bars}<figcaption>Where steering puts each sound. '
        "To hear it and to change the strength, scripts must run in this page.</figcaption>\n</figure>\n"
        f'<script type="application/json">{data}</script>\n</div>'
    )


def _bar(grid: StrengthGrid, sound: SoughtSound) -> str:
    """A line of words, under it the stretch of the picture that they are about."""
    found = sound.located[grid.own]
    where = "not located" if found is None else str(found.shifted(grid.start))
    left, width = (0.0, 0.0) if found is None else (found.start, found.duration)
    left, width = (100 * value / grid.duration for value in (left, width))
    words = escape(f"{sound.event}: {where}{f'; {sound.words}' if sound.words else ''}")
    style = f"margin-left: {left:.1f}%; width: {width:.1f}%; height: 6px; background: #0b4f8a"
    return f'<div>{words}<div style="{style}"></div></div>\n'
