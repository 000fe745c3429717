"""The table of methods: names, needs, and what holds for every method whatever it looks at."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from localising import OWN, PAPER_LIKE, QUERY, curve, find
from tinies import covering_padding
from watched_work import failed

from steer_utils.lm.hearing import Hearing
from steer_utils.lm.models import AudioLM
from steer_utils.methods.base import Query
from steer_utils.methods.settings import PAPER, Scaling, Settings, Specialists, StateSwap, VectorUse
from steer_utils.methods.table import (
    FURTHER,
    METHODS,
    RIVALS,
    STANDARD,
    finder,
    in_order,
    method_named,
    standard_methods,
    standard_passes,
    without_equal_rows,
)
from steer_utils.sound.spans import AudioSpan, best_window

FINDERS = [name for name, method in METHODS.items() if method.find is not None]
STEERED = ("steering", "contrast-prompting", "negative", "random-vector", "swapped")  # as the settings say


def test_names_of_methods() -> None:
    assert (*STANDARD, *RIVALS, *FURTHER) == tuple(METHODS)
    assert not any(METHODS[name].standard for name in RIVALS)
    assert set(STANDARD) > {"steering", "prompting", "unsteered", "loudest", "asking", "random", "position"}
    assert all(method_named(name) is method and method.name == name for name, method in METHODS.items())
    with pytest.raises(ValueError, match="unknown method 'stearing'; pass one of steering, steering-heads, steering-p"):
        method_named("stearing")
    assert in_order(["clap", "random", "steering", "random"]) == ["steering", "random", "clap"]


@pytest.mark.parametrize(
    ("name", "needs"),
    [
        ("steering-heads", "settings with read_heads"),
        ("swapped", "a query that names the other events"),
        ("position", "the curves of other scenes"),
    ],
)
def test_a_method_that_lacks_something_is_refused_with_what_it_needs(name: str, needs: str) -> None:
    with pytest.raises(ValueError, match=f"'{name}' needs {needs}.*; choose another method"):
        finder(name, PAPER)
    assert name not in standard_methods(PAPER, 1) or name == "swapped"  # scenes have several events
    assert standard_methods(OWN, 2) == STANDARD


def test_every_method_says_whether_it_needs_labels_or_a_second_pass() -> None:
    for method in METHODS.values():
        assert not (method.suffixes > 1 and not method.extra), method.name
        assert ("silence" in method.passes or "other audio" in method.passes) <= (method.extra == "2nd audio")
        assert ("back" in method.passes) <= (method.extra == "2nd pass")
    said = {name: method.demands for name, method in METHODS.items()}
    assert said["steering"] == "labels, 2nd pass" and said["mavs"] == "2nd audio"
    assert (said["steering-paper"], said["prompting"], said["asking"]) == ("2nd pass", "labels", "–")
    assert said["swap-stays"] == "labels, 2nd audio"


#: What is chosen with labels, each put to another value. A method moves with one of them if and only if it says so.
CHOSEN = {
    "strength": 5.0,
    "blocks": (2,),
    "read_blocks": (3,),
    "read_heads": ((3, 1),),
    "prompt_blocks": (0,),
    "prompt_question": "How loud is it?",
    "prompt_best_blocks": (0,),
    "prompt_difference_blocks": (0,),
    "peak_blocks": (2,),
    "text_vector": VectorUse(9.0, (0,), True, "share", (3,)),
    "event_vector": VectorUse(9.0, (0,), True, "share", (3,)),
    "scaling": Scaling(3.0, (1,), None, "share", (2,)),
    "scaling_all": Scaling(3.0, None, None, "share", (2,)),
    "specialists": Specialists(6.0, "share"),
    "state_swap": StateSwap(0, "How loud is it?", (2,)),
}


@pytest.mark.parametrize("name", [name for name in FINDERS if METHODS[name].suffixes])
def test_what_is_set_with_labels_is_what_says_so(one_hearing: Hearing, name: str) -> None:
    before = curve(name, one_hearing)
    moved = [
        setting
        for setting, value in CHOSEN.items()
        if not np.allclose(curve(name, one_hearing, replace(OWN, **{setting: value})), before, atol=1e-6)
    ]
    assert bool(moved) == METHODS[name].labels, moved


def test_what_is_there_is_not_lacking() -> None:
    assert finder("steering-heads", OWN) is METHODS["steering-heads"].find
    assert finder("swapped", PAPER, others=True) is METHODS["swapped"].find


@pytest.mark.parametrize("name", [name for name in FINDERS if METHODS[name].suffixes])
def test_the_suffixes_of_an_entry_are_those_that_the_method_reads(
    one_hearing: Hearing, name: str, rows_read: list[int]
) -> None:
    find(name, one_hearing, replace(PAPER, read_heads=((3, 0),)))
    assert sum(rows_read) == METHODS[name].suffixes


def test_the_standard_passes_are_those_of_all_that_read_a_steered_or_prompted_row() -> None:
    assert standard_passes() == 33
    assert {name for name in STANDARD if not METHODS[name].suffixes} == {"asking", "loudest", "position", "random"}


EQUAL = {"steering-paper": "steering", "prompting-best": "prompting"}


@pytest.mark.parametrize(
    ("settings", "equal"),
    [
        (OWN, {}),
        (PAPER, EQUAL),
        (replace(PAPER, ask="When is the {event}?", read_heads=((2, 0),)), EQUAL),
        (replace(PAPER, chosen_on={"events": ["bell"]}), {}),
        (replace(PAPER, keep_norm=False), {**EQUAL, "steering-paper": None, "steering-paper-free": "steering"}),
        (replace(PAPER, strength=2.0, prompt_blocks=(1,)), {}),
        (replace(PAPER, vector_question="What do you hear?"), {"prompting-best": "prompting"}),
    ],
)
def test_methods_that_find_the_same_are_one_row(
    one_hearing: Hearing, settings: Settings, equal: dict[str, str | None]
) -> None:
    expected = {name: other for name, other in equal.items() if other}
    names, left_out = without_equal_rows(standard_methods(settings, 1), settings)
    assert left_out == expected and not set(left_out) & set(names)
    assert set(names) | set(left_out) == set(standard_methods(settings, 1))
    for name, other in left_out.items():
        np.testing.assert_array_equal(curve(name, one_hearing, settings), curve(other, one_hearing, settings))
    assert without_equal_rows(["steering-paper", "prompting-best"], settings)[1] == {}  # the other is not there


def state(lm: AudioLM) -> tuple[Any, ...]:
    """All that a method could leave changed."""
    modules = list(lm.model.modules())
    return (
        [parameter.requires_grad for parameter in lm.model.parameters()],
        [parameter.grad is None for parameter in lm.model.parameters()],
        [module.training for module in modules],
        [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in modules],
        lm.decoder.config._attn_implementation,
        torch.is_grad_enabled(),
        torch.get_rng_state().tolist(),
        np.random.get_state()[1].tolist(),
    )


@pytest.mark.parametrize(
    ("name", "settings"), [*((name, OWN) for name in FINDERS), *((name, PAPER_LIKE) for name in STEERED)]
)
def test_the_window_is_the_best_of_the_curve_and_nothing_is_left_behind(
    lm: AudioLM, hearing: Hearing, name: str, settings: Settings
) -> None:
    logits, before = hearing.read("What do you hear?").logits, state(lm)
    for seconds in (0.5, 1.2):
        found = find(name, hearing, settings, replace(QUERY, seconds=seconds))
        if found.curve is not None:
            assert found.curve.shape == (hearing.span.count,)
            assert (found.interval, found.score) == best_window(found.curve, hearing.span, seconds)
    assert state(lm) == before
    assert torch.equal(hearing.read("What do you hear?").logits, logits)  # and the prefix is as it was
    if name in ("prompting", "prompting-best", "unsteered", "loudest", "rollout"):
        assert curve(name, hearing, settings).sum() == pytest.approx(1.0, abs=1e-5)  # shares


@pytest.mark.parametrize("name", FINDERS)
def test_where_audio_tokens_cover_padding_the_curve_ends_with_the_audio(
    one_model: AudioLM, samples: np.ndarray, name: str
) -> None:
    padded = covering_padding(one_model).hear(samples, sampling_rate=16_000)
    found = find(name, padded, OWN)
    assert padded.span.count == 50 and (found.interval is None or found.interval.end <= 2.0)
    if found.curve is not None:
        assert found.curve.shape == (50,) and np.isfinite(found.curve).all()


@pytest.mark.parametrize("name", [*RIVALS, *FURTHER])
@pytest.mark.parametrize("trainable", [False, True])
def test_a_model_that_stops_halfway_is_left_as_it_was(
    lm: AudioLM, hearing: Hearing, name: str, trainable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits = hearing.read("Describe the sound.").logits
    lm.model.requires_grad_(trainable)
    try:
        before, whole = state(lm), curve(name, hearing)
        assert whole.dtype == np.float64 and state(lm) == before
        with monkeypatch.context() as patch:
            patch.setattr(type(lm.blocks[-1]), "forward", failed)
            with pytest.raises(RuntimeError, match="stopped"):
                find(name, hearing)
        assert state(lm) == before
        np.testing.assert_array_equal(curve(name, hearing), whole)
        assert torch.equal(hearing.read("Describe the sound.").logits, logits)
    finally:
        lm.model.requires_grad_(False)


@pytest.mark.parametrize("name", FURTHER)
@settings(max_examples=50, deadline=None)
@given(seconds=st.floats(max_value=0) | st.sampled_from([float("nan"), float("inf"), -0.0]))
def test_a_width_that_is_no_window_is_refused_before_anything_else(name: str, seconds: float) -> None:
    hearing: Any = SimpleNamespace(span=AudioSpan(2, 50))  # nothing but the span is touched
    with pytest.raises(ValueError, match="positive number of seconds"):
        find(name, hearing, query=Query("dog bark", seconds))
