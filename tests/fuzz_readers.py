"""The readers of files that come from anywhere, each with whole files to begin from, and with what it may answer.

A reader may give what it reads, or refuse it as the command line does: with an error of our own, told in one line.
"""

from __future__ import annotations

import json
import math
import wave
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from steer_utils.cli.console import _raised_here
from steer_utils.runs.parameters import checked_parameters, known_parameters, parsed_parameters, read_parameters
from steer_utils.sound.audio import read_audio
from steer_utils.sound.datasets import open_clips
from steer_utils.sound.labels import Labelled, read_intervals, write_intervals
from steer_utils.sound.questions import mmau, sakura
from steer_utils.sound.spans import Interval

CORPUS = Path(__file__).parent / "fuzz" / "corpus"  # inputs that once were faults, one folder a reader
LONGEST = 1000  # characters of a refusal; it must fit a screen

Make = Callable[[Path], object]


@dataclass(frozen=True)
class Reader:
    """`seeds` write whole files of the names they stand under; `read` reads one, `check` raises for a wrong answer.

    `name`: of a file whose input is put there by bytes. `words`: what is worth inserting.
    """

    seeds: dict[str, Make]
    read: Callable[[Path], Any]
    check: Callable[[Any], None] = lambda value: None
    words: tuple[bytes, ...] = ()
    beside: dict[str, Make] = field(default_factory=dict)


def refusal(error: Exception) -> str:
    """What the user reads. Raises AssertionError for an error that would be a traceback, or is no line."""
    told = error.filename is not None if isinstance(error, OSError) else _raised_here(error)
    if not (told and isinstance(error, (OSError, ValueError))):
        raise AssertionError(f"a traceback: {type(error).__name__}: {error}") from error
    text = str(error)
    assert text.strip() and len(text) <= LONGEST, f"a refusal of {len(text)} characters: {text[:200]!r}"
    return text


# -- audio ---------------------------------------------------------------------------------------------------------
def _tone(path: Path, **options: Any) -> None:
    time = np.arange(2000) / 16_000
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * 440 * time), 16_000, **options)


def _stereo(path: Path) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes((3000 * np.sin(np.arange(2400) / 3)).astype("<i2").tobytes())


def _check_audio(samples: np.ndarray) -> None:
    assert samples.ndim == 1 and samples.dtype == np.float32 and len(samples), samples.shape
    assert np.isfinite(samples).all()


# -- tables --------------------------------------------------------------------------------------------------------
_CLIPS = "filename,category,fold,active_start_s,active_end_s\ndog.wav,dog bark,1,0.01,0.1\nsub/bell.wav,bell,2,,\n"
_SAKURA = (
    "file,attribute_label,single_instruction,single_answer,multi_instruction,multi_answer\n"
    '0.wav,Dog,"Which animal is heard? (a) dog (b) crow",(a) dog,"Has it wings? (a) yes (b) no",(b) no\n'
)


def _text(content: str) -> Make:
    return lambda path: path.write_text(content, encoding="utf-8")


def _check_clips(clips: list[Any]) -> None:
    assert clips and all(clip.path.is_file() and clip.category.strip() for clip in clips)


# -- yaml and json ---------------------------------------------------------------------------------------------------
_GRID = "models: [pocket-qwen2-audio]\nstrengths: [1.0, 2.0]\nblocks: [late, [3, 5]]\nseeds: [0, 1]\nscenes: 6\n"
_PROFILE = 'jobs: 2\ncores: 4\nmemory: 8GB\nqueue: gpu\nwalltime: "12:00:00"\njob_extra_directives: ["--gres=gpu:1"]\n'
_PARAMETERS = "seed: 3\nstrengths: [0.5, 1.0]\nmodel: pocket-qwen2-audio\nquick: true\nnothing: null\n"
_MMAU = json.dumps(
    [
        {
            "id": "one",
            "audio_id": "./test-mini-audios/0.wav",
            "question": "What is heard?",
            "choices": ["dog", "bell"],
            "answer": "dog",
            "task": "sound",
        }
    ]
)
_YAML = tuple(b"&a *a <<: !!python/object:os.system !!binary - ? : | > %YAML --- ... 1:30 0o7 1e999 .nan ~".split())
_JSON = (b"null", b"NaN", b"1e999", b"-Infinity", b"[" * 200, b"{}", b'""', b"\\ud800", b"9" * 400, b"true")


