"""Partials: a killed run goes on to identical rows, and anything else starts anew."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from watched_work import stopping

from steer_utils.lm.models import AudioLM
from steer_utils.methods.settings import PAPER
from steer_utils.study.resume import Record, analysis_identity, resumable_rows, resumable_table, through_json

RUBBISH = [b"", b"\xff\x00", b"[1]", b"{}", b"[0, 3]", b"[9, []]", b'["0", []]', b"null", b"7"]
FACTS = {"analysis": "squares", "of": (1, 2)}


def squares(unit: int) -> list[Record]:
    return [{"unit": unit, "power": power, "value": (unit + 0.1) ** power, "pair": (unit, power)} for power in (1, 2)]


def counted(made: list[int]) -> Callable[[int], list[Record]]:
    def rows(unit: int) -> list[Record]:
        made.append(unit)
        return squares(unit)

    return rows


@pytest.mark.parametrize("killed_after", [0, 1, 3])
def test_a_killed_run_goes_on_to_identical_rows(tmp_path: Path, killed_after: int) -> None:
    whole, resume_file = resumable_rows(4, squares, FACTS), tmp_path / "new" / "run"
    assert [row["unit"] for row in whole] == [0, 0, 1, 1, 2, 2, 3, 3]
    with pytest.raises(KeyboardInterrupt):
        resumable_rows(4, squares, FACTS, resume_file=resume_file, progress=stopping(killed_after))
    made: list[int] = []
    assert resumable_rows(4, counted(made), FACTS, resume_file=resume_file) == whole
    assert made == list(range(killed_after, 4))
    assert resumable_rows(4, counted(made), FACTS, resume_file=resume_file) == whole and len(made) == 4 - killed_after
    assert [path.name for path in resume_file.parent.iterdir()] == ["run"]


@pytest.mark.parametrize("killed_after", [0, 2, 4])
def test_inputs_are_made_for_what_is_left_alone(tmp_path: Path, killed_after: int) -> None:
    """Three at a time, in order, and no further ahead."""
    resume_file, made = tmp_path / "run", list[int]()

    def inputs(pending: Sequence[int]) -> Iterator[str]:
        for first in range(0, len(pending), 3):
            made.extend(pending[first : first + 3])
            yield from (str(unit) for unit in pending[first : first + 3])

    def rows(name: str) -> list[Record]:
        return squares(int(name))

    whole = resumable_rows(5, squares, FACTS)
    with pytest.raises(KeyboardInterrupt):
        resumable_rows(5, rows, FACTS, inputs=inputs, resume_file=resume_file, progress=stopping(killed_after))
    assert made == list(range((killed_after + 2) // 3 * 3))[:5]
    made.clear()
    assert resumable_rows(5, rows, FACTS, inputs=inputs, resume_file=resume_file) == whole
    assert made == list(range(killed_after, 5))


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_line_cut_short_is_made_again(tmp_path: Path, cut: int) -> None:
    resume_file = tmp_path / "run"
    whole = resumable_rows(3, squares, FACTS, resume_file=resume_file)
    complete = resume_file.read_bytes()
    resume_file.write_bytes(complete[:-cut])
    made: list[int] = []
    assert resumable_rows(3, counted(made), FACTS, resume_file=resume_file) == whole
    assert resume_file.read_bytes() == complete
    assert made == ([] if cut == 1 else [2])  # without its newline alone, the line still holds everything


def test_other_facts_start_anew(tmp_path: Path) -> None:
    resume_file, made = tmp_path / "run", list[int]()
    resumable_rows(2, squares, FACTS, resume_file=resume_file)
    with pytest.warns(UserWarning, match="run was begun with another of: this run starts anew"):
        resumable_rows(2, counted(made), {**FACTS, "of": [1, 3]}, resume_file=resume_file)
    assert made == [0, 1]


def test_a_run_in_one_number_type_is_not_gone_on_with_in_another(one_model: AudioLM, tmp_path: Path) -> None:
    half = copy.deepcopy(one_model)
    half.model.to(torch.bfloat16)
    resume_file, made = tmp_path / "run", list[int]()
    for lm in (half, one_model):
        facts = analysis_identity("squares", lm, PAPER)
        resumable_rows(2, counted(made), facts, resume_file=resume_file)
        resumable_rows(2, counted(made), facts, resume_file=resume_file)
    assert made == [0, 1, 0, 1]


def test_a_unit_without_rows_is_done(tmp_path: Path) -> None:
    resume_file = tmp_path / "run"
    assert resumable_rows(2, lambda _: [], FACTS, resume_file=resume_file) == []
    assert resumable_rows(2, squares, FACTS, resume_file=resume_file) == []


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(RUBBISH), max_size=4))
def test_rubbish_in_the_file_is_passed_over(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> None:
    resume_file = tmp_path_factory.mktemp("rubbish") / "run"
    for head in (b"", json.dumps(through_json(FACTS)).encode() + b"\n"):
        resume_file.write_bytes(head + b"\n".join(lines))
        assert resumable_rows(2, squares, FACTS, resume_file=resume_file) == resumable_rows(2, squares, FACTS)


def test_the_table_holds_the_facts(tiny_models: dict[str, AudioLM], tmp_path: Path) -> None:
    facts = {**analysis_identity("squares", tiny_models["qwen2_audio"], PAPER), "of": (1, 2)}
    table = resumable_table(2, squares, facts, resume_file=tmp_path / "run")
    pd.testing.assert_frame_equal(table, pd.DataFrame(resumable_rows(2, squares, facts)), check_exact=True)
    assert table.attrs["model"] == "tiny-qwen2_audio" and table.attrs["of"] == [1, 2]
    assert table.attrs["settings"]["positive"] == PAPER.positive and "torch" in table.attrs["versions"]
