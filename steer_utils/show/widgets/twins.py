"""Static twins: what a reader without a kernel sees in place of a player.

    figure = twin(heard)                 # a matplotlib figure of a `Listening`
    publish(figure, alt_text_twin(heard), "A dog bark, located.")     # into the notebook, right before its widget
    static_outputs(notebook)             # an executed notebook without widgets that nobody can show any more

A twin is published before its widget. A live view hides it (static/player.css), a saved notebook shows it.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from steer_utils.methods.locate import Located
from steer_utils.show.plots.figures import display_png, house_style, new_figure, png_of
from steer_utils.show.plots.located import (
    alt_text_listening,
    alt_text_located,
    event_marks,
    events_text,
    listening_figure,
    located_figure,
    mark,
    spectrogram,
)
from steer_utils.show.widgets.listening import Listening
from steer_utils.sound.scenes import Event, Scene
from steer_utils.sound.spans import AudioSpan, Interval

if TYPE_CHECKING:
    from nbformat import NotebookNode

TWIN = "Static twin. "  # how the words of every twin begin
#: A notebook that was saved with live widgets and is opened again: what follows a twin then has no elements, only the
#: words "Loading widget..." or "model not found". JupyterLab drops the rule where it does not trust the notebook.
ALONE = (
    "<style>.jp-OutputArea-child:has(.steer-words) + .jp-OutputArea-child > .jp-OutputArea-output:not(:has(*)) "
    "{ display: none; }</style>"
)
WIDGET = "application/vnd.jupyter.widget-view+json"


def twin(listening: Listening) -> Figure:
    """The picture as a figure: sound, intervals, and every curve as the default read-out has it.

    Without an interval that was located the curves are left out; without the truth only the one that was read is drawn.
    """
    if listening.located is None:
        return _sound_figure(listening)
    if listening.truth is None:
        return located_figure(_as_located(listening, listening.located))
    return listening_figure(*_seen(listening), listening.located, listening.truth)


def alt_text_twin(listening: Listening) -> str:
    """What `twin` shows, in words."""
    if listening.located is None:
        events = f" ({events_text(listening.events)})" if listening.events else ""
        return f"Spectrogram of {listening.duration:.1f} s of sound{events}; nothing located."
    if listening.truth is None:
        return alt_text_located(_as_located(listening, listening.located))
    return alt_text_listening(*_seen(listening), listening.located, listening.truth)


def publish(figure: Figure, alt: str, caption: str, html: str = "") -> None:
    """Put a twin into the notebook: a PNG of 128 colours, with its alt text, and a line for readers without pictures.

    `html`: the same as a player that needs no kernel (`standalone.player_html`), for whoever can show html; it is then
    what exported pages show, and the PNG is for all others. Call it right before the widget is displayed in the same
    cell: a live view hides all of it.
    """
    from IPython.display import display

    display_png(_fewer_colours(png_of(figure, alt)), f"{TWIN}{alt}", html)
    words = f"{TWIN}{caption}"
    display({"text/plain": words, "text/html": f'<span class="steer-words">{escape(words)}</span>{ALONE}'}, raw=True)


def _fewer_colours(png: bytes) -> bytes:
    """The same picture in 128 colours, with its words: a third of the bytes."""
    from PIL import Image, PngImagePlugin  # comes with matplotlib

    with Image.open(io.BytesIO(png)) as image:
        kept = PngImagePlugin.PngInfo()
        kept.add_itxt("Description", str(image.info.get("Description", "")))
        buffer = io.BytesIO()
        image.convert("RGB").quantize(128).save(buffer, "PNG", optimize=True, pnginfo=kept, dpi=image.info.get("dpi"))
    return buffer.getvalue()


def static_outputs(notebook: NotebookNode) -> None:
    """Take widgets out of an executed notebook, in place: without their kernel they would say "model not found".

    Widget views go, with outputs that hold nothing else (their text is only the widget's name), and the saved state of
    widgets. Everything else stays, the twins too.
    """
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if cell.get("cell_type") == "code":
            cell.outputs = [output for output in cell.outputs if not _only_widget(output)]
            for output in cell.outputs:
                output.get("data", {}).pop(WIDGET, None)
                output.get("metadata", {}).pop(WIDGET, None)


def _only_widget(output: Mapping[str, Any]) -> bool:
    data = output.get("data", {})
    return WIDGET in data and not set(data) - {WIDGET, "text/plain"}


def _sound_figure(listening: Listening) -> Figure:
    with house_style():
        figure = new_figure(7.5, 2.9)
        ax = spectrogram(figure.subplots(), listening.samples, listening.rate)
        mark(ax, event_marks(listening.events, listening.truth))
    return figure


def _seen(listening: Listening) -> tuple[Scene, dict[str, np.ndarray], AudioSpan]:
    """The scene, every curve as the default read-out has it, and the tokens that these are counted in."""
    events = tuple(Event(name, interval) for name, interval in listening.events)
    curves = {label: listening.curve(label) for label in listening.curves}
    return Scene(listening.samples, listening.rate, events), curves, listening.span


def _as_located(listening: Listening, interval: Interval) -> Located:
    """For the figure of one located sound: only what it draws."""
    return Located(
        event=listening.title or "sound",
        interval=interval,
        score=0.0,
        presence=1.0,
        method=listening.read or "a given window",
        model="",
        duration=listening.duration,
        window=Interval(0.0, listening.duration),
        windows=1,
        curve=listening.curve() if listening.curves else None,
        samples=listening.samples,
        sampling_rate=listening.rate,
    )
