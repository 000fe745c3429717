"""The checks in `language_model`: right answers pass, blanks are refused, and each known mistake has its own hint."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hints import hint_test, right_test
from scipy.stats import mannwhitneyu

from steer_utils.course.checks import language_model


def grouped(q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    keys = k.repeat_interleave(len(q) // len(k), dim=0)
    return torch.softmax((keys @ q[:, :, None])[:, :, 0] / q.shape[-1] ** 0.5, dim=-1)


def sdpa(q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    """torch's own grouped attention, with the identity as values."""
    identity = torch.eye(k.shape[1]).expand(len(k), -1, -1)
    out = torch.nn.functional.scaled_dot_product_attention(q[None, :, None], k[None], identity[None], enable_gqa=True)
    return out[0, :, 0]


def tiled(q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    return torch.softmax(torch.einsum("hd,htd->ht", q, k.repeat(len(q) // len(k), 1, 1)) / q.shape[-1] ** 0.5, dim=-1)


def scores(q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    return torch.einsum("hd,htd->ht", q, k.repeat_interleave(len(q) // len(k), dim=0)) / q.shape[-1] ** 0.5


test_row_weights = right_test(language_model.row_weights, grouped, sdpa)

test_wrong_row_weights = hint_test(
    language_model.row_weights,
    (None, "nothing is here yet"),
    (lambda q, k: ..., "nothing is here yet"),
    (tiled, "not 0, 1, 2, 0, 1, 2"),
    (scores, "their softmax over tokens"),
    (lambda q, k: grouped(q * q.shape[-1] ** 0.5, k), "divide the products by √dim"),
    (lambda q, k: grouped(q / q.shape[-1] ** 0.5, k), "not by dim"),
    (lambda q, k: grouped(q, k).log(), "sum to 1|no|the weights"),
    (lambda q, k: grouped(q, k) * 2, "sum to 1"),
    (lambda q, k: grouped(q.flip(0), k), "its own group"),
    (lambda q, k: grouped(q, k).T, "the shape is"),
)


def test_which_claims_hold(capsys: pytest.CaptureFixture[str]) -> None:
    language_model.holding(["A", "E"], language_model.claims())
    assert capsys.readouterr().out.startswith("Correct. ")
    table = language_model.claims()
    table["low"] = 0.0  # of a copy
    assert language_model.claims()["low"].max() == 33


test_wrong_claims = hint_test(
    lambda answer: language_model.holding(answer, language_model.claims()),
    (None, "nothing is here yet"),
    ("A", "pass a list"),
    (["A", "Z"], "no claim 'Z'"),
    (["A", "B", "C", "E", "F"], "an interval above zero is not enough"),
    (["A", "D", "E"], "holds zero"),
    (["A", "B", "E"], "no choice is not prompting at its best"),
    (["A", "E", "F"], "very scenes of the test"),
    (["B"], "the least fair one"),
    (["A"], "E is missing"),
    (["A", "C", "E"], "C does not hold"),
)


def area(there: np.ndarray, absent: np.ndarray) -> float:
    return float(mannwhitneyu(there, absent).statistic / (len(there) * len(absent)))


test_roc_area = right_test(language_model.roc_area, area)

test_wrong_roc_areas = hint_test(
    language_model.roc_area,
    (..., "nothing is here yet"),
    (lambda there, absent: area(absent, there), "swap the two"),
    (lambda there, absent: (there[:, None] > absent).mean(), "equal values count half"),
    (lambda there, absent: (there[:, None] >= absent).mean(), "equal values count half"),
    (lambda there, absent: np.concatenate([there > 0, absent <= 0]).mean(), "no threshold is asked for"),
    (lambda there, absent: there.mean() - absent.mean(), "a difference of means"),
    (lambda there, absent: 0.5, "compare every value"),
    (lambda there, absent: there, "one finite number"),
)
