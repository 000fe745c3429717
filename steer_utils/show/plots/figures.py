"""Figures as objects and files: a common look, alt text inside, the same bytes each time.

A picture that is drawn again on another processor differs in last digits. So a file is written again only where one
would see that it changed; `changed_files` says which did, and by how much.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from xml.sax.saxutils import escape

import matplotlib
import matplotlib.image
import numpy as np
import seaborn
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from steer_utils.sound.files import whole_file

VISIBLE = 8  # of 255 in a colour of a point; between processors it was 4 at most
_TAG = re.compile(r"<[^<>]+>")
_COORDINATES = re.compile(r'(?<= )(?:d|x|y|width|height|points|transform)="[^"]*"')
_LONG = re.compile(r"(?:scale|matrix)\([^)]*\)|-?\d+\.\d{3,}")  # factors are no coordinates


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
    """Write `stem`.png and `stem`.svg, each whole or not at all, with the alt text inside; the same bytes each time.

    Both stay untouched where they are there with the same words, and the picture differs by less than one sees.
    """
    stem = Path(stem)
    targets = stem.with_name(stem.name + ".png"), stem.with_name(stem.name + ".svg")
    picture, drawing = targets
    if not (picture.is_file() and drawing.is_file() and _titled(alt) in drawing.read_text("utf-8", errors="replace")):
        change = "not there"
    else:
        change = picture_change(picture.read_bytes(), png_of(figure, alt, caption))
    for target in targets if change else ():
        write_figure(figure, target, alt, caption)
    return targets


def picture_change(before: bytes, after: bytes) -> str:
    """In words, by how much one PNG differs from another; "" where one would not see it, and the words are the same."""
    if before == after:
        return ""
    try:
        old, new = (matplotlib.image.imread(io.BytesIO(data), format="png") for data in (before, after))
        words = [_words(data) for data in (before, after)]
    except (OSError, ValueError, SyntaxError):  # what PIL raises for a damaged file
        return "it could not be read"
    if old.shape != new.shape:
        return "another size"
    off = np.abs(old - new).max(axis=2) * 255
    if off.max() > VISIBLE:
        share = (off > VISIBLE).mean()
        return f"{100 * share:.2g} % of its points, by up to {off.max():.0f} of 255"
    return "" if words[0] == words[1] else "its words"


def changed_files(before: Mapping[str, bytes], folder: Path) -> list[str]:
    """What became of the pictures and tables in `folder`, one line a file that changed.

    `before`: what `files_of` gave earlier.
    """
    lines = []
    for name, now in files_of(folder).items():
        if name not in before:
            lines.append(f"{name}: new")
        elif now != before[name]:
            change = picture_change(before[name], now) if name.endswith(".png") else ""
            lines.append(f"{name}: {change or 'other text'}")
    return lines


def files_of(folder: Path) -> dict[str, bytes]:
    """Pictures (.png) and tables (.md) of a folder by name, in order; empty if there is no such folder."""
    paths = sorted(path for path in folder.glob("*") if path.suffix in (".png", ".md"))
    return {path.name: path.read_bytes() for path in paths}


def write_figure(figure: Figure, path: Path, alt: str, caption: str = "") -> None:
    """Write one figure as .png or .svg, by the name of `path`."""
    kind = Path(path).suffix.lower().removeprefix(".")
    if kind not in ("png", "svg"):
        raise ValueError(f"cannot write {str(path)!r}; its name must end in .png or .svg")
    with whole_file(path) as part:
        if kind == "png":
            part.write_bytes(png_of(figure, alt, caption))
            return
        with matplotlib.rc_context({"svg.hashsalt": "steer_utils", "svg.fonttype": "path"}):
            figure.savefig(part, format="svg", metadata={**_metadata(alt, caption), "Date": None, "Creator": None})
        # Screen readers take a drawing's <title>; matplotlib only fills the rdf metadata.
        drawing = part.read_text(encoding="utf-8")
        titled = re.sub(r"(<svg\b[^>]*)>", lambda tag: f'{tag[1]} role="img">\n {_titled(alt)}', drawing, count=1)
        part.write_text(two_decimals(numbered_clips(titled)), encoding="utf-8")


def png_of(figure: Figure, alt: str, caption: str = "", *, optimize: bool = False) -> bytes:
    """A figure as PNG, its words inside; the same bytes each time. `optimize`: fewer bytes, and longer to write."""
    buffer, metadata = io.BytesIO(), {**_metadata(alt, caption), "Software": None}
    figure.savefig(buffer, format="png", metadata=metadata, pil_kwargs={"optimize": optimize})
    return buffer.getvalue()


def _metadata(alt: str, caption: str) -> dict[str, str]:
    return {"Description": alt, **({"Title": caption} if caption else {})}


def _titled(alt: str) -> str:
    return f"<title>{escape(alt)}</title>"


def _words(picture: bytes) -> dict[str, str]:
    from PIL import Image  # comes with matplotlib

    with Image.open(io.BytesIO(picture)) as image:
        return {name: str(image.info.get(name)) for name in ("Description", "Title")}


def numbered_clips(drawing: str) -> str:
    """An SVG of matplotlib's with its clip paths numbered. Their names are made from the bounds of axes, whose last
    digit a constrained layout settles otherwise from run to run."""
    for number, name in enumerate(re.findall(r'<clipPath id="(\w+)"', drawing)):
        drawing = drawing.replace(name, f"clip{number}")
    return drawing


def two_decimals(drawing: str) -> str:
    """An SVG of matplotlib's with its coordinates, in points, to two decimals: more of them say nothing, and change."""

    def rounded(number: re.Match[str]) -> str:
        if number[0].endswith(")"):
            return number[0]
        text = f"{float(number[0]):.2f}".rstrip("0").rstrip(".")
        return "0" if text == "-0" else text

    return _TAG.sub(lambda tag: _COORDINATES.sub(lambda value: _LONG.sub(rounded, value[0]), tag[0]), drawing)


def show(figure: Figure, alt: str, caption: str) -> None:
    """Show a figure in a notebook: a PNG with its alt text in the output's metadata, and the caption under it."""
    display_png(png_of(figure, alt, optimize=True), alt)  # notebooks are kept small
    print(caption)


def display_png(content: bytes, alt: str, html: str = "") -> None:
    """Put a PNG into a notebook with its alt text, and the same as `html` for whoever can show that."""
    from IPython.display import display

    data = {"image/png": base64.b64encode(content).decode("ascii"), "text/plain": alt}
    data |= {"text/html": html} if html else {}
    display(data, raw=True, metadata={"image/png": {"alt": alt}})
