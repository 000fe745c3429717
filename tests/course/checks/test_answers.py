"""How checks speak: blanks are told from mistakes, hints are shown without a traceback."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from steer_utils.course.checks import Wrong
from steer_utils.course.checks.answers import answered, correct, near, number, values


@pytest.mark.parametrize("blank", [None, ..., [1, ...], (None,)])
def test_a_blank_is_not_a_mistake(blank: object) -> None:
    with pytest.raises(Wrong, match="nothing is here yet"):
        answered(blank)


def test_an_answer_is_given_back() -> None:
    assert answered("dog bark") == "dog bark" and answered([1, 2]) == [1, 2] and answered(0) == 0


@pytest.mark.parametrize("answer", [3, 3.0, np.float32(3), np.array([3.0]), torch.tensor(3.0)])
def test_one_number(answer: object) -> None:
    assert number(answer) == 3.0


@pytest.mark.parametrize(
    ("answer", "hint"), [("three", "not str"), ([1, 2], "not 2 values"), (float("nan"), "NaN"), (..., "nothing is")]
)
def test_what_is_no_number_says_what_it_is(answer: object, hint: str) -> None:
    with pytest.raises(Wrong, match=hint):
        number(answer)


def test_values_take_arrays_lists_and_tensors() -> None:
    for answer in ([1, 2], np.array([1, 2]), torch.tensor([1.0, 2.0], requires_grad=True)):
        assert values(answer, (2,)).tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("answer", "hint"),
    [([1, 2, 3], r"shape is \(3,\)"), ([1, np.nan], "NaN"), (["a", "b"], "not list"), (None, "nothing")],
)
def test_what_is_no_such_array_says_so(answer: object, hint: str) -> None:
    with pytest.raises(Wrong, match=hint):
        values(answer, (2,))


def test_near_is_relative_and_absolute() -> None:
    assert near(1e9, 1e9 + 1) and near(0.0, 1e-9) and not near(1.0, 1.001)


def test_a_notebook_shows_the_hint_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert Wrong("count from 0")._render_traceback_() == ["Not yet: count from 0"]
    correct("It is so.")
    assert capsys.readouterr().out == "Correct. It is so.\n"
