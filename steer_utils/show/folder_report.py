"""A folder of recordings, several sounds sought in each: one table, and a page on which every file can be heard.

    table = locate_folder(lm, files, ["dog bark", "rain"], html=Path("report.html"), labels=Path("labels"))
    table.to_csv("table.csv", index=False)

One row a (file, sound). The page `report.html` holds the table; the players lie beside it in `report/`, a small page a
file, and one is loaded when it is opened. `labels/` gets an Audacity track a file, with the sounds that are there. A
file that cannot be heard is in the table with its cause. Each finished file is kept: a killed run goes on.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from html import escape
from itertools import groupby
from pathlib import Path

import pandas as pd

from steer_utils.lm.checkpoints import Checkpoint
from steer_utils.methods.calibration import model_calibration
from steer_utils.methods.locate import DEFAULT_METHOD, EventAnswer, Located, known_event, locate_events
from steer_utils.methods.settings import Settings, model_settings
from steer_utils.methods.table import label_of
from steer_utils.sound.audio import AudioError, AudioWarning
from steer_utils.sound.files import readable_name, write_whole
from steer_utils.sound.labels import Labelled, write_intervals
from steer_utils.sound.spans import Interval
from steer_utils.study.resume import Progress, Record, analysis_identity, resumable_rows

STRENGTHS = 17  # of a player: the settings' own and 0 to 8 in halves
COLUMNS = (
    *"file event there presence calibrated start end".split(),
    *"score duration windows method model warnings problem".split(),
)
ASSETS = ("player.js", "player.css")
TITLE = "Where the sounds are"

Heard = Callable[[Path, list[EventAnswer] | AudioError], None]


def threshold_of(checkpoint: Checkpoint, settings: Settings | None = None) -> float:
    """The probability from which on a sound counts as there: that of the model's calibration, else a half."""
    calibration = model_calibration(checkpoint, settings or model_settings(checkpoint))
    return 0.5 if calibration is None else calibration.threshold


def locate_folder(
    checkpoint: Checkpoint,
    files: Sequence[Path],
    events: Sequence[str],
    *,
    method: str = DEFAULT_METHOD,
    seconds: float | None = None,
    settings: Settings | None = None,
    batch: int | None = None,
    threshold: float | None = None,
    html: Path | None = None,
    labels: Path | None = None,
    resume_file: Path | None = None,
    progress: Progress = iter,
    heard: Heard = lambda path, answers: None,
) -> pd.DataFrame:
    """A row a (file, event): whether it is `there` (presence at or above `threshold`), where, and how sure; `COLUMNS`.

    presence, calibrated  probability that it is there, and whether it is a calibrated one (`methods.calibration`)
    start, end            seconds, also of what is not there: the model's best guess; None where there is no answer
    problem               why there is none; `warnings`: what was wrong with a file that could be heard

    `html`, `labels`: see above. `resume_file`: each finished file is appended to it, its page and its labels written
    before that; the same call goes on from there, also if files were added or changed meanwhile: then all is done anew.
    `heard` is called after each file. Raises ValueError before any work for what `locate_events` refuses, for a
    threshold that is no probability, and for a report of another method than steering, which its players show.
    """
    settings = settings or model_settings(checkpoint)
    level = threshold_of(checkpoint, settings) if threshold is None else threshold
    if not 0.0 <= level <= 1.0:
        raise ValueError(f"threshold is {level}; pass a probability, 0 to 1")
    if html is not None and method != DEFAULT_METHOD:
        raise ValueError(f"the players of a report steer, and the method is {method!r}; leave out one of the two")
    names = [readable_name(path.name) for path in files]
    folder = None if html is None else html.with_suffix("")
    pages = [page_name(number, name) for number, name in enumerate(names)]
    tracks = track_names(names)
    sought = [known_event(checkpoint, event) for event in events]
    locate_events(checkpoint, [], sought, methods=[method], seconds=seconds, settings=settings, batch=batch)
    for made in (folder, labels):
        if made is not None:
            made.mkdir(exist_ok=True)
    if folder is not None:
        from steer_utils.show.widgets.standalone import script, styles  # here: only players need traitlets

        if resume_file is not None and not (folder / ASSETS[0]).is_file():
            resume_file.unlink(missing_ok=True)  # its pages are gone
        for name, content in zip(ASSETS, (script(), styles()), strict=True):
            write_whole(folder / name, content)

    def inputs(pending: Sequence[int]) -> Iterable[tuple[int, list[EventAnswer] | AudioError]]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AudioWarning)  # they are in the table
            found = locate_events(
                checkpoint,
                [files[unit] for unit in pending],
                sought,
                methods=[method],
                seconds=seconds,
                settings=settings,
                batch=batch,
            )
            for unit, (_, answers) in zip(pending, found, strict=True):
                yield unit, answers

    def rows_of(unit: tuple[int, list[EventAnswer] | AudioError]) -> list[Record]:
        number, answers = unit
        rows = _rows(names[number], sought, answers, method, checkpoint.name, level)
        if isinstance(answers, list):
            if folder is not None:
                write_whole(folder / pages[number], _page(names[number], answers, rows, settings, seconds))
            if labels is not None:
                there = [(Interval(row["start"], row["end"]), row["event"]) for row in rows if row["there"]]
                write_intervals(labels / tracks[number], [Labelled(*pair) for pair in there])
        heard(files[number], answers)
        return rows

    identity = {
        **analysis_identity("locate", checkpoint, settings),
        "events": sought,
        "method": method,
        "seconds": seconds,
        "threshold": level,
        "written": [None if made is None else str(made) for made in (html, labels)],
        "files": [
            [name, path.stat().st_size, path.stat().st_mtime_ns] for name, path in zip(names, files, strict=True)
        ],
    }
    rows = resumable_rows(len(files), rows_of, identity, inputs=inputs, resume_file=resume_file, progress=progress)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table["windows"] = table["windows"].astype("Int64")  # whole numbers, or nothing
    table.attrs = {"model": checkpoint.name, "method": method, "threshold": level, "events": sought}
    if html is not None:
        write_whole(html, report_page(table, [f"{html.stem}/{page}" for page in pages]))
    return table


