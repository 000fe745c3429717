"""Data sets that others publish: what each is and may be used for, and the loader of ESC-50's official layout.

    print(DATASETS["esc50"])                       # its licence, and what that forbids
    bank = ClipBank(open_clips("ESC-50-master"))   # the official layout, or any folder with one csv

Multiple-choice sets are in `questions`, downloads in `downloads`. A loader checks its table and every sound file's
header before it returns, and raises one ValueError that says what was found and what to pass.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from steer_utils.sound.decoding import check_sounds
from steer_utils.sound.files import find_root, read_rows, require_root
from steer_utils.sound.recordings import NAMES, Clip, check_rows_agree, clip_of, read_clips

_ESC50_TABLE = Path("meta") / "esc50.csv"
_ESC_NAME = re.compile(r"(\d+-\d+-[A-Z])(?:-\d+)?\.\w+")  # fold-clip-take, in ESC-50 also -target


@dataclass(frozen=True)
class Remote:
    """One zip to download. `root` is the folder inside it.

    `checksum` is "md5:..." or "sha256:..." where one is published; None means that none can be relied on.
    """

    url: str
    filename: str
    root: str
    checksum: str | None = None


@dataclass(frozen=True)
class Dataset:
    """Facts about a data set. `obtain` says how to get it; `remote` is None where this library does not download it."""

    name: str
    title: str
    holds: str
    licence: str
    restriction: str
    citation: str
    homepage: str
    obtain: str
    remote: Remote | None = None

    def __str__(self) -> str:
        return f"{self.title}, licence: {self.licence}. {self.restriction}"


DATASETS = {
    dataset.name: dataset
    for dataset in (
        Dataset(
            name="esc50",
            title="ESC-50",
            holds="2000 recordings of 5 s, 50 classes, 5 folds",
            licence="CC BY-NC 3.0 (its ESC-10 part: CC BY 3.0)",
            restriction="Non-commercial use only, except for ESC-10. Name the authors of the clips: its LICENSE file "
            "lists them, and the licence of each clip.",
            citation="K. J. Piczak. ESC: Dataset for Environmental Sound Classification. ACM Multimedia 2015. "
            "doi:10.1145/2733373.2806390",
            homepage="https://github.com/karolpiczak/ESC-50",
            obtain="downloads.fetch('esc50', folder), or unpack the zip of its homepage",
            # GitHub packs this archive on demand: two md5 sums are in circulation (629e8e9e... and 7771e4b9...), so
            # neither can be demanded. The first download's sha256 is kept beside it instead.
            remote=Remote(
                url="https://github.com/karolpiczak/ESC-50/archive/master.zip",
                filename="ESC-50-master.zip",
                root="ESC-50-master",
            ),
        ),
        Dataset(
            name="sakura",
            title="SAKURA",
            holds="four tracks (Animal, Emotion, Gender, Language), one single-hop and one multi-hop question a clip",
            licence="none stated",
            restriction="Evaluate with it on your own machine; do not pass it on.",
            citation="C.-K. Yang, N. Ho, Y.-T. Piao, H.-Y. Lee. SAKURA: On the Multi-hop Reasoning of Large "
            "Audio-Language Models Based on Speech and Audio Information. Interspeech 2025. arXiv:2505.13237",
            homepage="https://github.com/b08202033/SAKURA",
            obtain="clone its homepage and pass the clone",
        ),
        Dataset(
            name="mmau",
            title="MMAU test-mini",
            holds="1000 multiple-choice questions on sound, music and speech",
            licence="none stated in its repository",
            restriction="Its audio comes from other collections with terms of their own. Evaluate with it on your own "
            "machine, and name the release: about a quarter of the questions changed in v05.15.25.",
            citation="S. Sakshi, U. Tyagi, S. Kumar, A. Seth, R. Selvakumar, O. Nieto, R. Duraiswami, S. Ghosh, "
            "D. Manocha. MMAU: A Massive Multi-Task Audio Understanding and Reasoning Benchmark. arXiv:2410.19168",
            homepage="https://github.com/Sakshi113/MMAU",
            obtain="take mmau-test-mini.json and the folder test-mini-audios from its homepage",
        ),
    )
}


def find_dataset(name: str) -> Dataset:
    """The facts of one data set. Raises ValueError for a name that is not in DATASETS."""
    if name not in DATASETS:
        raise ValueError(f"no data set is called {name!r}; there are: {', '.join(DATASETS)}")
    return DATASETS[name]


def open_clips(path: str | os.PathLike[str]) -> list[Clip]:
    """The clips of a folder: ESC-50 in its official layout (see `esc50`), else `recordings.read_clips`."""
    root = find_root(Path(path), _ESC50_TABLE)
    return esc50(root) if root is not None and (root / "audio").is_dir() else read_clips(path)


def esc50(folder: str | os.PathLike[str], *, esc10: bool = False) -> list[Clip]:
    """The clips of ESC-50 (Piczak 2015; CC BY-NC 3.0) with their folds, or only its ESC-10 part (CC BY 3.0).

    `folder` holds meta/esc50.csv and audio/*.wav, or one folder that does (as the unpacked zip). Underscores in
    categories become spaces; classes of ESC-10 get the names that the pocket models know (`NAMES`).
    Raises ValueError for another layout, missing columns or values, and sound files that are missing or unreadable.
    """
    root = require_root(Path(folder), _ESC50_TABLE, "ESC-50")
    table, sounds = root / _ESC50_TABLE, root / "audio"
    sounds = sounds / "audio" if (sounds / "audio").is_dir() else sounds  # as one mirror packs it
    rows = read_rows(table, ("filename", "fold", "category", *(("esc10",) if esc10 else ())))
    clips = [(where, row, _clip(sounds, row, where)) for where, row in rows]
    check_rows_agree((where, clip) for where, _, clip in clips)
    kept = [(row["filename"], clip) for where, row, clip in clips if not esc10 or _is_true(row["esc10"], where)]
    if not kept:
        raise ValueError(f"no row of {table.name} has esc10 = True; pass esc10=False for the whole set")
    check_sounds(sounds, [filename for filename, _ in kept], table.name)
    return [clip for _, clip in kept]


def _is_true(cell: str, where: str) -> bool:
    if cell.lower() not in ("true", "false"):
        raise ValueError(f"{where}: esc10 is {cell!r}; it must be True or False")
    return cell.lower() == "true"


def same_recordings(clips: Iterable[Clip], names: Collection[str]) -> frozenset[str]:
    """File names of those `clips` that hold a recording named in `names`, in whatever release of ESC.

    ESC-50 calls "1-100032-A-0.wav" what ESC-10 called "1-100032-A.ogg": to leave out a model's training recordings by
    file name alone would test on them. Other names are compared as they are.
    """
    wanted = {_recording(name) for name in names}
    return frozenset(clip.path.name for clip in clips if _recording(clip.path.name) in wanted)


def _recording(name: str) -> str:
    match = _ESC_NAME.fullmatch(name)
    return match.group(1) if match else name


def _clip(sounds: Path, row: dict[str, str], where: str) -> Clip:
    if not (row["filename"] and row["category"] and row["fold"]):
        raise ValueError(f"{where} needs a filename, a category and a whole number as fold; found {row}")
    clip = clip_of(sounds / row["filename"], row, where)
    return replace(clip, category=NAMES.get(clip.category, clip.category))
