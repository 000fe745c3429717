"""Checks on benchmarks: a leak in a split, intervals over scenes, how few scenes can ever be significant, and Holm."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from steer_utils.course.checks.answers import Wrong, called, correct, judge, near, number, values
from steer_utils.sound.datasets import same_recordings
from steer_utils.sound.recordings import Clip
from steer_utils.study.statistics import cluster_mean
from steer_utils.study.statistics import holm as holm_adjusted

_close = partial(np.allclose, atol=1e-6)

Proposed = Sequence[tuple[str, str]]  # (file, class) of each recording
FindLeaks = Callable[[Proposed, Collection[str], Collection[str]], Iterable[str]]
WidthRatio = Callable[[np.ndarray, np.ndarray], float]

COPIES = 3  # of each scene in the known answer of `width_ratio`
LOOSE = 0.15  # of a ratio of two bootstraps with other random numbers


# -- a leak in a split -----------------------------------------------------------------------------------------------
def leaks(answer: FindLeaks, proposed: Proposed, trained: Collection[str], development: Collection[str]) -> None:
    """Whether `answer(proposed, trained, development)` names the files that a test must leave out, and no other.

    A file leaks if its class is in `development`, or if its recording is one of `trained` in whatever release of ESC.
    """
    bad_class, used = _leaks(proposed, trained, development)
    named = _files(called(answer, proposed, trained, development), proposed)
    same_name = {file for file, _ in proposed if file in trained}
    by_number = {_clip_number(file) for file in trained}
    same_clip = {file for file, _ in proposed if _clip_number(file) in by_number}
    if named == bad_class | used:
        return correct(
            f"{len(named)} of {len(proposed)} must go: {len(bad_class)} by class, {len(used)} as recordings the model "
            "has heard.\nbenchmark.scene_set leaves out both before it makes a scene."
        )
    if not named:
        raise Wrong("nothing was found, but there are leaks: compare the classes, then the recordings")
    if named == bad_class:
        raise Wrong("these are leaks by class only: the model was also trained on some of the recordings")
    if named == bad_class | same_name:
        raise Wrong("the same recording can have another file name: 1-100032-A.ogg is 1-100032-A-0.wav in ESC-50")
    if not bad_class <= named:
        raise Wrong("a class on which the settings were chosen is still there, under a recording never heard")
    if same_clip - used and same_clip - used <= named:
        raise Wrong("1-100032-B is another take of the clip, not the recording that was heard: compare the letter too")
    raise Wrong(f"{len(named - bad_class - used)} too many and {len((bad_class | used) - named)} too few are named")


def _leaks(proposed: Proposed, trained: Collection[str], development: Collection[str]) -> tuple[set[str], set[str]]:
    """The files that leak by their class, and the others that leak as recordings."""
    bad_class = {file for file, name in proposed if name in development}
    used = set(same_recordings([Clip(Path(file), name) for file, name in proposed], trained))
    return bad_class, used - bad_class


def _files(returned: object, proposed: Proposed) -> set[str]:
    """What was returned as a set of files. Raises Wrong for what names no file of the proposal."""
    if isinstance(returned, str) or not isinstance(returned, Iterable):
        raise Wrong(f"return the file names as a list or a set, not {type(returned).__name__}")
    names = list(returned)
    known = {file for file, _ in proposed}
    if unknown := [name for name in names if not isinstance(name, str) or name not in known]:
        classes = {name for _, name in proposed}
        what = "a class" if isinstance(unknown[0], str) and unknown[0] in classes else "no file of the proposal"
        raise Wrong(f"{unknown[0]!r} is {what}: return the file names as they are proposed")
    return set(names)


def _clip_number(file: str) -> str:
    """ "1-100032" of "1-100032-A.ogg": fold and clip, without the take."""
    return "-".join(Path(file).stem.split("-")[:2])


# -- intervals -------------------------------------------------------------------------------------------------------
def width_ratio(answer: WidthRatio, overlaps: np.ndarray, scenes: np.ndarray) -> None:
    """Whether `answer(values, scenes)` is the width of the interval over scenes, over that of one over single values.

    Tried on the `overlaps` given and on a known answer: every value three times in its scene, where it is √3.
    """
    rng = np.random.default_rng(1)
    once = rng.uniform(size=40)
    copied, copies = np.repeat(once, COPIES), np.repeat(np.arange(len(once)), COPIES)
    known = number(called(answer, copied, copies))
    expected = _ratio(copied, copies)
    mistakes = (
        (1.0, "the scenes make no difference to it: draw whole scenes again for the one, values for the other"),
        (1 / expected, "it is upside down: the interval over scenes goes above the line"),
        (expected**2, "this is the ratio of variances: take its root, or compare the widths of the intervals"),
    )
    otherwise = f"with each value {COPIES} times in its scene it is √{COPIES} = {COPIES**0.5:.1f}, not {known:.1f}"
    judge(known, expected, mistakes, otherwise, LOOSE)
    given = number(called(answer, np.asarray(overlaps, float), np.asarray(scenes)))
    if not near(given, _ratio(overlaps, scenes), LOOSE):
        raise Wrong("it is right for copied values, and not for these overlaps: use the scenes as they are given")
    direction = "wide, because queries compete" if given < 1 else "narrow, because queries stand or fall together"
    correct(
        f"Copies make the naive interval {COPIES**0.5:.1f} times too narrow.\n"
        f"For these overlaps the ratio is {given:.2g}: the naive one is too {direction}."
    )


def _ratio(overlaps: np.ndarray, scenes: np.ndarray) -> float:
    single = np.arange(len(overlaps))
    return cluster_mean(overlaps, scenes).half_width / cluster_mean(overlaps, single).half_width


# -- tests -----------------------------------------------------------------------------------------------------------
def scenes_needed(answer: object, *, comparisons: int, level: float = 0.05) -> None:
    """Whether `answer` is the least number of scenes with which a two-sided sign-flip test can fall below `level` after
    Holm over so many `comparisons`: the smallest p of S scenes is 2 / 2^S.
    """
    given = number(answer)
    needed = _least_scenes(2 * comparisons, level)
    if given == needed:
        smallest = comparisons * 2 / 2**needed
        fewer = f"with {needed - 1} it is {2 * smallest:.2f}"
        return correct(f"With {needed} scenes the smallest adjusted p is {smallest:.2f}; {fewer}.")
    if given == _least_scenes(2, level):
        raise Wrong(f"enough for one comparison; Holm multiplies the smallest p of {comparisons} by {comparisons}")
    one_sided = given in (_least_scenes(comparisons, level), _least_scenes(1, level))
    if one_sided and given == needed - 1:
        raise Wrong(
            f"one too few: {comparisons} x 2 / 2^{given:g} is {comparisons * 2 / 2**given:.2f}. Either you stopped one "
            "early, or the 2 is missing: all signs turned round are as far from 0"
        )
    if one_sided:
        raise Wrong("the test is two-sided: all signs turned round are as far from 0, so the smallest p is 2 / 2^S")
    if abs(given - needed) == 1:
        raise Wrong("one off: put your number into comparisons x 2 / 2^S, and see on which side of the level it falls")
    raise Wrong("each scene has two signs, so S scenes have 2^S patterns; which share of them is as extreme as yours?")


def holm(answer: object, p_values: Mapping[str, float]) -> None:
    """Whether `answer` holds the p values adjusted after Holm, in the order of `p_values`."""
    plain = np.array(list(p_values.values()))
    expected = np.array(list(holm_adjusted(p_values).values()))
    given = values(answer, expected.shape)
    count = len(plain)
    order = np.argsort(plain, kind="stable")
    ranks = np.argsort(order)
    stepped = plain * (count - ranks)
    fdr = np.minimum.accumulate((plain[order] * count / np.arange(1, count + 1))[::-1])[::-1][ranks]
    mistakes = (
        (plain, "these are the p values as they were: none is adjusted yet"),
        (count * plain, f"all are multiplied by {count}, as Bonferroni does: Holm's factor falls with rank"),
        (stepped, "an adjusted p may not be smaller than one before it in rank: take the running maximum"),
        (fdr, "this is Benjamini-Hochberg, which bounds the share of false ones; Holm bounds the chance of any"),
        (np.sort(expected), "the values are right, in the order of their size: give them in the order of the names"),
    )
    otherwise = "sort the p values; multiply the smallest by their number, the next by one less, and so on"
    judge(given, expected, mistakes, otherwise, same=lambda a, b: _close(a, np.minimum(b, 1.0)) or _close(a, b))
    below = [np.count_nonzero(adjusted < 0.05) for adjusted in (plain, count * plain, expected)]
    correct(
        f"Below 0.05 were {below[0]} of {count}; Bonferroni leaves {below[1]}, Holm {below[2]}.\n"
        "Both keep the chance of any false one among them below 0.05."
    )


def _least_scenes(factor: int, level: float) -> int:
    """The least S with factor / 2^S below the level."""
    return next(scenes for scenes in itertools.count(1) if factor / 2**scenes < level)
