"""How many threads torch computes with: one for small models, for as long as they compute, and never against the user.

Whatever these tests set is put back: the suite itself runs with one thread (conftest).
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from steer_utils.lm import threads
from steer_utils.lm.checkpoints import alone
from steer_utils.lm.hearing import Hearing
from steer_utils.lm.models import AudioLM
from steer_utils.lm.threads import ONE_THREAD, THREADS, asked_for, chosen, fitting_threads, pin_threads, polite

OWN = 3  # what torch takes by itself, in these tests


@pytest.fixture(autouse=True)
def torchs_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine on which torch takes three threads and nobody has said anything."""
    for name in (*THREADS, threads._SHARED):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads, "_torchs_own", lambda: {OWN})
    before = torch.get_num_threads()
    torch.set_num_threads(OWN)
    yield
    torch.set_num_threads(before)


def inside(parameters: int = 1000) -> int:
    with fitting_threads(parameters):
        return torch.get_num_threads()


def test_a_small_model_takes_one_thread_and_afterwards_all_are_back() -> None:
    assert inside(ONE_THREAD - 1) == 1
    assert torch.get_num_threads() == OWN
    with pytest.raises(ZeroDivisionError), fitting_threads(1000):
        1 / 0  # noqa: B018
    assert torch.get_num_threads() == OWN


def test_a_large_model_takes_them_all() -> None:
    assert inside(ONE_THREAD) == OWN


def test_nested_uses_put_back_what_they_met() -> None:
    with fitting_threads(1000):
        assert inside() == 1
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == OWN


@pytest.mark.parametrize("name", THREADS[:2])
def test_what_the_environment_says_wins(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "3")
    assert chosen() and inside() == OWN


def test_what_torch_was_told_wins() -> None:
    torch.set_num_threads(2)
    assert chosen() and inside() == 2
    assert torch.get_num_threads() == 2


def test_a_share_of_the_cores_is_no_choice_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*THREADS, threads._SHARED):
        monkeypatch.setenv(name, "")  # so that what is pinned goes with the test
    pin_threads(2, shared=True)
    assert torch.get_num_threads() == 2 and os.environ["OMP_NUM_THREADS"] == "2"
    assert not chosen() and inside() == 1 and inside(ONE_THREAD) == 2
    assert asked_for(os.environ) is None
    pin_threads(2)  # the next sweep of the same workers, whose threads somebody named
    assert chosen() and inside() == 2
    assert asked_for(os.environ) == 2


@pytest.mark.parametrize(("value", "count"), [("4", 4), ("0", None), ("4,2", None), ("many", None), ("", None)])
def test_a_number_is_read_from_the_environment(value: str, count: int | None) -> None:
    assert asked_for({"OMP_NUM_THREADS": value}) == count
    assert asked_for({}) is None and asked_for({"MKL_NUM_THREADS": "2"}) == 2


def test_other_threads_of_python_keep_theirs() -> None:
    """The setting is that of the thread that computes."""
    seen: list[int] = []
    computing, over = threading.Event(), threading.Event()

    def other() -> None:
        torch.get_num_threads()  # its first use of torch, before the small model's
        computing.set()
        over.wait(10)
        seen.append(torch.get_num_threads())

    neighbour = threading.Thread(target=other)
    neighbour.start()
    computing.wait(10)
    with fitting_threads(1000):
        over.set()
        neighbour.join()
    assert seen == [OWN]


def test_every_use_of_a_small_model_computes_with_one(one_model: AudioLM, hearing: Hearing, samples: object) -> None:
    """Hearing, reading, answering: seen from inside the model's own blocks."""
    seen: set[int] = set()
    handle = one_model.blocks[0].register_forward_hook(lambda *_: seen.add(torch.get_num_threads()))
    try:
        heard = one_model.hear(samples, sampling_rate=16_000)  # type: ignore[arg-type]
        heard.read("Describe the sound.")
        heard.answer("Describe the sound.", max_new_tokens=2)
    finally:
        handle.remove()
    assert seen == {1} and torch.get_num_threads() == OWN
    with alone(one_model):
        assert torch.get_num_threads() == 1


def test_threads_wait_politely_unless_the_environment_says_how() -> None:
    assert polite({}) == {"OMP_WAIT_POLICY": "PASSIVE"}
    assert polite({"OMP_WAIT_POLICY": ""}) == {"OMP_WAIT_POLICY": "PASSIVE"}
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        assert polite({name: "ACTIVE"}) == {}


def test_importing_the_library_changes_no_setting_and_loads_no_torch_for_it() -> None:
    code = """
import os, sys
before = dict(os.environ)
import steer_utils, steer_utils.lm.threads, steer_utils.cli.main
assert "torch" not in sys.modules
import torch
count = torch.get_num_threads()
import steer_utils.lm.models, steer_utils.methods.table, steer_utils.runs.notebooks
assert torch.get_num_threads() == count and dict(os.environ) == before, "changed"
"""
    environment = {name: value for name, value in os.environ.items() if name not in THREADS}
    root = Path(threads.__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, cwd=root, timeout=120)


def test_the_command_line_sets_up_its_own_process(monkeypatch: pytest.MonkeyPatch) -> None:
    from steer_utils.cli import main as command_line

    monkeypatch.setenv("OMP_WAIT_POLICY", "")
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.delenv("KMP_BLOCKTIME", raising=False)
    seen: list[str] = []
    monkeypatch.setattr(command_line, "app", lambda **_: seen.append(os.environ["OMP_WAIT_POLICY"]))
    command_line.main()
    assert seen == ["PASSIVE"]