# -- labels ----------------------------------------------------------------------------------------------------------
_DOG = Labelled(Interval(1.0, 2.5), "dog bark", "street.wav")
_BELL = Labelled(Interval(3.25, 4.0), "bell", "street.wav", 0.75)
_UNFILED = Labelled(Interval(1.0, 2.5), "dog bark")


def _labels(*rows: Labelled) -> Make:
    return lambda path: write_intervals(path, rows)


def _read_labels(path: Path) -> tuple[Path, list[Labelled]]:
    return path, read_intervals(path)


def _check_labels(read: tuple[Path, list[Labelled]]) -> None:
    """What was read makes sense, and what json can hold of it comes back."""
    path, rows = read
    for row in rows:
        assert 0 <= row.interval.start <= row.interval.end < math.inf and row.event.strip()
    again = path.with_name("again.json")
    write_intervals(again, rows)
    assert read_intervals(again) == rows


# -- what loads torch, which one round of the others is spared ---------------------------------------------------------
def _vector() -> Any:
    import torch

    from steer_utils.lm.vectors import SteeringVector

    directions = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    return SteeringVector(directions, (1, 2), torch.ones(3))


def _write_gguf(path: Path) -> None:
    from steer_utils.lm.gguf_vectors import to_gguf

    to_gguf(_vector(), path)


def _read_gguf(path: Path) -> Any:
    from steer_utils.lm.gguf_vectors import from_gguf

    return from_gguf(path)


def _read_vector(path: Path) -> Any:
    from steer_utils.lm.vectors import SteeringVector

    return SteeringVector.load(path)


def _check_vector(vector: Any) -> None:
    assert bool(vector.directions.isfinite().all()) and bool(vector.hidden_norms.isfinite().all())
    assert set(vector.blocks) <= set(range(vector.num_blocks))


def _write_settings(path: Path) -> None:
    from steer_utils.methods.settings import Settings

    Settings().save(path)


def _read_settings(path: Path) -> Any:
    from steer_utils.cli.options import read_settings

    return read_settings(path)


def _read_grid(path: Path) -> Any:
    from steer_utils.runs.grids import read_grid

    return read_grid(path)


def _read_profile(path: Path) -> Any:
    from steer_utils.runs.clusters import read_profile

    return read_profile(path)


