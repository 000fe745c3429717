"""Multiple-choice questions about recordings: SAKURA and MMAU test-mini, from their folders.

    questions = sakura("SAKURA", "Animal") + mmau("mmau-test-mini.json", "test-mini-audios")
    questions[0].prompt     # "Which animal is heard? (a) dog (b) crow (c) cow (d) rooster"
    questions[0].answer     # "dog": always one of .choices

The answers of both sets are written by hand, with and without "(b)" before them. Here an answer is a choice, or the
loader says which questions have none.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from steer_utils.sound.decoding import check_sounds
from steer_utils.sound.files import RepeatedKeyError, read_rows, read_text, strict_json

TRACKS = ("Animal", "Emotion", "Gender", "Language")
HOPS = ("single", "multi")
LETTERS = "abcdefghij"

_COLUMNS = ("file", "single_instruction", "single_answer", "multi_instruction", "multi_answer")
# ASCII, or "İ" would count as a capital i.
_MARK = re.compile(rf"\(([{LETTERS}])\)\s*", re.IGNORECASE | re.ASCII)  # "(b) " inside an instruction
_MARKED = re.compile(rf"\(?([{LETTERS}])[).:]\s*(.*)", re.IGNORECASE | re.ASCII | re.DOTALL)  # "(b) crow", "B. crow"
_BARE = re.compile(rf"([{LETTERS}])()", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True)
class Question:
    """One question about the recording at `path`. Raises ValueError if `answer` is not one of at least two `choices`.

    `task` groups questions: "animal-single" or "animal-multi" (SAKURA), "sound", "music" or "speech" (MMAU).
    """

    id: str
    path: Path
    question: str
    choices: tuple[str, ...]
    answer: str
    task: str

    def __post_init__(self) -> None:
        if not 2 <= len(self.choices) <= len(LETTERS):
            raise ValueError(f"question {self.id} has {len(self.choices)} choices; it needs 2 to {len(LETTERS)}")
        if self.answer not in self.choices:
            raise ValueError(f"question {self.id}: the answer {self.answer!r} is none of {', '.join(self.choices)}")

    @property
    def letter(self) -> str:
        """The letter of the right choice in `prompt`."""
        return LETTERS[self.choices.index(self.answer)]

    @property
    def prompt(self) -> str:
        """The question and its lettered choices in one line, as SAKURA words them."""
        listed = " ".join(f"({letter}) {choice}" for letter, choice in zip(LETTERS, self.choices, strict=False))
        return f"{self.question} {listed}"


@dataclass(frozen=True)
class _Draft:
    """A question as its file has it; `path` is relative to the folder of sounds."""

    id: str
    path: str
    question: str
    choices: tuple[str, ...]
    answer: str
    task: str


def sakura(folder: str | os.PathLike[str], track: str, *, drop_broken: bool = False) -> list[Question]:
    """The questions of one SAKURA track (Yang et al. 2025; no licence stated: evaluate locally): two a clip.

    `folder` is the clone, its data folder, or the track's own folder (metadata.csv beside audio/). The choices stand
    in the instruction, "... (a) dog (b) crow"; they are taken out of it. Raises ValueError for an unknown track,
    another layout, missing columns, missing sounds, and questions whose answer is none of their choices, unless
    `drop_broken` leaves those out.
    """
    names = {name.casefold(): name for name in TRACKS}
    if track.casefold() not in names:
        raise ValueError(f"SAKURA has no track {track!r}; pass one of {', '.join(TRACKS)}")
    name = names[track.casefold()]
    root = _track_folder(Path(folder), name)
    rows = read_rows(root / "metadata.csv", _COLUMNS)
    drafts = [draft for line, (_, row) in enumerate(rows, start=2) for draft in _hops(row, line, name)]
    return _questions(drafts, root / "audio", f"{name}/metadata.csv", drop_broken)


def _hops(row: dict[str, str], line: int, track: str) -> Iterator[_Draft]:
    for hop in HOPS:
        question, choices = _split(row[f"{hop}_instruction"])
        task = f"{track.lower()}-{hop}"
        # the line, because a recording may serve for more than one row
        name = f"{task}-{line:04d}-{PurePosixPath(row['file']).stem}"
        yield _Draft(name, row["file"], question, choices, row[f"{hop}_answer"], task)


def _split(instruction: str) -> tuple[str, tuple[str, ...]]:
    """The question and the choices of "question (a) one (b) two"; no choices if the letters are not in order."""
    question, *parts = _MARK.split(" ".join(instruction.split()))
    letters = "".join(parts[::2]).lower()
    choices = tuple(choice.strip() for choice in parts[1::2])
    return question.strip(), choices if LETTERS.startswith(letters) and all(choices) else ()


def _track_folder(folder: Path, track: str) -> Path:
    if not folder.is_dir():
        raise ValueError(f"{str(folder)!r} is not a folder; pass the folder of SAKURA")
    places = [folder / track, folder / "data" / track, *sorted(folder.glob(f"*/data/{track}"))]
    places += [folder] if folder.resolve().name.casefold() == track.casefold() else []
    for place in places:
        if (place / "metadata.csv").is_file():
            return place
    raise ValueError(
        f"there is no {track}/metadata.csv in {str(folder)!r} or its data folder; pass the clone of SAKURA, its data "
        f"folder, or the folder {track}"
    )


def mmau(
    table: str | os.PathLike[str], audio_folder: str | os.PathLike[str], *, drop_broken: bool = False
) -> list[Question]:
    """The questions of MMAU test-mini (Sakshi et al. 2024; no licence stated: evaluate locally).

    `table` is mmau-test-mini.json, `audio_folder` the folder test-mini-audios or the one that holds it. Raises
    ValueError for a file of another form, missing sounds, and questions whose answer is none of their choices (the
    first release has over a hundred; MMAU v05.15.25 mends them), unless `drop_broken` leaves those out.
    """
    path = Path(table)
    drafts = [_draft(record, f"{path.name} question {number}") for number, record in enumerate(_records(path), start=1)]
    if not any(draft.answer for draft in drafts):
        raise ValueError(f"no question of {path.name} has an answer: those of MMAU's test set are not published")
    repeated = [name for name, count in Counter(draft.id for draft in drafts).items() if count > 1]
    if repeated:
        raise ValueError(f"{len(repeated)} ids of {path.name} are not unique: {', '.join(repeated[:3])}")
    sounds = Path(audio_folder)
    if not sounds.is_dir():
        raise ValueError(f"{str(sounds)!r} is not a folder; pass the folder test-mini-audios")
    return _questions(_located(drafts, sounds), sounds, path.name, drop_broken)


def _records(path: Path) -> list[Any]:
    try:
        records = strict_json(read_text(path))
    except RepeatedKeyError as error:
        raise ValueError(f"{str(path)!r} {error}") from error
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{str(path)!r} is not json ({error}); pass mmau-test-mini.json") from error
    if not isinstance(records, list) or not records:
        raise ValueError(f"{path.name} should hold a list of questions; pass mmau-test-mini.json")
    return records


def _draft(record: Any, where: str) -> _Draft:
    if not isinstance(record, dict):
        raise ValueError(f"{where} is no object; pass mmau-test-mini.json")
    texts = {name: record.get(name) for name in ("audio_id", "question", "answer")}
    lacking = [name for name, value in texts.items() if not isinstance(value, str)]
    choices = record.get("choices")
    if lacking or not isinstance(choices, list) or not all(isinstance(choice, str) for choice in choices):
        raise ValueError(
            f"{where} needs texts in {', '.join(texts)} and a list of texts in choices; found: {', '.join(record)}"
        )
    audio, question, answer = (" ".join(str(value).split()) for value in texts.values())
    cleaned = tuple(" ".join(choice.split()) for choice in choices)
    return _Draft(
        id=str(record.get("id") or PurePosixPath(audio).stem),  # the first release has no ids
        path=audio.removeprefix("./"),
        question=question,
        choices=_unmarked(cleaned),
        answer=answer,
        task=str(record.get("task") or ""),
    )


def _unmarked(choices: tuple[str, ...]) -> tuple[str, ...]:
    """The choices without "(A) ", "(B) ", ... if all of them have it, in order."""
    matches = [_MARKED.fullmatch(choice) for choice in choices]
    letters = "".join(match.group(1) if match else "-" for match in matches).lower()
    return tuple(match.group(2) for match in matches if match) if LETTERS.startswith(letters) else choices


def _located(drafts: Sequence[_Draft], folder: Path) -> Sequence[_Draft]:
    """Drafts whose paths count from `folder`: "test-mini-audios/x.wav", or "x.wav" where it is that folder itself."""
    if any((folder / draft.path).is_file() for draft in drafts):
        return drafts
    return [replace(draft, path=PurePosixPath(draft.path).name) for draft in drafts]


def _questions(drafts: Sequence[_Draft], sounds: Path, table: str, drop_broken: bool) -> list[Question]:
    """Drafts with their answers found among their choices; broken ones are refused, or left out."""
    answers = [(draft, _answer(draft)) for draft in drafts]
    answered = [(draft, answer) for draft, answer in answers if answer is not None]
    broken = [draft for draft, answer in answers if answer is None]
    if broken and not (drop_broken and answered):
        first = "; ".join(f"{draft.id}: {draft.answer!r} of {', '.join(draft.choices)}" for draft in broken[:3])
        raise ValueError(
            f"{len(broken)} of the {len(drafts)} questions of {table} have an answer that is none of their choices "
            f"({first}); take a later release, or pass drop_broken=True to leave them out"
        )
    check_sounds(sounds, list(dict.fromkeys(draft.path for draft, _ in answered)), table)
    return [
        Question(draft.id, sounds / draft.path, draft.question, draft.choices, answer, draft.task)
        for draft, answer in answered
    ]


def _answer(draft: _Draft) -> str | None:
    """The choice that the answer names: by its text, with or without a letter before it, or by a bare letter."""
    if not 2 <= len(draft.choices) <= len(LETTERS):
        return None
    by_text = {_plain(choice): choice for choice in reversed(draft.choices)}
    answer = draft.answer.strip()
    if _plain(answer) in by_text:  # first, for a choice may look like a letter: "B" for a key of music
        return by_text[_plain(answer)]
    match = _MARKED.fullmatch(answer) or _BARE.fullmatch(answer)
    if match is None:
        return None
    letter, text = match.groups()
    if text:  # the letter alone is no proof: MMAU's first release has letters of another order
        return by_text.get(_plain(text))
    return dict(zip(LETTERS, draft.choices, strict=False)).get(letter.lower())


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()
