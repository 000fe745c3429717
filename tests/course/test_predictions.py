"""Guesses: none goes through, a wrong kind is refused, and what is drawn is what was written."""

from __future__ import annotations

import pytest

from steer_utils.course import predictions
from steer_utils.course.predictions import Choice, Number


def a_number(guess: object = 40) -> Number:
    return Number("share, %", guess, 17.3)  # type: ignore[arg-type]


def a_choice(guess: object = "late") -> Choice:
    return Choice("which block", guess, "early", ("early", "middle", "late"))  # type: ignore[arg-type]


def test_nobody_guessed(capsys: pytest.CaptureFixture[str]) -> None:
    predictions.score(a_number(None), a_choice(None))
    printed = capsys.readouterr().out
    assert printed.startswith("no guess written") and "17.3" not in printed, "the answer must stay folded"


def test_a_guess_is_set_against_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    predictions.score(a_number(), a_choice("early"), a_choice(None))
    printed = capsys.readouterr().out
    assert "share, %: guessed 40, it is 17.3 (22.7 off)" in printed
    assert "which block: guessed early, it is early (right)" in printed
    assert "2 of 3 guessed" in printed


@pytest.mark.parametrize("guess", ["much", float("nan"), True, [1]])
def test_a_number_must_be_one(guess: object) -> None:
    with pytest.raises(ValueError, match="write a number"):
        a_number(guess)


def test_a_choice_is_one_of_the_options() -> None:
    with pytest.raises(ValueError, match="write one of early, middle, late"):
        a_choice("Early")
    with pytest.raises(ValueError, match="the result is 'never'"):
        Choice("q", None, "never", ("a", "b"))


def test_a_scale_rises_and_something_is_scored() -> None:
    with pytest.raises(ValueError, match="from 5 to 5"):
        Number("q", 1, 1, low=5, high=5)
    with pytest.raises(ValueError, match="nothing to score"):
        predictions.score()


def test_results_are_folded_and_escaped() -> None:
    text = predictions.folded([Number("a < b & c", None, 3)])
    assert text.startswith("<details><summary>") and "a &lt; b &amp; c" in text and "<b>3</b>" in text


def test_guess_and_result_are_drawn_where_they_are() -> None:
    figure = predictions.score_figure([a_number(150), a_choice()])
    markers = [line for line in figure.axes[0].lines if line.get_marker() in ("o", "D") and len(line.get_xdata()) == 1]
    assert [round(float(line.get_xdata()[0]), 3) for line in markers] == [1.0, 0.173, 1.0, 0.0]
    assert "guessed 150, is 17.3" in predictions.alt_text_score([a_number(150)])
