"""Figures as objects and files: a common look, alt text inside, the same bytes each time."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.sax.saxutils import escape

import matplotlib
import seaborn
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from steer_utils.sound.files import whole_file


@contextmanager
def house_style() -> Iterator[None]:
    """The look of all figures; matplotlib's settings are as before afterwards."""
    with seaborn.plotting_context("notebook", font_scale=0.85), seaborn.axes_style("ticks"):
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches, with a canvas of its own: pyplot does not know it."""
    figure = Figure(figsize=(width, height), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, stem: Path, alt: str, caption: str = "") -> tuple[Path, Path]:
    """Write `stem`.png and `stem`.svg, each whole or not at all, with the alt text inside; the same bytes each time."""
    stem = Path(stem)
    targets = stem.with_name(stem.name + ".png"), stem.with_name(stem.name + ".svg")
    for target in targets:
        write_figure(figure, target, alt, caption)
    return targets


def write_figure(figure: Figure, path: Path, alt: str, caption: str = "") -> None:
    """Write one figure as .png or .svg, by the name of `path`."""
    kind = Path(path).suffix.lower().removeprefix(".")
    if kind not in ("png", "svg"):
        raise ValueError(f"cannot write {str(path)!r}; its name must end in .png or .svg")
    said = {"Description": alt, **({"Title": caption} if caption else {})}
    with whole_file(path) as part, matplotlib.rc_context({"svg.hashsalt": "steer_utils", "svg.fonttype": "path"}):
        if kind == "png":
            figure.savefig(part, format="png", metadata={**said, "Software": None})
            return
        figure.savefig(part, format="svg", metadata={**said, "Date": None, "Creator": None})
        # Screen readers take a drawing's <title>; matplotlib only fills the rdf metadata.
        drawing = part.read_text(encoding="utf-8")
        titled = re.sub(
            r"(<svg\b[^>]*)>", lambda tag: f'{tag[1]} role="img">\n <title>{escape(alt)}</title>', drawing, count=1
        )
        part.write_text(numbered_clips(titled), encoding="utf-8")


def numbered_clips(drawing: str) -> str:
    """An SVG of matplotlib's with its clip paths numbered. Their names are made from the bounds of axes, whose last
    digit a constrained layout settles otherwise from run to run."""
    for number, name in enumerate(re.findall(r'<clipPath id="(\w+)"', drawing)):
        drawing = drawing.replace(name, f"clip{number}")
    return drawing


def show(figure: Figure, alt: str, caption: str) -> None:
    """Show a figure in a notebook: a PNG with its alt text in the output's metadata, and the caption under it."""
    from IPython.display import display

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Description": alt, "Software": None})
    data = {"image/png": base64.b64encode(buffer.getvalue()).decode("ascii"), "text/plain": alt}
    display(data, raw=True, metadata={"image/png": {"alt": alt}})
    print(caption)
