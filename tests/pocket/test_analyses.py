"""The analyses of a pocket model: files beside its weights, a page that says what the file holds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tinies import EVENTS

from steer_utils.lm.models import MAIN_MODELS, WEIGHTS, AudioLM
from steer_utils.methods.table import FURTHER
from steer_utils.pocket.analyses import analyse, analyses_page, redraw
from steer_utils.pocket.architecture import save
from steer_utils.show.analyses import ANALYSES
from steer_utils.show.plots.figures import picture_change
from steer_utils.sound.conditions import CONDITIONS, PLAIN
from steer_utils.study import harder_scenes


@pytest.fixture
def folder(tiny_models: dict[str, AudioLM], tmp_path: Path) -> Path:
    one = tiny_models["qwen2_audio"]
    save(one.model, one.processor, tmp_path / "pocket-tiny", {"events": list(EVENTS), "trained_recordings": []})
    return tmp_path / "pocket-tiny"


@pytest.mark.slow
def test_a_study_writes_rows_page_and_figures(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures, work = tmp_path / "figures", tmp_path / "work"
    run = {name for name, entry in ANALYSES.items() if not entry.any_text and name != "field"}
    page = analyse(str(folder), clips=None, figures=figures, work=work, scenes=2, further_scenes=2, quiet=True)
    found = json.loads((folder / "analyses.json").read_text())
    assert set(found) == run | {"model", "revision", "further, procedural"}
    assert "field is left out: a threshold is chosen on files of at least four development" in capsys.readouterr().out
    assert {row["method"] for row in found["further, procedural"]["rows"]} == {"steering", *FURTHER}
    assert page.read_text() == analyses_page(found, "pocket-tiny")
    for analysis in (ANALYSES[name] for name in run):
        assert list(figures.glob(f"{analysis.name}_*_pocket-tiny.png")) and analysis.question in page.read_text()
    again = analyse(str(folder), clips=None, figures=figures, work=work, scenes=2, further_scenes=2, quiet=True)
    assert again.read_text() == page.read_text()


def test_chosen_analyses_are_added_to_what_is_there(folder: Path, tmp_path: Path) -> None:
    figures, work = tmp_path / "figures", tmp_path / "work"
    options = {"clips": None, "figures": figures, "work": work, "scenes": 2, "further_scenes": 0, "quiet": True}
    analyse(str(folder), only=["blocks"], **options)  # type: ignore[arg-type]
    first = json.loads((folder / "analyses.json").read_text())
    assert set(first) == {"model", "revision", "blocks"}
    page = analyse(str(folder), only=["shift"], **options)  # type: ignore[arg-type]
    both = json.loads((folder / "analyses.json").read_text())
    assert set(both) == {*first, "shift"} and both["blocks"] == first["blocks"]
    assert page.read_text() == analyses_page(both, "pocket-tiny")
    assert redraw(str(folder), figures=figures) == ([], ["shift", "blocks"]), "their rows are not all that is drawn"
    (folder / "analyses.json").write_text(json.dumps({**both, "revision": "other weights"}))
    with pytest.raises(ValueError, match="measured on other weights"):
        redraw(str(folder), figures=figures)
    analyse(str(folder), only=["shift"], **options)  # type: ignore[arg-type]
    assert set(json.loads((folder / "analyses.json").read_text())) == {"model", "revision", "shift"}
    with pytest.raises(ValueError, match="no analysis 'block'"):
        analyse(str(folder), only=["block"], **options)  # type: ignore[arg-type]
    for name, why in (("field", "the settings name 0"), ("words", "knows no words but its own")):
        with pytest.raises(ValueError, match=f"no {name}: .*{why}"):
            analyse(str(folder), only=["blocks", name], **options)  # type: ignore[arg-type]


def test_conditions_are_measured_on_recordings_too(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = ["filename,category"]
    for place, name in enumerate(EVENTS):
        tone = 0.5 * np.sin(2 * np.pi * 300 * (place + 1) * np.arange(24_000) / 16_000)
        soundfile.write(tmp_path / f"{place}.wav", tone, 16_000)
        rows.append(f"{place}.wav,{name}")
    (tmp_path / "clips.csv").write_text("\n".join(rows) + "\n")
    monkeypatch.setattr(harder_scenes, "CONDITIONS", {PLAIN: CONDITIONS[PLAIN]})
    options = {"figures": tmp_path / "figures", "work": tmp_path / "work", "scenes": 2, "further_scenes": 0}
    page = analyse(str(folder), clips=tmp_path, only=["conditions"], quiet=True, **options)  # type: ignore[arg-type]
    found = json.loads((folder / "analyses.json").read_text())
    assert set(found) == {"model", "revision", "conditions", "conditions, recordings"}
    assert "2 procedural scenes" in page.read_text() and "2 scenes of 3 recordings" in page.read_text()
    assert "- Of plain scenes steering finds" in page.read_text()
    names = {path.name for path in (tmp_path / "figures").glob("*.png")}
    assert {f"conditions_overlap{kind}_pocket-tiny.png" for kind in ("", "-recordings")} < names and len(names) == 4
    pictures, lacking = redraw(str(folder), figures=tmp_path / "again")
    assert {path.name for path in pictures} == names and lacking == []
    for path in pictures:
        assert not picture_change((tmp_path / "figures" / path.name).read_bytes(), path.read_bytes())


def test_without_rows_nothing_is_drawn_again(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no analyses\.json; measure first"):
        redraw(str(folder), figures=tmp_path / "figures")
    assert not (tmp_path / "figures").exists()


def test_a_model_that_is_no_pocket_model_is_refused(one_folder: Path, tmp_path: Path) -> None:
    (one_folder / "pocket.json").rename(tmp_path / "kept")
    try:
        with pytest.raises(ValueError, match="is not a pocket model"):
            analyse(str(one_folder), clips=None, figures=tmp_path / "figures", work=tmp_path / "work")
    finally:
        (tmp_path / "kept").rename(one_folder / "pocket.json")
    assert not (tmp_path / "figures").exists()


@pytest.mark.parametrize("name", MAIN_MODELS)
def test_the_page_that_ships_says_what_its_file_holds(name: str) -> None:
    found = json.loads((WEIGHTS / name / "analyses.json").read_text())
    assert (WEIGHTS / name / "analyses.md").read_text() == analyses_page(found, name)
    evaluated = json.loads((WEIGHTS / name / "evaluation.json").read_text())
    assert found["revision"] == evaluated["revision"], "the weights have changed: run `steer-utils pocket analyse`"
