"""Studies of a mini model's trainings: each row is what the benchmark finds there, and files keep what others found."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

import steer_utils as su
from steer_utils.cli.main import app
from steer_utils.pocket import mini_studies
from steer_utils.pocket.commands import POCKET_SETTINGS
from steer_utils.pocket.mini_commands import train_mini
from steer_utils.pocket.mini_studies import ALONG_METHODS, between_trainings, over_steps, step_of
from steer_utils.study.benchmark import run_benchmark, scene_set
from steer_utils.study.report import summary

NAME = "mini-smollm2-audio"
DEVELOPMENT = ("siren", "knock", "whistle")


@pytest.fixture
def trained(small: Path) -> Path:
    """A mini model of two steps, with settings; its snapshots lie in work/."""
    out = train_mini(NAME, clips=None, work=small / "work", out=small / NAME, workers=0, quiet=True)
    chosen = replace(POCKET_SETTINGS, blocks=(0, 1), strength=2.0, chosen_on={"events": list(DEVELOPMENT)})
    chosen.save(out / "settings.json")
    return out


def test_each_step_is_measured_with_its_own_settings_and_the_last_is_the_model_that_was_saved(
    trained: Path, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mini_studies, "ALONG_STRENGTHS", (2.0,))
    snapshots = sorted((small / "work").glob(f"{NAME}-*/step-*.safetensors"))
    assert [step_of(path) for path in snapshots] == [0, 2]
    options = {"work": small / "work", "scenes": 2, "tuning_scenes": 1, "quiet": True}
    page = over_steps(str(trained), snapshots, **options)  # type: ignore[arg-type]
    found = json.loads((trained / "analyses.json").read_text())["over steps"]
    measured = sorted((row["step"], row["method"]) for row in found["rows"])
    assert measured == sorted((step, method) for step in (0, 2) for method in ALONG_METHODS)
    assert "When does it learn to be steered?" in page.read_text()
    lm, settings = su.load(trained), su.Settings(**found["settings"][1]["settings"])
    table = run_benchmark(lm, scene_set(lm, settings, count=2, seed=7), settings, methods=ALONG_METHODS)
    expected = summary(table).query("slot == 'all'").set_index("method")["overlap"]
    last = {row["method"]: row["overlap"] for row in found["rows"] if row["step"] == 2}
    assert last == pytest.approx(expected.to_dict(), abs=1e-6)

    monkeypatch.setattr(mini_studies, "tune", lambda *_, **__: pytest.fail("finished steps are kept"))
    assert over_steps(str(trained), snapshots, **options) == page  # type: ignore[arg-type]


def test_the_same_training_carried_over_finds_the_same(
    trained: Path, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mini_studies, "MAP_SCENES", 9)
    (last,) = (small / "work").glob(f"{NAME}-*/step-00002.safetensors")
    between_trainings(str(trained), {"again": last}, others=[str(trained)], work=small / "work", scenes=2, quiet=True)
    found = json.loads((trained / "analyses.json").read_text())["between trainings"]
    overlaps = {row["vector"]: row["overlap"] for row in found["rows"]}
    assert overlaps["again, as it is"] == overlaps["its own vector"] == overlaps[f"{trained}, as it is"]
    assert {f"{trained}, by a map", f"{trained}, by shuffled pairs", "random direction"} <= set(overlaps)


def test_snapshots_need_a_step_in_their_name(small: Path) -> None:
    assert step_of(Path("seed1-step050.safetensors")) == 50
    with pytest.raises(ValueError, match="does not end in its step"):
        step_of(Path("last.safetensors"))
    with pytest.raises(ValueError, match="0 snapshots"):
        over_steps("pocket-qwen2-audio", [], work=small)
    with pytest.raises(ValueError, match="of 1 steps"):
        over_steps("pocket-qwen2-audio", [Path("a-step1.safetensors"), Path("b-step1.safetensors")], work=small)


def test_the_command_line_passes_its_options_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[tuple[object, ...]] = []
    monkeypatch.setattr(mini_studies, "over_steps", lambda *given, **named: calls.append((*given, named)) or tmp_path)
    monkeypatch.setattr(
        mini_studies, "between_trainings", lambda *given, **named: calls.append((*given, named)) or tmp_path
    )
    runner = CliRunner()
    assert runner.invoke(app, ["pocket", "along", "a-step1.safetensors", "--scenes", "3"]).exit_code == 0
    assert runner.invoke(app, ["pocket", "between", "seed2.safetensors", "--other", "one"]).exit_code == 0
    assert calls == [
        (NAME, [Path("a-step1.safetensors")], {"work": Path("runs/pocket"), "scenes": 3}),
        (NAME, {"seed2": Path("seed2.safetensors")}, {"others": ["one"], "work": Path("runs/pocket"), "scenes": 40}),
    ]
