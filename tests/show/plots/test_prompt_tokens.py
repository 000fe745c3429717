"""Figures of how sound gets in: slots and times at their places, words that do not touch, alt texts that say it all."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure
from pictures import figure_test
from tinies import covering_padding

from steer_utils.lm.hearing import Hearing
from steer_utils.show.plots import prompt_tokens as layout_plots
from steer_utils.show.plots.prompt_tokens import PARTS, Slot
from steer_utils.sound.spans import AudioSpan

SPAN = AudioSpan(3, 25)
RATE = 16_000
FIRST, SECOND = "Focus on the dog bark.", "Listen."


def slots(words: int) -> list[Slot]:
    """Three slots of template, 25 of audio, `words` of instruction, one of template, the last."""
    parts = ["template"] * 3 + ["audio"] * 25 + ["instruction"] * words + ["template", "answer"]
    return [Slot(number, "<|im_start|>" if part == "template" else part, part) for number, part in enumerate(parts)]


def prompts() -> dict[str, list[Slot]]:
    return {FIRST: slots(12), SECOND: slots(2)}


def second() -> tuple[np.ndarray, int, np.ndarray, AudioSpan]:
    rng = np.random.default_rng(0)
    return 0.1 * rng.normal(size=RATE), RATE, rng.normal(size=(64, 100)), AudioSpan(15, 25)


def change(silenced: range) -> np.ndarray:
    """80 % where it was silenced, 40 % just after, 10 % elsewhere."""
    rows = np.full((len(silenced), 25), 0.1)
    for place, token in enumerate(silenced):
        rows[place, token] = 0.8
        rows[place, token + 1 : token + 2] = 0.4
    return rows


FIGURES: dict[str, Callable[[], Figure]] = {
    "prompt": lambda: layout_plots.prompt_figure(prompts(), SPAN),
    "long prompt": lambda: layout_plots.prompt_figure({FIRST: slots(28)}, SPAN),
    "second": lambda: layout_plots.second_figure(*second()),
    "reach": lambda: layout_plots.reach_figure(change(range(25)), range(25)),
    "reach of a few": lambda: layout_plots.reach_figure(change(range(2, 25, 5)), range(2, 25, 5)),
}


test_figures = figure_test(FIGURES)


# -- the slots of a prompt -----------------------------------------------------------------------------------------
def test_slots_are_those_of_the_processor(hearing: Hearing, full_inputs: Callable[..., dict]) -> None:
    lm = hearing.checkpoint
    made = layout_plots.prompt_slots(lm, FIRST, hearing.span)
    ids = full_inputs(lm, (FIRST, hearing.samples))["input_ids"][0].tolist()
    assert [slot.number for slot in made] == list(range(len(ids)))
    assert [slot.number for slot in made if slot.part == "audio"] == [
        place for place, token in enumerate(ids) if token == lm.audio_token_id
    ]
    assert [slot.text for slot in made] == [lm.processor.tokenizer.decode([token]) for token in ids]
    said = [slot.text.lower() for slot in made if slot.part == "instruction"]
    assert said[0] == "focus" and said[-3:] == ["dog", "bark", "."] and len(said) == 6
    assert [slot.number for slot in made if slot.part == "answer"] == [len(ids) - 1]
    assert {slot.part for slot in made} == set(PARTS)


def test_strips_show_every_slot_but_the_middle_of_the_audio() -> None:
    for ax, each in zip(layout_plots.prompt_figure(prompts(), SPAN).axes, prompts().values(), strict=True):
        numbers = [int(text.get_text()) for text in ax.texts if text.get_text().isdigit()]
        assert numbers == [0, 1, 2, 3, 4, 26, 27, *range(28, len(each))]
        assert any("25 audio" in text.get_text() for text in ax.texts)
        assert any("slots 0 to 27" in text.get_text() for text in ax.texts)


def test_short_audio_is_drawn_whole() -> None:
    parts = ["template", "audio", "audio", "audio", "instruction", "answer"]
    short = [Slot(number, part, part) for number, part in enumerate(parts)]
    ax = layout_plots.prompt_figure({"Short.": short}, AudioSpan(1, 3)).axes[0]
    assert [text.get_text() for text in ax.texts if text.get_text().isdigit()] == list("012345")


def test_nothing_to_draw_is_said() -> None:
    with pytest.raises(ValueError, match="at least one prompt"):
        layout_plots.prompt_figure({}, SPAN)


def test_parts_differ_without_colour() -> None:
    looks = [(style.get("hatch"), style["facecolor"] == "#1a1a1a") for _, style in PARTS.values()]
    assert len(set(looks)) == len(PARTS)


# -- one second, and what a token has heard ------------------------------------------------------------------------
def test_tokens_stand_at_their_times() -> None:
    wave, bands, grid = layout_plots.second_figure(*second()).axes
    places = {int(text.get_text()): text.get_position()[0] for text in grid.texts}
    assert [places[token] for token in range(25)] == pytest.approx(list(0.04 * np.arange(25) + 0.02))
    widths = {round(patch.get_y()): patch.get_width() for patch in grid.patches}
    assert widths == pytest.approx({0: 0.01, 1: 0.02, 2: 0.04}) and len(grid.patches) == 100 + 50 + 25
    assert grid.get_xlabel() == "time (s)" and wave.get_xlim() == bands.get_xlim() == (0.0, 1.0)


def test_reach_is_the_mean_by_distance() -> None:
    distances, means = layout_plots.reach(change(range(25)), range(25))
    assert distances.tolist() == list(range(-24, 25))
    expected = [0.8 if lag == 0 else 0.4 if lag == 1 else 0.1 for lag in range(-24, 25)]
    assert means == pytest.approx(expected)
    profile = layout_plots.reach_figure(change(range(25)), range(25)).axes[1]
    bars = {round(bar.get_x() + bar.get_width() / 2): bar.get_height() for bar in profile.patches}
    assert bars == pytest.approx({lag: 80 if lag == 0 else 40 if lag == 1 else 10 for lag in range(-10, 11)})


def test_alt_texts_hold_the_numbers() -> None:
    said = layout_plots.alt_text_prompt(prompts(), SPAN)
    assert "Slots 0 to 27 are the same" in said and "25 audio tokens (1.00 s) from slot 3" in said
    assert "'Listen.' has 32 slots" in said and "in slots 28-29, chat template in 0-2, 30," in said
    assert "begins after slot 31" in said
    heard = layout_plots.alt_text_second(*second())
    assert "64 bands, 100 frames" in heard and "50 tower positions and 25 audio tokens, numbered 0 to 24" in heard
    reached = layout_plots.alt_text_reach(change(range(25)), range(25))
    assert "itself 80 %, the one after it 40 %, the one before it 10 %, those further away 10 %" in reached


def test_padding_that_has_slots_is_refused_not_numbered_wrongly(hearing: Hearing) -> None:
    with pytest.raises(ValueError, match=r"does not draw the padding that (Qwen2-Audio|Audio Flamingo 3) hears"):
        layout_plots.prompt_slots(covering_padding(hearing.checkpoint), FIRST, hearing.span)
