"""The assumptions table: it says what PAPER holds, and names the factors of the grid, each once."""

from __future__ import annotations

import re
from dataclasses import FrozenInstanceError, replace
from types import SimpleNamespace

import pytest

from steer_utils.methods.settings import PAPER, Settings
from steer_utils.sound.scenemaker import PAPER_SECONDS
from steer_utils.study.assumptions import HEADINGS, Assumption, assumptions, assumptions_markdown
from steer_utils.study.benchmark import scene_set
from steer_utils.study.sensitivity import FACTORS, STRENGTHS, WIDTHS


def row(what: str, settings: Settings = PAPER) -> Assumption:
    (found,) = [each for each in assumptions(settings) if each.what == what]
    return found


def test_every_factor_of_the_grid_is_an_assumption_and_none_twice() -> None:
    factors = [each.factor for each in assumptions() if each.factor is not None]
    assert sorted(factors) == sorted([*FACTORS, "width"])
    assert all(each.varied.startswith(("no", "both")) == (each.factor is None) for each in assumptions())


def test_rows_are_full_and_distinct() -> None:
    rows = assumptions()
    assert len({each.what for each in rows}) == len(rows)
    assert all(each.what and each.open and each.declared and each.varied for each in rows)
    with pytest.raises(FrozenInstanceError):
        rows[0].what = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("what", "change", "before", "after"),
    [
        ("strength λ", {"strength": 3.5}, "λ = 1", "λ = 3.5"),
        ("steered blocks", {"blocks": (3, 5)}, "floor(L/2) to L - 1", "blocks 3, 5"),
        ("blocks read", {"read_blocks": (6,)}, "after the first steered", "blocks 6"),
        ("norm", {"keep_norm": False}, "kept", "free"),
        ("read-out", {"read": "share"}, "steered - share unsteered", "steered share itself"),
        ("contrast", {"negative": "Listen well."}, "“Listen to the whole audio.”", "“Listen well.”"),
        ("contrast", {"positive": "Hear the {event}."}, "“Focus on the {event}.”", "“Hear the {event}.”"),
        ("contrast", {"question": "What is it?"}, "“Describe the sound.”", "“What is it?”"),
    ],
)
def test_what_is_declared_is_read_from_the_settings(
    what: str, change: dict[str, object], before: str, after: str
) -> None:
    changed = replace(PAPER, **change)  # type: ignore[arg-type]
    assert before in row(what).declared and after not in row(what).declared
    assert after in row(what, changed).declared and before not in row(what, changed).declared
    others = [each for each in assumptions(changed) if each.what != what]
    assert others == [each for each in assumptions() if each.what != what]


def test_the_words_for_defaults_are_what_the_code_does() -> None:
    assert PAPER.steered_blocks(9) == (4, 5, 6, 7, 8)  # floor(L/2) to L - 1
    assert row("steered positions").declared == "the last prompt token"
    assert row("models").declared == "Qwen/Qwen2-Audio-7B-Instruct, nvidia/audio-flamingo-3-hf"
    levels = [float(number) for number in re.findall(r"[\d.]+\d|\d", row("strength λ").varied)]
    assert tuple(levels) == STRENGTHS
    assert tuple(float(number) for number in row("window").varied.split(" of ")[0].split(", ")) == WIDTHS
    heard = SimpleNamespace(window_seconds=30.0, events=None, name="large", check_text=lambda *said: None)
    maker = scene_set(heard, PAPER, count=1, seed=0).maker  # type: ignore[arg-type]
    assert (maker.event_seconds, maker.min_gap, maker.seconds) == ((5.0, 5.0), 1.0, (PAPER_SECONDS, PAPER_SECONDS))
    assert "three clips of 5 s in 17 s, gaps of 1 s" in row("benchmark").declared


def test_markdown_is_one_line_a_row_with_every_cell() -> None:
    lines = assumptions_markdown().splitlines()
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    assert tuple(cells[0]) == HEADINGS and set(cells[1]) == {"---"}
    assert len(cells) == 2 + len(assumptions()) and {len(line) for line in cells} == {len(HEADINGS)}
    for each, (what, stated, *rest) in zip(assumptions(), cells[2:], strict=True):
        assert what == each.what and stated == (each.stated or "–") and all(rest)
    assert r"\|W ∩ E\| / \|E\|" in assumptions_markdown()
    assert "λ = 2" in assumptions_markdown(replace(PAPER, strength=2))
