"""A query, settings unlike the paper's in every way, and short ways to ask a method."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from steer_utils.lm.hearing import Hearing
from steer_utils.methods.base import Localisation, Query
from steer_utils.methods.settings import Settings
from steer_utils.methods.table import METHODS

QUERY = Query("dog bark", 0.5, seed=4, others=("bell", "siren"))
OWN = Settings(
    positive="Listen for the {event}.",
    negative="Attend to the whole audio.",
    question="What do you hear?",
    strength=2.0,
    blocks=(0, 1),
    keep_norm=False,
    read="share",
    read_blocks=(2,),
    read_heads=((2, 1), (3, 0)),
    prompt_blocks=(1, 3),
    prompt_question="Name the sounds.",
    prompt_best_blocks=(2,),
    peak_blocks=(0,),
    presence="Is there a {event} in the audio? Answer yes or no.",
)
PAPER_LIKE = replace(OWN, keep_norm=True, blocks=None, read="difference", read_blocks=None)


def find(name: str, hearing: Hearing, settings: Settings = OWN, query: Query = QUERY) -> Localisation:
    method = METHODS[name].find
    assert method is not None
    return method(hearing, query, settings)


def curve_of(found: Localisation) -> np.ndarray:
    assert found.curve is not None
    return found.curve


def curve(name: str, hearing: Hearing, settings: Settings = OWN, query: Query = QUERY) -> np.ndarray:
    return curve_of(find(name, hearing, settings, query))