def page_name(number: int, name: str) -> str:
    """The name of file `number`'s page: its number, and what of its own name a link can hold everywhere."""
    return f"{number + 1:04d}-{re.sub(r'[^A-Za-z0-9_-]+', '_', Path(name).stem)[:60]}.html"


def track_names(names: Sequence[str]) -> list[str]:
    """The names of the label tracks: dog.txt for dog.wav; dog.wav.txt where two files would share it."""
    stems = Counter(Path(name).stem.casefold() for name in names)
    return [f"{Path(name).stem if stems[Path(name).stem.casefold()] == 1 else name}.txt" for name in names]


def _rows(
    name: str,
    events: Sequence[str],
    answers: list[EventAnswer] | AudioError,
    method: str,
    model: str,
    threshold: float,
) -> list[Record]:
    rows = []
    for place, event in enumerate(events):
        row: Record = dict.fromkeys(COLUMNS)
        row |= {"file": name, "event": event, "there": False, "method": method, "model": model}
        row |= {"warnings": "", "problem": ""}
        located: Located | ValueError = answers if isinstance(answers, AudioError) else answers[place].located[method]
        if isinstance(located, ValueError):
            row["problem"] = str(located)
        else:
            chance = located.chance_that_it_is_there
            row |= {
                "there": chance >= threshold,
                "presence": round(chance, 4),
                "calibrated": located.probability is not None,
                "start": round(located.interval.start, 3),
                "end": round(located.interval.end, 3),
                "score": round(located.score, 3),
                "duration": round(located.duration, 3),
                "windows": located.windows,
                "warnings": "; ".join(located.warnings),
            }
        rows.append(row)
    return rows


