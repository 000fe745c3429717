"""Many audios: heard one after another, several encoded in one go; and in groups whose rows are read in one call.

One audio, and the call that reads rows of several: `hearing`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from steer_utils.lm.checkpoints import Checkpoint
from steer_utils.lm.hearing import Hearing, check_length, encoded

#: How many audios a GPU encodes together, and how many seconds with their padding: a gigabyte or two of a 7B model.
GPU_BATCH, GPU_SECONDS = 8, 120.0
#: Rows of as many audios are read in one call, on a CPU of models whose weights take no more bytes (of larger ones
#: hearing is most: benchmarks/README.md). How many bytes the prefixes of those audios take together.
SMALL_BYTES, GROUP_BYTES = 2**30, 2**30

T = TypeVar("T")


def hear_together(checkpoint: Checkpoint, audios: Sequence[np.ndarray]) -> list[Hearing]:
    """`Hearing(checkpoint, samples)` for each of `audios`, encoded as one batch. Raises as it does."""
    prefixes = encoded(checkpoint, audios)
    return [Hearing(checkpoint, samples, prefix=prefix) for samples, prefix in zip(audios, prefixes, strict=True)]


def hear_each(
    checkpoint: Checkpoint, audios: Iterable[tuple[T, np.ndarray]], batch: int | None = None
) -> Iterator[tuple[T, Hearing]]:
    """The hearings of any number of audios, in their order. Each comes with a name or thing of the caller's, and is
    given back with it. `batch` of them are asked for and encoded together, then given one by one, and not kept.

    None: one on a CPU (measured: benchmarks/README.md), several on a GPU, fewer where they are long. Raises ValueError
    at once for a batch that is none; AudioError for an audio that is too long, and what `audios` itself raises, once
    all before it are given.
    """
    check_batch(batch)
    return _in_batches(checkpoint, audios, batch)


def hear_groups(
    checkpoint: Checkpoint, audios: Iterable[tuple[T, np.ndarray]], batch: int | None = None
) -> Iterator[list[tuple[T, Hearing]]]:
    """What `hear_each` gives, in groups whose rows are best read in one call (`read_together`): `batch` audios, or
    fewer whose prefixes take `GROUP_BYTES`. Raises as `hear_each`.

    None: several where a call is much beside hearing (measured: benchmarks/README.md), one of a large model on a CPU.
    """
    heard = hear_each(checkpoint, audios, batch)
    small = sum(weight.nbytes for weight in checkpoint.model.parameters()) <= SMALL_BYTES
    most = batch or (GPU_BATCH if small or checkpoint.device.type != "cpu" else 1)
    return _grouped(
        heard, most, lambda group: sum(hearing._prefix.shape.cache_bytes for _, hearing in group), GROUP_BYTES
    )


def check_batch(batch: int | None) -> None:
    """Raises ValueError for what is no number of audios."""
    if batch is not None and (isinstance(batch, bool) or not isinstance(batch, int) or batch < 1):
        raise ValueError(f"batch is {batch!r}; pass how many audios to encode together, 1 or more")


def _in_batches(
    checkpoint: Checkpoint, audios: Iterable[tuple[T, np.ndarray]], batch: int | None
) -> Iterator[tuple[T, Hearing]]:
    most, longest = batch or 1, float("inf")
    if batch is None and checkpoint.device.type != "cpu":
        most, longest = GPU_BATCH, GPU_SECONDS * checkpoint.sampling_rate

    def checked() -> Iterator[tuple[T, np.ndarray]]:
        for name, samples in audios:
            check_length(checkpoint, samples)
            yield name, samples

    def padded(group: Sequence[tuple[T, np.ndarray]]) -> int:
        return len(group) * max(len(samples) for _, samples in group)

    for waiting in _grouped(checked(), most, padded, longest):
        hearings = hear_together(checkpoint, [samples for _, samples in waiting])
        hearings.reverse()
        for name, _ in waiting:
            yield name, hearings.pop()  # not kept once it is given


def _grouped(items: Iterator[T], most: int, size: Callable[[list[T]], float], limit: float) -> Iterator[list[T]]:
    """As they come, `most` at a time or fewer whose `size` is within the limit; before an error, all that came."""
    waiting: list[T] = []
    while True:
        try:
            item = next(items)
        except Exception as error:
            if waiting:
                yield waiting
            if isinstance(error, StopIteration):
                return
            raise
        if waiting and size([*waiting, item]) > limit:
            yield waiting
            waiting = []
        waiting.append(item)
        if len(waiting) == most:
            yield waiting
            waiting = []
