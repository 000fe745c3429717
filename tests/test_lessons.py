"""What the notebooks share: sizes, the figure folder, the scene."""

from __future__ import annotations

from pathlib import Path

import pytest

from steer_utils import lessons
from steer_utils.figures import new_figure
from steer_utils.models import AudioLM
from steer_utils.runs import PRESETS


def test_a_preset_takes_its_own_size(tmp_path: Path) -> None:
    sizes = [lessons.begin(preset, tmp_path).size(smoke=1, course=2, paper=3) for preset in PRESETS]
    assert sizes == [1, 2, 3]


def test_an_unknown_preset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'fast'.*smoke, course, paper"):
        lessons.begin("fast", tmp_path / "figures")
    assert not (tmp_path / "figures").exists()


@pytest.mark.parametrize("within", ["notebooks", "notebooks/exercises", "."])
def test_figures_lie_in_the_project(within: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / within).mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(tmp_path / within)
    assert lessons.begin("smoke", "figures").figures == tmp_path / "figures"
    assert (tmp_path / "figures").is_dir()


def test_a_figure_is_written_shown_and_captioned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figure = new_figure(2, 1)
    figure.subplots()
    lessons.begin("smoke", tmp_path).keep(figure, "00_empty", "An empty pair of axes, for a test.", "Nothing at all.")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00_empty.png", "00_empty.svg"]
    assert "Nothing at all." in capsys.readouterr().out


def test_a_scene_has_the_sounds_in_their_order_and_fits_the_model(lm: AudioLM) -> None:
    scene = lessons.scene_of("siren, dog bark", lm, seed=3)
    assert [event.name for event in scene.events] == ["siren", "dog bark"]
    assert scene.duration <= min(8.0, lm.window_seconds)


def test_a_sound_that_cannot_be_made_is_refused(lm: AudioLM) -> None:
    with pytest.raises(ValueError, match="kazoo"):
        lessons.scene_of("siren, kazoo", lm, seed=3)
