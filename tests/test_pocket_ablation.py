"""The ablation: variants differ in one number each, none is measured twice, the page says what the file holds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from steer_utils.pocket import ablation
from steer_utils.pocket.ablation import ablate, ablation_page, variants
from steer_utils.pocket.recipe import RECIPES

SHIPPED = Path(ablation.__file__).with_name("ablations.json")


def test_each_variant_changes_one_number() -> None:
    reference, *others = variants(RECIPES["qwen2_audio"])
    base = reference.recipe
    focus = replace(base.language, mix=replace(base.language.mix, focus=0.01))
    assert others[0].recipe == replace(base, language=focus)
    back = {
        "focus": lambda recipe: replace(recipe, language=base.language),
        "local": lambda recipe: replace(recipe, language=base.language),
        "blocks": lambda recipe: replace(recipe, size=base.size),
    }
    for each in others:
        assert each.recipe != base and back[each.question](each.recipe) == base


def test_the_page_that_ships_says_what_its_file_holds() -> None:
    measured = json.loads(SHIPPED.read_text(encoding="utf-8"))
    page = SHIPPED.with_suffix(".md").read_text(encoding="utf-8")
    assert page == ablation_page(measured)
    names = {each.name for each in variants(RECIPES["qwen2_audio"])}
    assert set(measured) <= names
    for name in names - set(measured):
        assert name in page.split("Not run yet: ")[1].splitlines()[0]


def test_what_is_measured_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no(*_: Any, **__: Any) -> Any:
        raise AssertionError("a variant was made again")

    measured = json.loads(SHIPPED.read_text(encoding="utf-8"))
    base = RECIPES["qwen2_audio"]
    kept = {}
    for each in variants(base):
        some = next(iter(measured.values()))
        kept[each.name] = {**some, "recipe_key": ablation.recipe_key(_procedural(each.recipe), [])}
    out = tmp_path / "ablations.json"
    out.write_text(json.dumps(kept))
    monkeypatch.setattr(ablation, "_built", no)
    page = ablate(clips=None, work=tmp_path, out=out, base=base, quiet=True)
    assert page == tmp_path / "ablations.md" and "Not run yet" not in page.read_text()


def _procedural(recipe: Any) -> Any:
    """What `ablate` makes of a recipe where there are no recordings."""
    return replace(recipe, events=tuple(sorted(ablation.SOUNDS)), recordings=0.0)
