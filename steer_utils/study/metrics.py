"""How right one answer is: a found window, or a curve over audio tokens, against the true event.

The paper's overlap is `Interval.covers` and the temporal IoU `Interval.iou` (sound/spans.py). Where window and event
have equal widths, as with the known-width read-out, they say the same: IoU = o / (2 - o) for the overlap o.

`score_row` puts all scores of one query into a row of the benchmark's table. A method may find no window at all (an
answer that cannot be parsed): that scores 0, and is marked as failed. Several queries together are the subject of
statistics.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.stats import rankdata

from steer_utils.methods.base import Localisation
from steer_utils.sound.spans import AudioSpan, Interval, checked_curve, first_best, window_overlaps
from steer_utils.study.resume import Record


def center_error(found: Interval, truth: Interval) -> float:
    """Distance between the middle of the window and the middle of the event, in seconds."""
    return abs(found.center - truth.center)


def slot_of(found: Interval, truths: Sequence[Interval]) -> int:
    """Which event the window points at: the one it shares most seconds with; of equals (none overlaps: all are) the
    one with the nearest middle, then the first.

    Slot accuracy is how often that is the queried event. Its chance is 1/3 with three events, whatever the gaps and
    however windows are placed without the query: each window points at one event, and each event is queried once.
    Raises ValueError for no events.
    """
    if not truths:
        raise ValueError("there are no events to point at; pass the true intervals of the scene")
    return max(
        range(len(truths)),
        key=lambda index: (found.intersection(truths[index]), -center_error(found, truths[index])),
    )


def pointing(curve: np.ndarray, span: AudioSpan, truth: Interval) -> bool:
    """The pointing game: whether the middle of the token where `curve` (tokens,) is largest lies in the event.

    The first token wins a tie. Raises ValueError for a curve of another length or with NaN or infinity in it.
    """
    inside = span.tokens(truth)
    return inside.start <= int(np.argmax(checked_curve(curve, span.count))) < inside.stop


def frame_auroc(curve: np.ndarray, span: AudioSpan, truth: Interval) -> float:
    """How well `curve` (tokens,) ranks the tokens whose middle lies in the event above the others, 0..1; 0.5 is chance.

    The probability that a token of the event has the larger value, ties counting half. Needs no known width. NaN where
    all tokens or none lie in the event. Raises ValueError as `pointing` does. One sort: O(T log T).
    """
    values = checked_curve(curve, span.count)
    inside = span.tokens(truth)
    count = inside.stop - inside.start
    pairs = count * (span.count - count)
    if pairs == 0:
        return float("nan")
    # Mann-Whitney: the ranks of the event's tokens, less what they have among themselves, count the pairs they win.
    wins = float(rankdata(values)[inside].sum()) - count * (count + 1) / 2
    return wins / pairs


def rotated_overlaps(curve: np.ndarray, span: AudioSpan, truth: Interval) -> np.ndarray:
    """Overlap |W ∩ E| / |E| of the best window after every rotation of `curve` in time: (tokens,), 0..1.

    Entry s belongs to `np.roll(curve, s)`; entry 0 is the curve as it is. A window does not wrap round the end of the
    audio, so that the best one must be searched again after each rotation (as `best_window` does, with the width of
    the event). Cost: O(T²) time and memory for T tokens. Raises ValueError as `pointing` does.
    """
    values = checked_curve(curve, span.count)
    width = span.window_tokens(truth.duration)
    placements = span.count - width + 1
    cumulative = np.concatenate([[0.0], np.cumsum(np.tile(values, 2))])
    sums = cumulative[width : width + span.count] - cumulative[: span.count]  # of the window from k, round the end
    # All rotations share these sums: after one by s, the window placed at token a holds the values that began at a - s.
    rotated = sliding_window_view(np.tile(sums, 2)[: span.count + placements - 1], placements)[-np.arange(span.count)]
    return window_overlaps(first_best(rotated, float(np.abs(values).sum())), width, span, truth)


def score_row(asked: Record, method: str, found: Localisation) -> Record:
    """The row of a query (`asked`: truth_start, truth_end, others, token_seconds and what else describes it).

    Adds: start, end (None where no time was read in an answer: `failed`, and why: `unread`), overlap |W ∩ E| / |E| and
    IoU (0 then), center_error in seconds, `own`: the window found belongs to the queried event and to no other of the
    scene; for methods with a curve also auroc, pointing, and the curve itself to five digits.
    """
    truth = Interval(asked["truth_start"], asked["truth_end"])
    others = [Interval(*other) for other in asked["others"]]
    interval, curve = found.interval, found.curve
    row = {
        **asked,
        "method": method,
        "start": interval.start if interval else None,
        "end": interval.end if interval else None,
        "overlap": interval.covers(truth) if interval else 0.0,
        "iou": interval.iou(truth) if interval else 0.0,
        "center_error": center_error(interval, truth) if interval else None,
        "own": slot_of(interval, [truth, *others]) == 0 if interval else False,
        "failed": interval is None,
        "answer": found.answer,
        "unread": found.unread,
        "auroc": None,
        "pointing": None,
        "curve": None,
    }
    if curve is not None:
        span = AudioSpan(0, len(curve), asked["token_seconds"])
        area = frame_auroc(curve, span, truth)
        row["auroc"] = area if math.isfinite(area) else None
        row["pointing"] = bool(pointing(curve, span, truth))
        row["curve"] = [float(f"{value:.5g}") for value in np.asarray(curve, float)]
    return row
