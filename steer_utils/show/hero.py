"""The animation over the README: a typical scene is heard, and attention moves as the strength rises.

    reading = read_hero(lm)                    # every frame's attention, read from the model
    write_hero(reading, Path("figures"))       # hero.webp, hero.webm with sound, its still, hero.vtt, hero.md

The scene is chosen by a rule, not by eye: of `SCENES` test scenes the one whose overlap is the median. Nothing is drawn
between two readings: each strength that is shown was read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from steer_utils.lm.models import AudioLM
from steer_utils.methods.base import Query, contrast_of, read_out, steered_attention
from steer_utils.methods.rounds import together
from steer_utils.methods.settings import Settings, model_settings
from steer_utils.show.palette import FILL, FOUND, INK, SOFT, TRUE
from steer_utils.show.plots.figures import house_style, new_figure
from steer_utils.show.plots.located import spectrogram
from steer_utils.sound.files import check_target, whole_file, write_whole
from steer_utils.sound.scenes import Event, Scene
from steer_utils.sound.spans import AudioSpan, Interval, best_window
from steer_utils.study.benchmark import HeardScene, run_benchmark, scene_set

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SCENES, SEED = 50, 2026
FRAMES_A_SECOND = 10
LEAD = 1.0  # seconds before the sound begins, and after its end
RISE = (1.0, 3.0)  # seconds of a query's part in which the strength rises from 0
VIDEO_RATE = 48_000  # Hz; Opus knows few


@dataclass(frozen=True, eq=False)
class HeroPart:
    """One query: `attention` (strengths, tokens) as multiples of the even share, with the `strengths` (strengths,) that
    rise from 0; `found` is the window read at the last of them."""

    event: Event
    strengths: np.ndarray
    attention: np.ndarray
    found: Interval


@dataclass(frozen=True, eq=False)
class Hero:
    """What the animation shows. `overlap`: mean over the scene's queries, in 0..1; the median of `SCENES` scenes."""

    model: str
    scene: Scene
    span: AudioSpan
    overlap: float
    parts: tuple[HeroPart, ...]

    @property
    def seconds(self) -> float:
        """How long the animation takes."""
        return self.scene.duration + 2 * LEAD

    def caption(self) -> str:
        """What is seen, and how it was chosen."""
        asked = ", then ".join(f"the {part.event.name}" for part in self.parts)
        strongest = self.parts[0].strengths[-1]
        windows = " and ".join(f"{100 * part.found.covers(part.event.span):.0f} %" for part in self.parts)
        return (
            f"`{self.model}` hears {', '.join(self.scene.names)}. Its attention is steered to {asked}: the strength "
            f"rises from 0 to {strongest:g}, and every curve was read from the model at that strength. The windows "
            f"found at the end cover {windows} of the sounds. The scene is a typical one, not the best: of {SCENES} "
            f"test scenes (seed {SEED}) it is the one with the median overlap, {100 * self.overlap:.1f} %."
        )

    def alt(self) -> str:
        """The same for who cannot see it."""
        moves = []
        for part in self.parts:
            inside = self.span.tokens(part.event.span)
            before, after = (100 * curve[inside].sum() / len(curve) for curve in part.attention[[0, -1]])
            moves.append(f"to the {part.event.name} from {before:.0f} to {after:.0f} percent of the attention")
        return (
            f"Animation: the spectrogram of {', '.join(self.scene.names)}, and below it the model's attention over "
            f"time. As the strength rises, attention moves {', then '.join(moves)}."
        )


