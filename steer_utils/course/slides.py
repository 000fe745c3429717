"""Slides for class, made from the lessons: their aims, their predictions, and the figures that they drew.

    write_slides([Path("notebooks/00_start_here.ipynb")], Path("slides.html"))

One html file that needs nothing else: no network, no library. Arrow keys, space or a presenter go through it, and
printing it gives a pdf with a slide a page. A lesson that is executed again has new slides by the same command.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steer_utils.course.exercises import tags
from steer_utils.runs.parameters import REMEDY
from steer_utils.show.palette import FOUND, INK, SOFT, TRUE
from steer_utils.sound.files import whole_file

_AIMS = re.compile(r"\*\*After this notebook you can\*\*\s*\n(.*?)(?=\n\s*\n\*\*|\Z)", re.DOTALL)
_PREDICT = re.compile(r"^> \*\*Predict\.\*\*(.*?)(?=^(?!>)|\Z)", re.DOTALL | re.MULTILINE)
_STYLE = f"""
:root {{ color: {INK}; background: #fff; font: 2.6vmin/1.45 system-ui, sans-serif; scroll-snap-type: y mandatory; }}
body {{ margin: 0; counter-reset: slide; }}
section {{ box-sizing: border-box; height: 100vh; padding: 6vmin 9vmin 7vmin; position: relative; overflow: hidden;
  scroll-snap-align: start; break-after: page; display: flex; flex-direction: column; justify-content: center; }}
section::after {{ counter-increment: slide; content: attr(data-lesson) "  " counter(slide); position: absolute;
  right: 3vmin; bottom: 2vmin; color: {SOFT}; font-size: 1.8vmin; }}
h1 {{ font-size: 6vmin; line-height: 1.15; margin: 0 0 3vmin; }}
h2 {{ font-size: 4vmin; line-height: 1.2; margin: 0 0 2vmin; color: {FOUND}; }}
li {{ margin: 0 0 1.2vmin; }}
.predict {{ border-left: 1vmin solid {TRUE}; padding-left: 4vmin; font-size: 4vmin; }}
.predict h2 {{ color: {TRUE}; }}
figure {{ margin: 0; min-height: 0; flex: 0 1 auto; display: flex; flex-direction: column; align-items: center; }}
img {{ max-width: 100%; max-height: 72vh; object-fit: contain; min-height: 0; }}
figcaption {{ margin-top: 1.5vmin; max-width: 100ch; text-align: center; }}
@page {{ size: 33.867cm 19.05cm; margin: 0; }}
@media print {{ section {{ height: 19.05cm; }} :root {{ font-size: 0.5cm; }} }}
"""
_SCRIPT = """
addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowDown: 1, PageDown: 1, " ": 1, ArrowLeft: -1, ArrowUp: -1, PageUp: -1 }[event.key];
  if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  const slides = [...document.querySelectorAll("section")];
  const here = Math.round(scrollY / innerHeight);
  slides[Math.min(slides.length - 1, Math.max(0, here + step))].scrollIntoView();
});
"""


@dataclass(frozen=True)
class Slide:
    """One slide: its title, and either points, a question to predict, or a picture with its words."""

    kind: str  # lesson, predict or figure
    title: str
    lesson: str
    points: tuple[str, ...] = ()
    picture: str = ""  # a PNG in base64
    alt: str = ""
    caption: str = ""


def slides_of(path: Path) -> list[Slide]:
    """The slides of an executed lesson. Raises ValueError for a file that is no notebook, or one without figures."""
    try:
        import nbformat
    except ImportError as error:
        raise ValueError(REMEDY) from error
    try:
        notebook = nbformat.read(path, as_version=4)
    except Exception as error:
        raise ValueError(f"cannot read {str(path)!r} as a notebook: {' '.join(str(error).split())[:120]}") from None
    slides = list(_slides(notebook.cells))
    if not any(slide.kind == "figure" for slide in slides):
        raise ValueError(f"{str(path)!r} holds no figure with words; pass an executed lesson")
    return slides


def _slides(cells: Sequence[Any]) -> Iterator[Slide]:
    lesson = heading = question = ""
    for cell in cells:
        if cell.cell_type == "markdown" and "exercise" not in tags(cell):
            for line in cell.source.splitlines():
                if line.startswith("# ") and not lesson:
                    lesson = heading = line[2:].strip()
                    points = re.findall(
                        r"^- (.+(?:\n  .+)*)", aims[1] if (aims := _AIMS.search(cell.source)) else "", re.M
                    )
                    yield Slide("lesson", lesson, lesson, tuple(" ".join(point.split()) for point in points))
                elif line.startswith(("## ", "### ")):
                    heading, question = line.lstrip("# ").strip(), ""
            if asked := _PREDICT.findall(cell.source):
                question = " ".join(asked[-1].replace("\n>", " ").split())
        for output in cell.get("outputs", []):
            alt = output.get("metadata", {}).get("image/png", {}).get("alt", "")
            if alt and "image/png" in output.data:
                if question:
                    yield Slide("predict", heading, lesson, (question,))
                    question = ""
                yield Slide(
                    "figure", heading, lesson, picture=output.data["image/png"], alt=alt, caption=_caption(cell)
                )


def _caption(cell: Any) -> str:
    """What a lesson prints under a figure: its last printed line."""
    printed = "".join(output.get("text", "") for output in cell.outputs if output.output_type == "stream")
    return (printed.strip().splitlines() or [""])[-1]


def slides_html(slides: Sequence[Slide]) -> str:
    """All slides as one page."""
    body = "\n".join(_section(slide) for slide in slides)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Steering where to listen</title>\n'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>\n<body><main>\n'
        f"{body}\n</main><script>{_SCRIPT}</script></body></html>\n"
    )


def _section(slide: Slide) -> str:
    lesson = html.escape(slide.lesson.split(":")[0], quote=True)
    if slide.kind == "lesson":
        points = "".join(f"<li>{_inline(point)}</li>" for point in slide.points)
        inside = f"<h1>{_inline(slide.title)}</h1><p>Afterwards you can</p><ul>{points}</ul>"
    elif slide.kind == "predict":
        inside = f'<div class="predict"><h2>Predict</h2><p>{_inline(slide.points[0])}</p></div>'
    else:
        picture = (
            f'<img alt="{html.escape(slide.alt, quote=True)}" src="data:image/png;base64,{slide.picture.strip()}">'
        )
        words = f"<figcaption>{_inline(slide.caption)}</figcaption>"
        inside = f"<h2>{_inline(slide.title)}</h2><figure>{picture}{words}</figure>"
    return f'<section data-lesson="{lesson}">{inside}</section>'


def _inline(text: str) -> str:
    """The little markdown that titles and questions have: links, code, bold, italics and simple symbols."""
    text = re.sub(r"\[([^]]+)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"\$([^$]+)\$", lambda found: _symbols(found[1]), text)
    text = html.escape(text, quote=False)
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", text)
    text = re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", text)
    return re.sub(r"\*([^*]+)\*", r"<i>\1</i>", text)


def _symbols(formula: str) -> str:
    for name, sign in (("\\lambda", "λ"), ("\\Delta", "Δ"), ("\\lVert", "‖"), ("\\rVert", "‖"), ("\\,", " ")):
        formula = formula.replace(name, sign)
    return formula


def write_slides(paths: Sequence[Path], out: Path) -> int:
    """Write the slides of these lessons, whole or not at all; how many. Raises ValueError as `slides_of` does."""
    slides = [slide for path in paths for slide in slides_of(Path(path))]
    with whole_file(Path(out)) as part:
        part.write_text(slides_html(slides), encoding="utf-8")
    return len(slides)
