"""One thread at a time in a model: steering and recording are hooks on the model itself, and would mix.

An explorer works in a thread of its own; a cell that reads the same model meanwhile waits for it.
"""

from __future__ import annotations

import threading
from weakref import WeakKeyDictionary

from torch import nn

from .checkpoints import Checkpoint

_locks: WeakKeyDictionary[nn.Module, threading.RLock] = WeakKeyDictionary()
_of_locks = threading.Lock()


def alone(checkpoint: Checkpoint) -> threading.RLock:
    """`with alone(lm):` no other thread reads, steers or encodes with this model meanwhile. May be nested."""
    with _of_locks:
        return _locks.setdefault(checkpoint.model, threading.RLock())
