"""Ablations: variants differ in one number, share a tower, resume, and the page holds what was measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from steer_utils.cli.pocket import pocket_app
from steer_utils.pocket import ablation, training
from steer_utils.pocket.ablation import METHODS, ablate, ablation_page, variants
from steer_utils.pocket.recipe import RECIPES, Recipe


def differing(first: Any, second: Any, path: str = "") -> list[str]:
    """Paths at which two nested dictionaries differ."""
    if not isinstance(first, dict):
        return [] if first == second else [path]
    return [each for key in first for each in differing(first[key], second[key], f"{path}/{key}")]


def test_each_variant_differs_from_the_reference_in_one_number() -> None:
    reference, *others = variants(RECIPES["pocket-qwen2-audio"])
    assert reference.question == ""
    paths = {other.question: differing(reference.recipe.as_dict(), other.recipe.as_dict()) for other in others}
    assert paths == {"focus": ["/language/mix/focus"], "local": ["/language/local_audio"], "blocks": ["/size/blocks"]}
    assert len({variant.name for variant in (reference, *others)}) == 1 + len(others)
    assert others[0].recipe.language.mix.focus == 0.01


@pytest.fixture(scope="module")
def made(recipes: dict[str, Recipe], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Recipe]:
    """Ablations of a small recipe, in a folder with out.json, out.md and the checkpoints."""
    base = recipes["qwen2_audio"]
    base = replace(base, size=replace(base.size, blocks=3))
    folder = tmp_path_factory.mktemp("ablations")
    run(folder, base)
    return folder, base


def run(folder: Path, base: Recipe) -> Path:
    return ablate(
        clips=None,
        work=folder,
        out=folder / "out.json",
        base=base,
        stage=base.language,
        scenes=2,
        tuning_scenes=1,
        workers=0,
        quiet=True,
    )


def test_the_page_holds_what_was_measured(made: tuple[Path, Recipe]) -> None:
    folder, base = made
    measured = json.loads((folder / "out.json").read_text())
    assert list(measured) == [variant.name for variant in variants(base, base.language)]
    assert [one["blocks"] for one in measured.values()] == [3, 3, 3, 10, 3]
    page = (folder / "out.md").read_text()
    assert page == ablation_page(measured)
    for name, one in measured.items():
        assert {row["method"] for row in one["rows"]} == set(METHODS)
        assert len(one["by_block_read"]) == len(one["by_block_steered"]) == one["blocks"]
        assert one["by_block_steered"][-1] is None  # steering the last block alone moves no attention
        steering = next(row["overlap"] for row in one["rows"] if row["method"] == "steering")
        (line, *_) = [line for line in page.splitlines() if line.startswith(f"| {name} |")]
        assert f"| {steering:.1%} |" in line
    assert len(list(folder.glob("tower-*"))) == 1
    assert "Not run yet" not in page
    *most, last = measured
    assert f"Not run yet: {last}." in ablation_page({name: measured[name] for name in most})


def test_the_page_that_ships_says_what_its_file_holds() -> None:
    shipped = Path(ablation.__file__).with_name("ablations.json")
    measured = json.loads(shipped.read_text(encoding="utf-8"))
    assert shipped.with_suffix(".md").read_text(encoding="utf-8") == ablation_page(measured)
    assert list(measured) == [variant.name for variant in variants(RECIPES["pocket-qwen2-audio"])]


def test_what_is_measured_is_not_made_again(made: tuple[Path, Recipe], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, base = made
    before = (folder / "out.json").read_bytes()

    def no_work(*_: object) -> None:
        raise AssertionError("all variants are measured")

    monkeypatch.setattr(ablation, "_measured", no_work)
    monkeypatch.setattr(training, "take_step", no_work)
    run(folder, base)
    assert (folder / "out.json").read_bytes() == before
    with pytest.raises(AssertionError):  # another training is another row
        run(folder, replace(base, language=replace(base.language, steps=6)))


def test_the_command_passes_its_options_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []

    def note(**options: Any) -> Path:
        calls.append(options)
        return tmp_path / "page.md"

    monkeypatch.setattr(ablation, "ablate", note)
    done = CliRunner().invoke(pocket_app, ["ablate", "--work", str(tmp_path), "--out", str(tmp_path / "a.json")])
    assert done.exit_code == 0 and "page.md" in done.output
    assert calls == [{"clips": None, "work": tmp_path, "out": tmp_path / "a.json", "workers": None}]