def typical_scene(lm: AudioLM, settings: Settings) -> tuple[HeardScene, float]:
    """The scene of the median overlap under steering, of `SCENES` test scenes, and that overlap (the lower median; the
    first scene of those that are level)."""
    scenes = scene_set(lm, settings, count=SCENES, seed=SEED)
    table = run_benchmark(lm, scenes, settings, methods=["steering"])
    overlaps = table.groupby("scene")["overlap"].mean().sort_values(kind="stable")
    middle = overlaps.iloc[(len(overlaps) - 1) // 2]
    index = min(overlaps.index[overlaps == middle])
    return scenes.heard(lm, int(index)), float(middle)


def read_hero(lm: AudioLM) -> Hero:
    """Hear the typical scene and read the attention for its first and last sound at every strength that is shown."""
    settings = model_settings(lm)
    heard, overlap = typical_scene(lm, settings)
    scene, hearing = heard.scene, heard.hearing
    strengths = settings.strength * np.linspace(0, 1, round((RISE[1] - RISE[0]) * FRAMES_A_SECOND) + 1)
    parts = []
    for event in (scene.events[0], scene.events[-1]):
        vector = contrast_of(hearing, Query(event.name, event.span.duration), settings)
        rows = [replace(settings, strength=float(strength)) for strength in strengths]
        maps = together(steered_attention.steps(hearing, vector, replace(row, read="share")) for row in rows)
        shares = np.stack([attention.curve(settings.read_blocks) for attention in maps])
        curve = read_out(maps[-1], maps[0], settings.read, settings.read_blocks)
        found, _ = best_window(curve, hearing.span, event.span.duration)
        parts.append(HeroPart(event, strengths, shares * shares.shape[1], found))
    return Hero(lm.name, scene, hearing.span, overlap, tuple(parts))


def hero_frames(hero: Hero) -> Iterator[np.ndarray]:
    """The pictures of the animation in order, each (height, width, 3) of uint8."""
    with house_style():
        figure, drawn = _stage(hero)
        for number in range(round(hero.seconds * FRAMES_A_SECOND)):
            drawn.show(number / FRAMES_A_SECOND)
            figure.canvas.draw()
            yield np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()  # type: ignore[attr-defined]


def _stage(hero: Hero) -> tuple[Figure, _Drawn]:
    """The figure with all that stands still."""
    figure = new_figure(7.0, 4.1)
    figure.set_layout_engine("none")
    top = figure.add_axes((0.105, 0.49, 0.875, 0.30))
    low = figure.add_axes((0.105, 0.13, 0.875, 0.27))
    scene = hero.scene
    spectrogram(top, scene.samples, scene.rate)
    top.set(xlabel="", ylabel="Hz")
    top.tick_params(labelbottom=False)
    highest = 1.08 * max(part.attention.max() for part in hero.parts)
    low.set(xlim=top.get_xlim(), ylim=(0, highest), xlabel="time (s)", ylabel="attention")
    low.axhline(1, color=SOFT, linewidth=0.8)
    key = "solid: steered    dashed: before    1: an even share"
    low.text(1, 1.03, key, transform=low.transAxes, color=INK, ha="right", va="bottom", fontsize=10)
    low.spines[["top", "right"]].set_visible(False)
    return figure, _Drawn(hero, figure, top, low)


class _Drawn:
    """What moves, and how it stands at a moment."""

    def __init__(self, hero: Hero, figure: Figure, top: Axes, low: Axes) -> None:
        self.hero, self.low = hero, low
        self.times = hero.span.seconds_per_token * (np.arange(hero.span.count) + 0.5)
        self.words = figure.text(0.105, 0.94, "", color=INK, fontsize=14, weight="bold", va="center")
        figure.text(0.105, 0.875, "strength", color=INK, fontsize=11, va="center")
        self.value = figure.text(0.62, 0.875, "", color=INK, fontsize=11, va="center")
        meter = figure.add_axes((0.215, 0.86, 0.39, 0.03))
        meter.set(xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[])
        (self.level,) = meter.barh([0.5], [0], height=1.0, color=FOUND)
        self.names = {}
        for event in hero.scene.events:
            top.axvspan(event.span.start, event.span.end, facecolor="none", edgecolor=SOFT, linewidth=1.0)
            self.names[event] = top.text(
                event.span.center, 1.03, event.name, transform=top.get_xaxis_transform(), ha="center", fontsize=11
            )
        self.box = top.axvspan(0, 1, facecolor="none", edgecolor=TRUE, linewidth=2.6)
        self.heads = [axes.axvline(0, color=INK, linewidth=1.6) for axes in (top, low)]
        (self.line,) = low.plot([], [], color=FOUND, linewidth=1.8)
        (self.before,) = low.plot([], [], color=SOFT, linewidth=1.1, linestyle=(0, (4, 2)))
        self.area = low.fill_between([], [])
        self.window = low.axvspan(0, 1, facecolor=FILL, alpha=0.5, linewidth=0, zorder=0)
        self.told = low.text(0, 0.99, "", transform=low.get_xaxis_transform(), color=INK, fontsize=10, va="top")
        self.told.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1.5})

    def show(self, moment: float) -> None:
        """As it is `moment` seconds after the start."""
        hero = self.hero
        each = hero.seconds / len(hero.parts)
        part = hero.parts[min(int(moment / each), len(hero.parts) - 1)]
        inside = moment - each * hero.parts.index(part)
        step = int(np.clip(round((inside - RISE[0]) * FRAMES_A_SECOND), 0, len(part.strengths) - 1))
        strength, curve = float(part.strengths[step]), part.attention[step]
        self.words.set_text(f"“Focus on the {part.event.name}.”")
        self.value.set_text(f"{strength:.1f}")
        self.level.set_width(strength / part.strengths[-1])
        for event, name in self.names.items():
            sought = event is part.event
            name.set(color=TRUE if sought else SOFT, weight="bold" if sought else "normal")
        self.box.set_x(part.event.span.start)
        self.box.set_width(part.event.span.duration)
        playhead = float(np.clip(moment - LEAD, 0, hero.scene.duration))
        for head in self.heads:
            head.set_xdata([playhead, playhead])
        self.line.set_data(self.times, curve)
        self.before.set_data(self.times, part.attention[0])
        self.area.remove()
        self.area = self.low.fill_between(self.times, curve, color=FOUND, alpha=0.25, linewidth=0)
        whole = step == len(part.strengths) - 1
        self.window.set_visible(whole)
        self.window.set_x(part.found.start)
        self.window.set_width(part.found.duration)
        self.told.set_text(f"found: {part.found}" if whole else "")
        right = part.found.center < hero.scene.duration / 2
        self.told.set(x=part.found.end + 0.08 if right else part.found.start - 0.08, ha="left" if right else "right")


