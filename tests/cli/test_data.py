"""`datasets`, `fetch` and `cost`."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import invoke, refused

import steer_utils.sound.downloads
from steer_utils.methods.table import METHODS
from steer_utils.sound.conditions import CONDITIONS
from steer_utils.sound.datasets import DATASETS
from steer_utils.sound.scenes import Scene


def test_datasets_tells_licences_and_ways() -> None:
    listing = invoke("datasets").stdout
    for name, dataset in DATASETS.items():
        assert f"{name}: {dataset.title}" in listing and dataset.licence in listing
        assert (f"steer-utils fetch {name}" in listing) == (dataset.remote is not None)


def test_fetch_prints_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def download(name: str, folder: Path, *, keep_archive: bool, quiet: bool | None) -> Path:
        asked.extend([name, folder, keep_archive])
        return folder / "ESC-50-master"

    monkeypatch.setattr(steer_utils.sound.downloads, "fetch", download)
    result = invoke("fetch", "esc50", "--folder", tmp_path, "--keep-archive")
    assert result.stdout == f"{tmp_path / 'ESC-50-master'}\n" and asked == ["esc50", tmp_path, True]


def test_fetch_refuses_what_it_does_not_download(tmp_path: Path) -> None:
    refused(invoke("fetch", "sakura", "--folder", tmp_path), "is not downloaded by this library")
    refused(invoke("fetch", "magic", "--folder", tmp_path), "no data set is called 'magic'")
    assert not list(tmp_path.iterdir())


def test_cost_says_what_was_assumed() -> None:
    few, many = (invoke("cost", "--scenes", scenes).stdout for scenes in (10, 300))
    assert "10 scenes" in few and "300 scenes" in many and "not run here" in few and few != many
    refused(invoke("cost", "--scenes", 0), "scenes is 0")


def test_scenes_lists_conditions_and_makes_scenes_of_one(tmp_path: Path) -> None:
    listing = invoke("scenes").stdout
    assert all(name in listing and one.words in listing for name, one in CONDITIONS.items())
    result = invoke("scenes", "twice", "--count", 2, "--seed", 5, "--out", tmp_path / "made")
    assert result.stdout.splitlines() == [str(tmp_path / "made" / f"scene_000{index}.wav") for index in range(2)]
    for index in range(2):
        names = Scene.load(tmp_path / "made" / f"scene_000{index}.wav").names
        assert len(names) == 3 and len(set(names)) == 2
    refused(invoke("scenes", "loud"), "there are no scenes called 'loud'; pass one of plain")
    refused(invoke("scenes", "plain", "--seconds", 2), "need 3.90 s")


def test_methods_says_what_each_needs() -> None:
    listing = invoke("methods").stdout.splitlines()
    assert len(listing) == 1 + len(METHODS)
    for line, method in zip(listing[1:], METHODS.values(), strict=True):
        assert line.startswith(method.name) and method.demands in line and method.passes in line
        assert line.endswith("yes" if method.standard else "no")
