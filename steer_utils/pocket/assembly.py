"""A mini model as a plain transformers folder: our parts and a language model, assembled once in the user's cache.

From then on `from_pretrained` reads it like any other model. The folder's name carries a fingerprint of everything it
was made from, so other parts, or another language model, make another folder.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from filelock import FileLock
from tqdm import tqdm

from steer_utils.lm.checkpoints import CheckpointError
from steer_utils.pocket.language_model import no_bars, read_language_model, source_of
from steer_utils.pocket.mini_architecture import build_mini
from steer_utils.pocket.parts import FACTS_FILE, WEIGHTS_FILE, load_parts
from steer_utils.sound.files import read_json

#: Set to a folder to keep assembled models there instead of in the platform's cache folder.
CACHE_VARIABLE = "STEER_UTILS_CACHE"
_VERSION = 1  # raise it when the same parts would be put together differently


def cache_folder() -> Path:
    """Where assembled models are kept: the variable STEER_UTILS_CACHE, or the platform's cache folder."""
    chosen = os.environ.get(CACHE_VARIABLE, "").strip()
    if chosen:
        return Path(chosen).expanduser()
    if find_spec("platformdirs") is None:
        raise CheckpointError(f"a mini model needs more: pip install 'steer-utils[mini]' (or set {CACHE_VARIABLE})")
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("steer-utils", appauthor=False))


def parts_fingerprint(parts: Path) -> str:
    """A short hash of our parts, of what they are joined with, and of how."""
    language_model = read_json(parts / FACTS_FILE)["recipe"]["language_model"]
    digest = hashlib.sha256(f"{_VERSION} {source_of(language_model)}\n".encode())
    for name in (WEIGHTS_FILE, FACTS_FILE):
        digest.update((parts / name).read_bytes())
    return digest.hexdigest()[:16]


def assembled_folder(parts: Path) -> Path:
    """Where the whole model is, or will be. Raises CheckpointError if the parts cannot be read."""
    parts = parts.resolve()
    place = cache_folder() / "models" / f"{parts.name}-{hashlib.sha256(str(parts).encode()).hexdigest()[:8]}"
    try:
        return place / parts_fingerprint(parts)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"the parts of a mini model in {parts} cannot be read: {error!r}") from error


def assembled(parts: Path, *, quiet: bool = False) -> Path:
    """The folder of the whole model (0.65 GB, float32), assembled now (half a minute) if it is not there yet.

    Several processes may ask at once: one assembles, the others wait. A kill leaves nothing that looks finished.
    Folders assembled earlier from other states of the same parts are removed. Raises CheckpointError if the language
    model cannot be had, or the parts cannot be read.
    """
    folder = assembled_folder(parts)
    place = folder.parent
    if folder.is_dir():
        return folder
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        remedy = f"set {CACHE_VARIABLE} to a folder with 1 GB of room"
        raise CheckpointError(f"cannot make {place} ({error}); {remedy}") from error
    with FileLock(place / "lock"):
        if not folder.is_dir():
            _assemble(parts.resolve(), place, folder, quiet)
    return folder


def _assemble(parts: Path, place: Path, folder: Path, quiet: bool) -> None:
    made = load_parts(parts)
    name, family = made.facts["recipe"]["language_model"], made.facts["recipe"]["family"]
    temporary = Path(tempfile.mkdtemp(dir=place, prefix="part-"))
    try:
        shown = "{desc}: {bar} {n}/{total} {postfix}"
        # A stream of its own: while transformers works, the usual one is closed to its bars.
        title = f"assembling {parts.name} (once)"
        with tqdm(total=3, desc=title, disable=quiet, bar_format=shown, file=sys.stderr) as bar:
            bar.set_postfix_str("reading the language model")
            language_model = read_language_model(name)
            bar.update()
            bar.set_postfix_str("joining the parts")
            model, processor = build_mini(family, language_model, made.tower, made.size)
            made.learnt.put_into(model)
            bar.update()
            bar.set_postfix_str("writing")
            with no_bars():
                model.save_pretrained(temporary)
                processor.save_pretrained(temporary)
            shutil.copy(parts / FACTS_FILE, temporary / FACTS_FILE)
            bar.update()
            bar.set_postfix_str("done")
        temporary.rename(folder)
    except OSError as error:
        raise CheckpointError(f"cannot write {folder} ({error}); set {CACHE_VARIABLE} to a folder with room") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    for old in place.iterdir():
        if old.is_dir() and old != folder:
            shutil.rmtree(old, ignore_errors=True)
