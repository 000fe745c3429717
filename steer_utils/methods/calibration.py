"""How far a model's own yes or no can be trusted: its log odds, made a probability that comes true as often as it says.

    calibration = fit_calibration(log_odds, there, question=settings.presence, fitted_on={...})
    calibration.probability(1.3)
    model_calibration(lm, settings)      # calibration.json beside a model's weights; None where there is none

p = 1 / (1 + exp(-(a s + b))) for log odds s, a > 0 (Platt, "Probabilistic outputs for support vector machines", 1999,
with its smoothed targets): it never changes which of two sounds is the likelier.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator
from pydantic.dataclasses import dataclass
from scipy.optimize import minimize
from scipy.special import expit

from steer_utils.lm.checkpoints import Checkpoint
from steer_utils.methods.settings import STRICT, Sentence, Settings, folder_of, one_line_mistakes
from steer_utils.sound.config_files import read_object, write_object

FILE = "calibration.json"
BINS = 10  # of the expected calibration error


def _positive(slope: float) -> float:
    if slope <= 0:
        raise ValueError(f"slope is {slope}; pass a positive number, so that surer stays likelier")
    return slope


@one_line_mistakes
@dataclass(frozen=True, config=STRICT)
class Calibration:
    """slope, intercept  a and b above
    question          the yes-or-no question it was fitted for, with {event}; it holds for no other
    threshold         the probability from which on a sound counts as there
    fitted_on         what it was fitted on, in words and numbers

    Raises ValueError for a slope that is not positive, and as `Settings` does.
    """

    slope: Annotated[float, AfterValidator(_positive)]
    intercept: float
    question: Sentence
    threshold: float = 0.5
    fitted_on: dict[str, Any] = field(default_factory=dict, hash=False)

    def probability(self, log_odds: float) -> float:
        """The chance that the sound is there, given the model's log odds of yes against no."""
        return float(expit(self.slope * log_odds + self.intercept))

    def save(self, path: Path) -> None:
        """Write as json, atomically."""
        write_object(self, path)

    @classmethod
    def load(cls, path: Path) -> Calibration:
        """Read such a file. Raises ValueError, with its path, for one that holds no calibration."""
        return read_object(cls, path, "a calibration")


def model_calibration(checkpoint: Checkpoint, settings: Settings) -> Calibration | None:
    """calibration.json of the model's folder; None without one, and where it was fitted for another question than that
    of `settings`, or for other weights.

    Raises ValueError for a file that cannot be read.
    """
    folder = folder_of(checkpoint)
    path = folder / FILE if folder else None
    if path is None or not path.is_file():
        return None
    calibration = Calibration.load(path)
    same_weights = calibration.fitted_on.get("revision") in (None, checkpoint.revision)
    return calibration if same_weights and calibration.question == settings.presence else None


def fit_calibration(
    log_odds: np.ndarray, there: np.ndarray, *, question: str, fitted_on: Mapping[str, Any] | None = None
) -> Calibration:
    """The calibration that fits `log_odds` (n,) to whether the sound was `there` (n,), by Platt's smoothed likelihood.

    Its probabilities are for as many sounds that are there as that are not, whatever their share in the data.
    Raises ValueError for values that are not finite, or where none or all are there.
    """
    scores, truth = np.asarray(log_odds, float), np.asarray(there, bool)
    if scores.ndim != 1 or truth.shape != scores.shape or not np.isfinite(scores).all():
        raise ValueError(f"log odds {scores.shape} and truths {truth.shape} must be as many, and finite")
    yes, no = int(truth.sum()), int((~truth).sum())
    if not yes or not no:
        raise ValueError(f"{yes} sounds are there and {no} are not; a calibration needs both")
    target = np.where(truth, (yes + 1) / (yes + 2), 1 / (no + 2))
    weight = np.where(truth, 0.5 / yes, 0.5 / no)
    spread = max(float(scores.std()), 1e-9)

    def loss(parameters: np.ndarray) -> float:
        margin = math.exp(parameters[0]) / spread * scores + parameters[1]
        return float((weight * (np.logaddexp(0, margin) - target * margin)).sum())

    best = minimize(loss, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-9, "maxiter": 2000}).x
    return Calibration(math.exp(best[0]) / spread, float(best[1]), question, fitted_on=dict(fitted_on or {}))


def brier_score(probabilities: np.ndarray, there: np.ndarray) -> float:
    """Mean squared distance of the probabilities from what was so: 0 is perfect, 0.25 says 50 % of everything."""
    return float(((np.asarray(probabilities, float) - np.asarray(there, float)) ** 2).mean())


def calibration_error(probabilities: np.ndarray, there: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error: in `bins` even steps of probability, how far the mean probability is from the share
    that was there, averaged with the number in each (Guo et al. 2017)."""
    rows = reliability(probabilities, there, bins)
    total = sum(count for *_, count in rows)
    return float(sum(abs(mean - share) * count for mean, share, count in rows) / total)


def reliability(probabilities: np.ndarray, there: np.ndarray, bins: int = BINS) -> list[tuple[float, float, int]]:
    """(mean probability, share that was there, number) of each step of probability that holds any."""
    values, truth = np.asarray(probabilities, float), np.asarray(there, float)
    step = np.minimum((values * bins).astype(int), bins - 1)
    return [
        (float(values[step == index].mean()), float(truth[step == index].mean()), int((step == index).sum()))
        for index in np.unique(step)
    ]
