"""The two tests that every check of an exercise has: right answers pass, and each known mistake meets its own hint."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from steer_utils.course.checks import Wrong


def right_test(check: Callable[[Any], None], *answers: Any, says: str = "") -> Callable[..., None]:
    """`test_roc_area = right_test(language_model.roc_area, area)`; `says`: what the check prints behind "Correct. "."""

    @pytest.mark.parametrize("answer", answers)
    def test(answer: Any, capsys: pytest.CaptureFixture[str]) -> None:
        check(answer)
        printed = capsys.readouterr().out
        assert printed.startswith("Correct. ") and says in printed

    return test


def hint_test(check: Callable[..., None], *cases: tuple[Any, ...]) -> Callable[..., None]:
    """`test_wrong_areas = hint_test(language_model.roc_area, (answer, hint), ...)`. A case holds what the check is
    given, and last its hint: a part of it, or a regular expression."""

    @pytest.mark.parametrize("case", cases, ids=[case[-1] for case in cases])
    def test(case: tuple[Any, ...]) -> None:
        *given, hint = case
        with pytest.raises(Wrong) as error:
            check(*given)
        assert hint in str(error.value) or re.search(hint, str(error.value)), str(error.value)

    return test
