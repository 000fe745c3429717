"""Settings: what is refused, what is saved, and what the paper's setting keeps of a model's own."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from steer_utils.methods.settings import PAPER, Settings, paper_settings

OWN = Settings(
    positive="Listen for the {event}.",
    strength=4,
    blocks=(0, 2),
    keep_norm=False,
    read="share",
    read_blocks=(1, 2),
    read_heads=((1, 0), (2, 3)),
    prompt_blocks=(0,),
    peak_blocks=(-1,),
    ask="When is the {event}?",
    presence="Do you hear the {event}?",
    chosen_on={"events": ["siren", "knock"], "scenes": 60},
)


def test_the_papers_setting_is_the_declared_one() -> None:
    assert (PAPER.positive, PAPER.negative) == ("Focus on the {event}.", "Listen to the whole audio.")
    assert (PAPER.strength, PAPER.keep_norm, PAPER.read) == (1.0, True, "difference")
    assert PAPER.steered_blocks(32) == tuple(range(16, 32))
    assert PAPER.steered_blocks(7) == (3, 4, 5, 6)  # floor(L/2) .. L-1
    assert OWN.steered_blocks(32) == (0, 2)


def test_the_papers_setting_keeps_only_a_models_questions() -> None:
    assert paper_settings(OWN) == replace(PAPER, ask=OWN.ask, presence=OWN.presence)
    assert paper_settings(PAPER) == PAPER


def test_settings_survive_a_file(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    for settings in (OWN, PAPER):
        settings.save(path)
        assert Settings.load(path) == settings
    assert Settings.load(str(path)) == PAPER  # type: ignore[arg-type]
    assert [entry.name for entry in tmp_path.iterdir()] == ["settings.json"]
    assert len({OWN, PAPER, replace(PAPER)}) == 2  # can be keys


def test_a_file_may_leave_settings_out(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text('{"strength": 2, "blocks": [1, 3]}', encoding="utf-8")
    assert Settings.load(path) == Settings(strength=2, blocks=(1, 3))
    assert Settings.load(path).read_heads is None  # files written before there were heads


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"strenght": 2}', "settings.json: strenght is no setting; settings are .*strength"),
        ('{"strength": 2', "cannot read settings from .*settings.json"),
        ("[1, 2]", "holds a list; settings are one json object"),
        ('{"strength": "2"}', r"settings.json: strength is '2'; pass a number"),
        ('{"strength": NaN}', "finite"),
        ("\x00\xff", "cannot read settings"),
    ],
)
def test_a_bad_file_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "settings.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=message):
        Settings.load(path)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot read settings from .*nothing\.json"):
        Settings.load(tmp_path / "nothing.json")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"positive": "Focus on the dog."}, "positive must hold {event}"),
        ({"positive": "Focus on the {event} {x}."}, "no other braces"),
        ({"positive": "Focus on the {{event}}."}, "positive must hold {event}"),
        ({"ask": "When?"}, "ask must hold {event}"),
        ({"presence": "Is there a {} {event}?"}, "presence must hold {event}"),
        ({"negative": " "}, "negative is ' '"),
        ({"question": None}, "question is None; pass a sentence"),
        ({"strength": float("inf")}, "finite"),
        ({"strength": True}, "strength is True; pass a number"),
        ({"strength": "2"}, "strength is '2'; pass a number"),
        ({"strenght": 2}, "strenght is no setting; settings are ask, blocks, "),
        ({"blocks": [True]}, "blocks is [True]"),
        ({"positive": ""}, "positive is ''; pass a sentence"),
        ({"keep_norm": 1}, "keep_norm is 1; pass true or false"),
        ({"read": "shares"}, 'read is \'shares\'; pass "share" or "difference"'),
        ({"blocks": ()}, "blocks is ()"),
        ({"blocks": "34"}, "blocks is '34'"),
        ({"read_blocks": 3}, "read_blocks is 3"),
        ({"peak_blocks": [1.5]}, "peak_blocks is"),
        ({"read_heads": ()}, "read_heads is ()"),
        ({"read_heads": [3, 4]}, "read_heads is [3, 4]"),
        ({"read_heads": [(3, 4, 5)]}, "read_heads is"),
        ({"read_heads": [(3, 0.5)]}, "read_heads is"),
        ({"read_heads": "34"}, "read_heads is '34'"),
        ({"chosen_on": {"events": "siren"}}, "events"),
        ({"chosen_on": {"events": [3]}}, "events"),
        ({"chosen_on": ["siren"]}, "events"),
    ],
)
def test_nonsense_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        Settings(**options)
    assert "\n" not in str(caught.value)


def test_development_events() -> None:
    assert PAPER.development_events == ()
    assert OWN.development_events == ("siren", "knock")


def test_the_vector_may_be_made_before_another_question() -> None:
    assert Settings().contrast_question == Settings().question
    assert Settings(vector_question="Is it high or low?").contrast_question == "Is it high or low?"
    with pytest.raises(ValueError, match="vector_question is '  '; pass a sentence"):
        Settings(vector_question="  ")


def test_a_focus_prompt_is_the_instruction_and_a_question() -> None:
    settings = Settings(positive="Focus on the {event}.", question="Describe the sound.")
    assert settings.focus("dog bark") == "Focus on the dog bark. Describe the sound."
    assert settings.focus("dog bark", "Is it high?") == "Focus on the dog bark. Is it high?"