# -- pages -----------------------------------------------------------------------------------------------------------
def _page(
    name: str, answers: list[EventAnswer], rows: Sequence[Record], settings: Settings, seconds: float | None
) -> str:
    """A file's players: one for each stretch of it in which some of the sounds were found."""
    from steer_utils.show.widgets.standalone import LONGEST, TOP, player_page, strength_grid

    words = {row["event"]: presence_words(row) for row in rows}
    strengths = sorted({*(TOP * step / (STRENGTHS - 1) for step in range(STRENGTHS)), settings.strength})
    grids = []
    for start, together in groupby(sorted(answers, key=lambda answer: answer.start), key=lambda answer: answer.start):
        here = list(together)
        if here[0].hearing.duration <= LONGEST:
            asked = [answer.event for answer in here]
            grids.append(
                strength_grid(
                    here[0].hearing, asked, settings, strengths=strengths, seconds=seconds, words=words, start=start
                )
            )
    return player_page(grids, name, assets=ASSETS)


def presence_words(row: Record) -> str:
    """How likely it is that the sound is there, in words."""
    if row["presence"] is None:
        return str(row["problem"])
    kind = "probability" if row["calibrated"] else "the model's yes or no"
    return f"{'there' if row['there'] else 'not there'} ({kind} {row['presence']:.2f})"


def report_page(table: pd.DataFrame, pages: Sequence[str]) -> str:
    """The page of a table of `locate_folder`: a line a file, a column a sound. `pages`: where each file's player is."""
    from steer_utils.show.widgets.standalone import STATIC, html_page

    events, level = table.attrs["events"], table.attrs["threshold"]
    files = list(table.groupby("file", sort=False))
    heads = "".join(
        f'<th scope="col" aria-sort="none"><button type="button">{escape(event)}</button></th>' for event in events
    )
    lines = [_line(str(name), rows.to_dict("records"), page) for (name, rows), page in zip(files, pages, strict=True)]
    failed = table[table["problem"] != ""]["file"].nunique()
    counts = ", ".join(
        f"{escape(event)} in {int(table.loc[table['event'] == event, 'there'].sum())}" for event in events
    )
    calibrated = bool(table["calibrated"].fillna(False).astype(bool).any())
    sure = "calibrated" if calibrated else "by the model's own yes or no, which is not calibrated"
    said = (
        f"{len(files)} files, heard by {escape(str(table.attrs['model']))}, {escape(label_of(table.attrs['method']))}. "
        f"A sound counts as there from a presence of {level:.2f} on ({sure}): {counts}."
        + (f" {failed} could not be heard." if failed else "")
    )
    main = (
        f'<p>{said} A heading sorts by it.</p>\n<div class="scroll" tabindex="0" role="region" '
        'aria-label="Table of files">\n<table>\n<thead>\n<tr><th scope="col" aria-sort="none">'
        f'<button type="button">file</button></th>{heads}<th scope="col">hear it</th></tr>\n</thead>\n<tbody>\n'
        + "\n".join(lines)
        + "\n</tbody>\n</table>\n</div>"
    )
    style, script = ((STATIC / f"report.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    return html_page(TITLE, f"<style>\n{style}</style>", main, f"<script>\n{script}</script>")


def _line(name: str, rows: Sequence[Record], page: str) -> str:
    cells = "".join(_cell(row) for row in rows)
    problem = str(rows[0]["problem"])
    if all(row["problem"] for row in rows):
        cells = f'<td colspan="{len(rows)}" class="problem">{escape(problem)}</td>'
        play = ""
    else:
        play = f'<a href="{escape(page)}" aria-label="Hear {escape(name)}">hear</a>'
    length = "" if pd.isna(rows[0]["duration"]) else f"<small>{rows[0]['duration']:.1f} s</small>"
    doubts = f'<small class="problem">{escape(str(rows[0]["warnings"]))}</small>' if rows[0]["warnings"] else ""
    return f'<tr><th scope="row">{escape(name)} {length}{doubts}</th>{cells}<td>{play}</td></tr>'


def _cell(row: Record) -> str:
    if row["problem"]:
        return f'<td class="problem" data-value="-1">{escape(str(row["problem"]))}</td>'
    chance = f"<small>{row['presence']:.2f}</small>"
    if not row["there"]:
        return f'<td class="away" data-value="{row["presence"]}">not there {chance}</td>'
    return f'<td data-value="{row["presence"]}"><b>{row["start"]:.2f}-{row["end"]:.2f} s</b> {chance}</td>'