def check_hero(folder: Path) -> None:
    """Raises ValueError for a folder that cannot be written to, and where PyAV, which writes the sound, is missing."""
    check_target(folder / "hero.webp", (".webp",))
    if find_spec("av") is None:
        raise ValueError("the animation's sound needs PyAV: pip install 'steer-utils[video]'")


def write_hero(hero: Hero, folder: Path) -> list[Path]:
    """Write hero.webp (no sound), hero.webm (VP9 and Opus), hero.vtt (which sound is heard), hero.md (the caption) and
    hero_still.webp: the end of the first query's part, which stands where the film is until it plays.

    Raises ValueError as `check_hero` does, before anything is drawn.
    """
    check_hero(folder)
    frames = list(hero_frames(hero))
    paths = [folder / f"hero{rest}" for rest in (".webp", ".webm", ".vtt", ".md", "_still.webp")]
    first, *others = map(Image.fromarray, frames)
    with whole_file(paths[0]) as part:
        first.save(
            part,
            save_all=True,
            append_images=others,
            duration=1000 // FRAMES_A_SECOND,
            loop=0,
            quality=70,
            method=4,
            minimize_size=True,
        )
    with whole_file(paths[1]) as part:
        _write_video(part, frames, hero.scene)
    write_whole(paths[2], _subtitles(hero.scene))
    write_whole(paths[3], hero.caption() + "\n")
    with whole_file(paths[4]) as part:
        Image.fromarray(frames[len(frames) // len(hero.parts) - 1]).save(part, quality=70, method=4)
    return paths


def _write_video(path: Path, frames: list[np.ndarray], scene: Scene) -> None:
    import av
    import soxr

    silence = np.zeros(round(LEAD * scene.rate), dtype=np.float32)
    sound = soxr.resample(np.concatenate([silence, scene.samples, silence]), scene.rate, VIDEO_RATE)
    with av.open(str(path), "w", format="webm", options={"fflags": "bitexact"}) as container:
        height, width, _ = frames[0].shape
        picture = container.add_stream("libvpx-vp9", rate=FRAMES_A_SECOND, options={"crf": "30", "b": "0"})
        picture.width, picture.height, picture.pix_fmt = width, height, "yuv420p"
        voice = container.add_stream("libopus", rate=VIDEO_RATE, layout="mono")
        for frame in frames:
            container.mux(picture.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(picture.encode())
        heard = av.AudioFrame.from_ndarray(sound[None].astype(np.float32), format="flt", layout="mono")
        heard.sample_rate, heard.pts, heard.time_base = VIDEO_RATE, 0, Fraction(1, VIDEO_RATE)
        resampler = av.AudioResampler(format="s16", layout="mono", rate=VIDEO_RATE, frame_size=960)
        for piece in (*resampler.resample(heard), *resampler.resample(None)):
            container.mux(voice.encode(piece))
        container.mux(voice.encode())


def _subtitles(scene: Scene) -> str:
    """WebVTT: the name of each sound while it is heard."""

    def clock(seconds: float) -> str:
        minutes, rest = divmod(seconds, 60)
        return f"{int(minutes):02}:{rest:06.3f}"

    cues = [
        f"{clock(event.span.start + LEAD)} --> {clock(event.span.end + LEAD)}\n[{event.name}]" for event in scene.events
    ]
    return "WEBVTT\n\n" + "\n\n".join(cues) + "\n"
