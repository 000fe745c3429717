"""The shared prefix. That it equals a full forward is tested in test_hearing."""

from __future__ import annotations

from steer_utils.lm.hearing import Hearing


def test_what_a_plan_is_told_of_it(hearing: Hearing) -> None:
    prefix, lm = hearing._prefix, hearing.checkpoint
    shape = prefix.shape
    assert (shape.span, shape.length, shape.num_blocks) == (prefix.span, prefix.length, lm.num_blocks)
    assert shape.head == lm.tokens("Describe the sound.").head
    assert shape.cache_bytes == 2 * 4 * 2 * 12 * prefix.length * 4  # blocks, key/value heads, head width, float32
    assert shape.map_bytes == hearing.read("Describe the sound.").attention.share.nbytes
