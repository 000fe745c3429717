"""How checks speak: blanks are told from mistakes, hints are shown without a traceback."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from steer_utils.course.checks import Wrong
from steer_utils.course.checks.answers import answered, called, correct, judge, near, number, values


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


def test_a_readers_function_is_called_or_what_it_lacks_is_said() -> None:
    assert called(lambda a, b: a + b, 1, 2) == 3
    for answer, hint in (
        (..., "nothing is here yet"),
        (lambda: None, "nothing is here yet"),
        (5.1, "must be a function, not float"),
        (lambda: 1 / 0, "stopped with ZeroDivisionError"),
    ):
        with pytest.raises(Wrong, match=hint):
            called(answer)


def test_the_first_mistake_that_gives_the_answer_is_named() -> None:
    mistakes = ((2.0, "doubled"), (2.0, "never reached"), (np.float32(-1), "the sign"))
    judge(1.0, 1.0, [(1.0, "not looked at where the answer is right")], "other")
    for given, hint in ((2.0, "doubled"), (-1.0, "the sign"), (7.0, "other"), (2.02, "other")):
        with pytest.raises(Wrong, match=hint):
            judge(given, 1.0, mistakes, "other")
    with pytest.raises(Wrong, match="doubled"):
        judge(2.02, 1.0, mistakes, "other", 0.1)
    with pytest.raises(Wrong, match="mirrored"):
        judge([2, 1], [1, 2], [([2, 1], "mirrored")], "other", same=lambda a, b: a == b)
