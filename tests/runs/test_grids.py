"""Grids: what a file holds is what is swept, and each mistake has its own message before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steer_utils.runs.grids import BLOCK_NAMES, NotebookGrid, Split, SteeringGrid, as_grid, read_grid

GRID: dict[str, Any] = {
    "models": ["pocket-qwen2-audio"],
    "seeds": [0, 1],
    "scenes": 4,
    "blocks": ["early", 1, [0, 1]],
    "strengths": [2, 8.5],
}


def test_a_grid_is_what_the_file_says(tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text(
        "models: [one, two]\nseeds: [3, 0]\nscenes: 5\nblocks: [each, late, 1, [2, 0], [-1]]\n"
        "strengths: [0, 2, -4.5]\nsplit: {development: [siren, knock, drum]}\nread_blocks: [3, 2]\n"
    )
    found = read_grid(path)
    assert found == SteeringGrid(
        models=("one", "two"),
        seeds=(3, 0),
        scenes=5,
        blocks=("each", "late", (1,), (0, 2), (-1,)),
        strengths=(2.0, -4.5),
        split=Split(development=("siren", "knock", "drum")),
        read_blocks=(2, 3),
    )


def test_one_value_is_a_list_of_one() -> None:
    found = as_grid({"models": "one", "seeds": 0, "scenes": 1, "blocks": "late", "strengths": 4})
    assert isinstance(found, SteeringGrid)
    assert (found.models, found.seeds, found.blocks, found.strengths) == (("one",), (0,), ("late",), (4.0,))


def test_a_grid_with_a_notebook_is_of_the_other_kind() -> None:
    found = as_grid({"notebook": 7, "seeds": [0, 1], "parameters": {"preset": "smoke", "strength": [4, 8]}})
    assert found == NotebookGrid(notebook="07", seeds=(0, 1), parameters={"preset": "smoke", "strength": [4, 8]})
    assert as_grid({"notebook": "08"}) == NotebookGrid(notebook="08")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strenghts": [1]}, "unknown key 'strenghts'; did you mean 'strengths'? a grid takes blocks, "),
        ({"zebra": 1}, "unknown key 'zebra'; a grid takes"),
        ({"parameters": {}}, "'parameters' has no place in a grid without a notebook"),
        ({"models": []}, "models is empty"),
        ({"models": [3]}, "models has 3; pass text"),
        ({"models": ["one", "one"]}, "models has one twice"),
        ({"seeds": [0, 1, 0]}, "seeds has 0 twice"),
        ({"seeds": [-1]}, "seeds has -1; pass whole numbers from 0"),
        ({"seeds": [True]}, "seeds has True"),
        ({"seeds": ["0"]}, "seeds has '0'"),
        ({"scenes": 0}, "scenes is 0; pass a whole number from 1"),
        ({"scenes": 2.5}, "scenes is 2.5"),
        ({"scenes": "2"}, "scenes is '2'; pass a whole number from 1"),
        ({"scenes": True}, "scenes is True"),
        ({1: 2}, "the key 1 is not text"),
        ({"strengths": []}, "strengths is empty"),
        ({"strengths": [float("nan")]}, "strengths has nan; pass finite numbers"),
        ({"strengths": [float("inf")]}, "strengths has inf"),
        ({"strengths": ["1e1"]}, "strengths has '1e1'; pass numbers (yaml reads 1e1 as text: write 10)"),
        ({"strengths": [True]}, "strengths has True; pass numbers"),
        ({"strengths": [2, 2.0]}, "strengths has 2.0 twice"),
        ({"strengths": [0]}, "strengths holds 0 only, which is measured anyway"),
        ({"blocks": []}, "blocks is empty"),
        ({"blocks": ["lat"]}, "blocks has 'lat'; did you mean 'late'?"),
        ({"blocks": [1.5]}, "blocks has 1.5; pass each, early, late, all, or numbers"),
        ({"blocks": [[]]}, "blocks has []"),
        ({"blocks": [[0, 0]]}, "a block twice"),
        ({"blocks": [1, [1]]}, "blocks has (1,) twice"),
        ({"questions": [""]}, "questions has ''; pass text"),
        ({"settings": 4}, "settings is 4; pass text"),
        ({"read_blocks": "before"}, "read_blocks is 'before'; pass after, own, or numbers"),
        ({"split": ["siren"]}, "split is ['siren']; pass a mapping of development (classes) and scenes"),
        ({"split": {"developement": []}}, "unknown key 'developement' in split; did you mean 'development'?"),
        ({"split": {"development": ["siren", "siren"]}}, "split: development has siren twice"),
        ({"split": {"development": [3]}}, "split: development has 3; pass text"),
        ({"split": {"scenes": 0}}, "split: scenes is 0"),
        ({"notebook": 7}, "'scenes' has no place in a grid with a notebook; it takes models, notebook"),
    ],
)
def test_each_mistake_has_its_own_message(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as raised:
        as_grid({**GRID, **change})
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"notebook": ""}, "notebook is ''; pass text"),
        ({"notebook": 7, "parameters": [1]}, "parameters is [1]; pass a mapping"),
        ({"notebook": 7, "parameters": {1: 2}}, "pass a mapping"),
        ({"notebook": 7, "parameters": {"a": []}}, "parameters: a is an empty list"),
        ({"notebook": 7, "seeds": [1], "parameters": {"seed": 2}}, "seed stands in seeds and in parameters"),
        ({"notebook": 7, "models": ["a"], "parameters": {"model": "b"}}, "model stands in models"),
    ],
)
def test_mistakes_of_a_grid_with_a_notebook(given_: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as raised:
        as_grid(given_)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot read a grid from"),
        ("", "holds nothing; a grid is a mapping"),
        ("- 1\n", "holds a list; a grid is a mapping"),
        ("models: [a\n", "cannot read a grid from"),
        ("seeds: [1]\nmodels: [a]\nseeds: [2]\n", "has seeds twice (line 1); give each key once"),
        ("models: [a]\nsplit:\n  scenes: 1\n  scenes: 2\n", "has scenes twice (line 3); give each key once"),
        ("models: [a]\n", "blocks, scenes, seeds, strengths is missing; a grid needs"),
        ("models: [a]\nseeds: [0]\nscenes: 1\nblocks: all\nstrengths: [.nan]\n", "strengths has nan"),
    ],
)
def test_bad_files_are_named(text: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError) as raised:
        read_grid(path)
    assert message in str(raised.value) and "grid.yaml" in str(raised.value)


def test_python_objects_in_yaml_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text(f"models: !!python/object/apply:os.mkdir ['{tmp_path / 'made'}']\n")
    with pytest.raises(ValueError, match="cannot read a grid"):
        read_grid(path)
    assert not (tmp_path / "made").exists()


SCALARS = st.none() | st.booleans() | st.integers(-3, 5) | st.floats() | st.sampled_from(["", "a", "late", "after"])
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner))
KEYS = st.sampled_from([*SteeringGrid.model_fields, "notebook", "parameters", "x"])


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(KEYS, VALUES, max_size=3))
def test_whatever_a_file_holds_is_a_grid_or_a_value_error(change: dict[str, Any]) -> None:
    try:
        found = as_grid({**GRID, **change})
    except ValueError as error:
        assert str(error)
        return
    assert isinstance(found, SteeringGrid) and 0.0 not in found.strengths
    assert len(set(found.seeds)) == len(found.seeds) >= 1
    for each in found.blocks:
        assert each in BLOCK_NAMES if isinstance(each, str) else each == tuple(sorted(set(each)))
