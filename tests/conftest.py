"""Shared fixtures: tiny models of the real classes (see `tinies`), audio, and oracles.

Two families stand for all but in tests/lm, whose own conftest adds the others: higher rooms know of no class.
"""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # no test may reach the network
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings
from site_pages import built_site
from sweep_work import SIX, small_sweep
from tinies import EVENTS, shared, tiny

from steer_utils.lm.checkpoints import Checkpoint
from steer_utils.lm.hearing import Hearing
from steer_utils.lm.models import AudioLM
from steer_utils.lm.plan import Row
from steer_utils.pocket.architecture import FAMILIES, save
from steer_utils.runs.clusters import local_workers
from steer_utils.runs.executors import SerialExecutor
from steer_utils.runs.sweep import Sweep, run_sweep

# What fails is what was changed: property tests draw the same examples each time. `make test-slow` draws new ones.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


def pytest_configure(config: pytest.Config) -> None:
    torch.set_num_threads(1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """What runs in one process when there are several: a file, whose tests share models and tables; all tests in the
    browser, which share one JupyterLab. A notebook shares nothing."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.partition("::")[0]
            if path.startswith("tests/browser/"):
                return "browser"
            return nodeid if path == "tests/test_notebooks.py" else path

    return ByFile(config, log)


@pytest.fixture(scope="session")
def tiny_models() -> Iterator[dict[str, AudioLM]]:
    """Tiny models, by family."""
    yield from shared(FAMILIES)


@pytest.fixture(scope="session", params=sorted(FAMILIES))
def lm(request: pytest.FixtureRequest, tiny_models: dict[str, AudioLM]) -> AudioLM:
    """Each tiny model in turn."""
    return tiny_models[request.param]


@pytest.fixture(scope="session")
def one_model(tiny_models: dict[str, AudioLM]) -> AudioLM:
    """One tiny model, for tests in which the family makes no difference."""
    return tiny_models["qwen2_audio"]


@pytest.fixture(scope="session")
def samples() -> np.ndarray:
    """Two seconds of a rising tone in noise, 16 kHz mono."""
    time = np.arange(2 * 16_000) / 16_000
    noise = np.random.default_rng(0).normal(size=time.size)
    return (0.3 * np.sin(2 * np.pi * (300 + 600 * time) * time) + 0.05 * noise).astype(np.float32)


@pytest.fixture(scope="session")
def other_samples() -> np.ndarray:
    """Another audio of the same length."""
    return (0.1 * np.random.default_rng(1).normal(size=2 * 16_000)).astype(np.float32)


@pytest.fixture
def hearing(lm: AudioLM, samples: np.ndarray) -> Hearing:
    """The first audio, heard by each tiny model in turn."""
    return lm.hear(samples, sampling_rate=16_000)


def saved(lm: AudioLM, folder: Path) -> Path:
    save(lm.model, lm.processor, folder, {"events": list(EVENTS)})
    return folder


@pytest.fixture(scope="session")
def model_folder(lm: AudioLM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each tiny model in turn as a folder, as `from_pretrained` wants it."""
    return saved(lm, tmp_path_factory.mktemp(lm.family.model_type))


@pytest.fixture(scope="session")
def one_folder(one_model: AudioLM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of `one_model`."""
    return saved(one_model, tmp_path_factory.mktemp("one"))


@pytest.fixture(scope="session")
def six_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny model of four blocks that is said to know six classes: enough for both splits of a sweep."""
    lm = tiny("qwen2_audio")
    folder = tmp_path_factory.mktemp("six")
    save(lm.model, lm.processor, folder, {"events": list(SIX), "trained_recordings": []})
    return folder


@pytest.fixture(scope="session")
def finished_sweep(six_classes: Path, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """The sweep of `small_grid`, run in this process. Not to be changed."""
    sweep = small_sweep(six_classes, tmp_path_factory.mktemp("finished") / "out")
    assert all(outcome.done for outcome in run_sweep(sweep, SerialExecutor()))
    return sweep


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The website, built once for all processes of a run."""
    base = tmp_path_factory.getbasetemp()
    return built_site(base if worker_id == "master" else base.parent)


@pytest.fixture(scope="module")  # not longer: tests that run notebooks close the event loop
def two_workers() -> Iterator[Any]:
    """A Dask client of two processes of this machine."""
    with local_workers(2) as client:
        yield client


@pytest.fixture
def client(two_workers: Any) -> Any:
    """The same, both workers there: a test may have killed one."""
    two_workers.wait_for_workers(2)
    return two_workers


@pytest.fixture
def eager() -> Callable[[Checkpoint], AbstractContextManager[None]]:
    """`with eager(lm):` the decoder forms the full attention matrices: the oracle for everything read from SDPA."""

    @contextmanager
    def switch(checkpoint: Checkpoint) -> Iterator[None]:
        config = checkpoint.decoder.config
        before = config._attn_implementation
        config._attn_implementation = "eager"
        try:
            yield
        finally:
            config._attn_implementation = before

    return switch


@pytest.fixture
def full_inputs() -> Callable[..., dict[str, Any]]:
    """What plain transformers is given for one or more (instruction, samples), left-padded: the uncached way in."""

    def make(checkpoint: Checkpoint, *pairs: tuple[str, np.ndarray]) -> dict[str, Any]:
        rows = [
            checkpoint.family.inputs(checkpoint.processor, checkpoint.prompt(instruction), audio, 16_000)
            for instruction, audio in pairs
        ]
        longest = max(row["input_ids"].shape[1] for row in rows)
        fill = {"input_ids": checkpoint.processor.tokenizer.pad_token_id, "attention_mask": 0}
        for row in rows:
            missing = (longest - row["input_ids"].shape[1], 0)
            row |= {name: torch.nn.functional.pad(row[name], missing, value=value) for name, value in fill.items()}
        return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}

    return make


@pytest.fixture
def rows_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each call of `read_rows` has: a list that grows."""
    sizes: list[int] = []
    read = Hearing.read_rows

    def counted(self: Hearing, rows: list[Row], **options: Any) -> Any:
        sizes.append(len(rows))
        return read(self, rows, **options)

    monkeypatch.setattr(Hearing, "read_rows", counted)
    return sizes


@pytest.fixture
def hook_count() -> Callable[[Checkpoint], int]:
    """How many hooks there are in the whole model."""

    def count(checkpoint: Checkpoint) -> int:
        return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in checkpoint.model.modules())

    return count