# -- notebooks -------------------------------------------------------------------------------------------------------
def _notebook(path: Path) -> None:
    import nbformat

    cell = nbformat.v4.new_code_cell("seed = 0\nstrength: float = 1.0  # λ\nmodel = 'pocket'\nblocks = [1, 2]")
    cell.metadata["tags"] = ["parameters"]
    cell.id = "a"
    notebook = nbformat.v4.new_notebook(
        cells=[cell], metadata={"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
    )
    nbformat.write(notebook, path)


def _parameters(path: Path) -> dict[str, Any]:
    known = known_parameters(path)
    given = {name: str(value) for name, value in known.items() if value is not None}
    return checked_parameters(path, parsed_parameters(path, given))


def _given(path: Path) -> dict[str, Any]:
    """A file of parameters, for a notebook that has some of them."""
    notebook = path.with_name("lesson.ipynb")
    return checked_parameters(notebook, parsed_parameters(notebook, read_parameters(path)))


def _check_plain(values: dict[str, Any]) -> None:
    assert json.loads(json.dumps(values)) == values or "nan" in json.dumps(values).lower()


READERS: dict[str, Reader] = {
    "audio": Reader(
        {
            "tone.wav": _tone,
            "stereo.wav": _stereo,
            "float.wav": lambda path: _tone(path, subtype="FLOAT"),
            "tone.flac": _tone,
            "tone.ogg": _tone,
            "tone.mp3": _tone,
            "tone.aiff": _tone,
        },
        lambda path: read_audio(path, target_rate=16_000),
        _check_audio,
        (b"RIFF", b"RF64", b"data", b"fmt ", b"LIST", b"fLaC", b"OggS", b"ID3", b"FORM", b"\xff\xff\xff\xff"),
    ),
    "csv": Reader(
        {"clips.csv": _text(_CLIPS)},
        lambda path: open_clips(path.parent),
        _check_clips,
        (b'"', b";", b"\t", b"\r", b"\xef\xbb\xbf", b"\xff\xfe", b"../", b"nan", b"1_0", b"filename"),
        {"dog.wav": _tone, "sub/bell.wav": _tone},
    ),
    "csv of questions": Reader(
        {"Animal/metadata.csv": _text(_SAKURA)},
        lambda path: sakura(path.parents[1], "Animal"),
        words=(b'"', b"(a)", b"(b)", b"../", b",,,", b"\r"),
        beside={"Animal/audio/0.wav": _tone},
    ),
    "yaml grid": Reader({"grid.yaml": _text(_GRID)}, _read_grid, words=_YAML),
    "yaml profile": Reader({"gpu.yaml": _text(_PROFILE)}, _read_profile, words=_YAML),
    "yaml parameters": Reader({"p.yaml": _text(_PARAMETERS)}, read_parameters, words=_YAML),
    "json parameters": Reader(
        {"p.json": _text('{"seed": 3, "strengths": [0.5, 1.0], "model": "pocket", "quick": true, "nothing": null}')},
        read_parameters,
        words=_JSON,
    ),
    "json settings": Reader(
        {"s.json": _write_settings},
        _read_settings,
        words=_JSON,
    ),
    "json questions": Reader(
        {"mmau.json": _text(_MMAU)},
        lambda path: mmau(path, path.parent),
        words=_JSON,
        beside={"0.wav": _tone, "test-mini-audios/0.wav": _tone},
    ),
    "labels": Reader(
        {
            "one.txt": _labels(_UNFILED, _UNFILED),
            "two.tsv": _labels(_DOG, _DOG),
            "three.json": _labels(_DOG, _BELL, _UNFILED),
            "four.jams": _labels(_DOG, _BELL),
        },
        _read_labels,
        _check_labels,
        (b"\t", b"\\", b"nan", b"inf", b"-0.0", b"1e400", b"\r\n", b"null", b"segment_open", b"filename"),
    ),
    "gguf": Reader(
        {"v.gguf": _write_gguf},
        _read_gguf,
        _check_vector,
        (b"GGUF", b"direction.1", b"controlvector", b"\xff" * 8, b"\0" * 8, b"\x08\0\0\0", b"\x09\0\0\0"),
    ),
    "safetensors": Reader(
        {"v.safetensors": lambda path: _vector().save(path)},
        _read_vector,
        _check_vector,
        (b'"F32"', b'"BF16"', b'"BOOL"', b'"I64"', b"[", b"]", b"{", b"}", b"\xff" * 8, b"\0" * 8, b"data_offsets"),
    ),
    "notebook": Reader(
        {"lesson.ipynb": _notebook},
        _parameters,
        _check_plain,
        (*_JSON, b"parameters", b"\\n", b"= 1", b"seed", b"import os", b"#", b"'"),
    ),
    "given parameters": Reader(
        {"p.yaml": _text("seed: 3\nstrength: 2\nblocks: [1, 2]\nmodel: pocket\n")},
        _given,
        _check_plain,
        _YAML,
        {"lesson.ipynb": _notebook},
    ),
}


@cache
def whole_files(name: str, folder: Path) -> dict[str, bytes]:
    """The seeds of a reader, as bytes by file name; what stands beside them is put into `folder`."""
    reader = READERS[name]
    for other, make in reader.beside.items():
        (folder / other).parent.mkdir(parents=True, exist_ok=True)
        make(folder / other)
    seeds = {}
    for file, make in reader.seeds.items():
        (folder / file).parent.mkdir(exist_ok=True)
        make(folder / file)
        seeds[file] = (folder / file).read_bytes()
        (folder / file).unlink()
    return seeds


def examine(name: str, file: str, data: bytes, folder: Path) -> str:
    """Read `data` as a file of that name: "" if it was read, else the refusal. Raises AssertionError for a fault."""
    path = folder / file
    path.write_bytes(data)
    try:
        value = READERS[name].read(path)
    except Exception as error:
        return refusal(error)
    finally:
        path.unlink(missing_ok=True)
    READERS[name].check(value)
    return ""
