"""Repeated trainings side by side: the page holds what the folders say, and nothing is written for a wrong one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from steer_utils.cli.pocket import pocket_app
from steer_utils.lm.models import POCKET_MODELS, WEIGHTS
from steer_utils.pocket import repeats
from steer_utils.pocket.repeats import COMPARED, KINDS, compare_trainings, repeats_page, training_of

SHIPPED = Path(repeats.__file__).with_name("repeats.json")
MODEL = "pocket-qwen2-audio-half"


def made(folder: Path, *, seed: int = 2, lift: float = -0.1, weights: str = "sha256:0123456789") -> Path:
    """The figures of the shipped model, all overlaps moved by `lift`, as if another training had come to them."""
    folder.mkdir()
    facts, measured = (json.loads((WEIGHTS / MODEL / name).read_text()) for name in ("pocket.json", "evaluation.json"))
    facts["recipe"]["seed"], measured["revision"] = seed, weights
    for kind in KINDS:
        for row in measured[kind]["where"]["rows"]:
            row["overlap"] += lift
    (folder / "pocket.json").write_text(json.dumps(facts))
    (folder / "evaluation.json").write_text(json.dumps(measured))
    return folder


def test_a_training_is_what_its_folder_says() -> None:
    entry = training_of(WEIGHTS / MODEL)
    measured = json.loads((WEIGHTS / MODEL / "evaluation.json").read_text())
    assert (entry["model"], entry["seed"], entry["ships"]) == (MODEL, 1, True)
    assert measured["revision"].startswith(f"sha256:{entry['weights']}")
    for kind in KINDS:
        rows = {row["method"]: row["overlap"] for row in measured[kind]["where"]["rows"] if row["slot"] == "all"}
        assert {name: each[0] for name, each in entry[kind]["overlap"].items()} == {
            name: rows[name] for name in COMPARED
        }


def test_trainings_are_added_and_their_range_is_said(tmp_path: Path) -> None:
    out, figures = tmp_path / "new" / "repeats.json", tmp_path / "figures"
    other = made(tmp_path / "other")
    page = compare_trainings([WEIGHTS / MODEL, other], out, figures)
    trainings = json.loads(out.read_text())
    assert page == out.with_suffix(".md") and page.read_text() == repeats_page(trainings)
    assert [each["ships"] for each in trainings] == [True, False]
    low, high = sorted(each["procedural"]["overlap"]["steering"][0] for each in trainings)
    assert high - low == pytest.approx(0.1)
    assert f"| {low:.1%} to {high:.1%} |" in page.read_text() and "| 2 | `01234567` | 300 |" in page.read_text()
    assert sorted(path.name for path in figures.iterdir()) == ["repeats.png", "repeats.svg"]

    # Added later: the others are kept, and one known by its weights is written anew.
    before = page.read_text()
    compare_trainings([made(tmp_path / "third", seed=3, weights="sha256:fedcba98"), other], out, figures)
    assert [each["seed"] for each in json.loads(out.read_text())] == [1, 2, 3]
    assert page.read_text() != before


def test_the_gap_is_taken_within_each_training() -> None:
    """Both methods may differ by 30 points between trainings that agree on which finds 20 more."""

    def training(seed: int, steering: float) -> dict[str, Any]:
        overlap = {name: [steering - (0.2 if name == "prompting" else 0.0), 0.0, 1.0] for name in COMPARED}
        figures = {"scenes": 3, "listing": 1.0, "chance": 0.2, "overlap": overlap}
        return {"model": "m", "seed": seed, "weights": str(seed), "ships": False, "procedural": figures}

    page = repeats_page([training(1, 0.9), training(2, 0.6)])
    assert "| 60.0% to 90.0% |" in page and "| 40.0% to 70.0% |" in page
    last = page.splitlines()[-1]
    assert "+20.0 to +20.0" in last and last.count("+0.0 to +0.0") == len(COMPARED) - 2


def test_what_is_no_measured_model_is_refused_and_nothing_written(tmp_path: Path) -> None:
    out, figures = tmp_path / "repeats.json", tmp_path / "figures"
    other = made(tmp_path / "other")
    with pytest.raises(ValueError, match="pocket train"):
        compare_trainings([WEIGHTS / MODEL, tmp_path], out, figures)
    with pytest.raises(ValueError, match="more than once"):
        compare_trainings([WEIGHTS / MODEL], out, figures)
    with pytest.raises(ValueError, match=r"\.json"):
        compare_trainings([WEIGHTS / MODEL, other], tmp_path / "repeats.txt", figures)
    (other / "evaluation.json").write_text("{")
    with pytest.raises(ValueError, match="does not hold"):
        compare_trainings([WEIGHTS / MODEL, other], out, figures)
    assert not out.exists() and not figures.exists()
    for text in ("{", '{"a": 1}', '["a"]'):
        out.write_text(text)
        with pytest.raises(ValueError, match="no list of trainings"):
            compare_trainings([WEIGHTS / MODEL], out, figures)
        assert out.read_text() == text


def test_the_page_that_ships_says_what_its_file_holds() -> None:
    trainings = json.loads(SHIPPED.read_text(encoding="utf-8"))
    assert SHIPPED.with_suffix(".md").read_text(encoding="utf-8") == repeats_page(trainings)
    shipped = {each["model"]: each for each in trainings if each["ships"]}
    assert shipped == {name: training_of(WEIGHTS / name) for name in shipped}, "run `steer-utils pocket repeats`"
    assert set(shipped) == set(POCKET_MODELS)


def test_the_command_takes_names_and_folders(tmp_path: Path) -> None:
    out, other = tmp_path / "r.json", made(tmp_path / "other")
    options = ["--out", str(out), "--figures", str(tmp_path)]
    done = CliRunner().invoke(pocket_app, ["repeats", MODEL, str(other), *options])
    assert done.exit_code == 0, done.output
    assert len(json.loads(out.read_text())) == 2 and (tmp_path / "repeats.png").is_file()
