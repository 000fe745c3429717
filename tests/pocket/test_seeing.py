"""The pocket model that sees: its labels, that both stages learn, and that a killed training goes on bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pictures_shown import SHORT, SMALL, shown

from steer_utils.pocket import training
from steer_utils.pocket.seeing import (
    build,
    patch_labels,
    patch_states,
    pictures,
    train_answers,
    train_tower,
)
from steer_utils.pocket.shapes import COLOURS, GRID, NEVER_TRAINED, SHAPES
from steer_utils.pocket.training import Progress


def test_patches_have_the_labels_of_the_thing_they_lie_in() -> None:
    labels = patch_labels([shown()])
    for thing in shown().things:
        inside = GRID.inside(thing.box)
        assert (labels["colour"][0, inside] == 1 + list(COLOURS).index(thing.colour)).all()
        assert (labels["shape"][0, inside] == 1 + list(SHAPES).index(thing.shape)).all()
        assert (labels["texture"][0, inside] == (thing.texture == "striped")).all()
        assert (labels["size"][0, inside] == (thing.size == "large")).all()
    ground = ~np.logical_or.reduce([GRID.inside(thing.box) for thing in shown().things])
    assert (labels["colour"][0, ground] == 0).all() and (labels["size"][0, ground] == -1).all()


def test_pictures_of_a_training_are_the_same_again_and_lack_what_is_kept_from_it() -> None:
    first, again = pictures(1, 40, 60), pictures(1, 41, 1)
    assert np.array_equal(first[1].pixels, again[0].pixels)
    assert not {thing.name for picture in first for thing in picture.things} & set(NEVER_TRAINED)
    assert {len(picture.things) for picture in first} == {1, 2, 3, 4}


def test_the_projector_gets_what_the_plain_class_gives_it() -> None:
    model, processor = build(SMALL, 1)
    given: list[torch.Tensor] = []
    model.model.multi_modal_projector.register_forward_hook(lambda module, args, output: given.append(args[0]))
    prompt = processor.apply_chat_template(
        [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What do you see?"}]}], tokenize=False
    )
    model(**processor(text=[prompt], images=[shown().pixels], return_tensors="pt"))
    torch.testing.assert_close(patch_states(model, processor, [shown()]), given[0])


def test_a_killed_training_goes_on_as_if_it_had_not_been(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def weights(folder: Path) -> dict[str, torch.Tensor]:
        model, processor = build(SMALL, 1)
        for stage in (train_tower, train_answers):
            stage(model, processor, SHORT, Progress(folder, every=2, quiet=True))
        return dict(model.state_dict())

    for folder in ("whole", "killed"):
        (tmp_path / folder).mkdir()
    whole, step, taken = weights(tmp_path / "whole"), training.take_step, []

    def killed(*values: object) -> None:
        taken.append(1)
        if len(taken) == 8:  # the last step of stage 2
            raise KeyboardInterrupt
        step(*values)  # type: ignore[arg-type]

    monkeypatch.setattr(training, "take_step", killed)
    with pytest.raises(KeyboardInterrupt):
        weights(tmp_path / "killed")
    monkeypatch.setattr(training, "take_step", step)
    resumed, start = weights(tmp_path / "killed"), dict(build(SMALL, 1)[0].state_dict())
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
    learnt = {name.split(".")[1] for name in whole if not torch.equal(whole[name], start[name])}
    assert {"vision_tower", "multi_modal_projector", "language_model", "weight"} <= learnt
