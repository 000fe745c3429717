"""The result table: figures from evaluation files only, the paper's beside them, and nothing else of a page touched."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from steer_utils.lm.models import MAIN_MODELS, MINI_MODELS
from steer_utils.methods.table import FURTHER, METHODS, RIVALS, STANDARD
from steer_utils.study import paper_table as results
from steer_utils.study.paper_table import (
    MAIN_METHODS,
    NOT_RUN,
    PAPER_FIGURES,
    evaluation_of,
    main_table,
    results_table,
    write_results_table,
)

MARKS = "<!-- results: begin -->", "<!-- results: end -->"


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty weights folder in the place of the real one."""
    monkeypatch.setattr(results, "WEIGHTS", tmp_path / "weights")
    return tmp_path / "weights"


def evaluated(
    weights: Path,
    name: str,
    overlap: float,
    kinds: tuple[str, ...] = ("procedural",),
    methods: Sequence[str] = tuple(METHODS),
) -> None:
    rows = [
        {
            "method": method,
            "slot": slot,
            "n": 600,
            "overlap": overlap if slot == "all" else 0.99,
            "low": overlap - 0.02,
            "high": overlap + 0.03,
        }
        for method in methods
        for slot in ("all", "first")
    ]
    (weights / name).mkdir(parents=True)
    settings = {"chosen_on": {"rivals": {"scenes": 60}}}
    found = {kind: {"where": {"rows": rows, "settings": settings}} for kind in kinds}
    (weights / name / "evaluation.json").write_text(json.dumps(found))


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_what_was_not_run_says_so(weights: Path) -> None:
    head, rule, *rows = results_table().splitlines()[: 2 + len(STANDARD)]
    assert len(cells(head)) == 2 + 2 * len((*MAIN_MODELS, *MINI_MODELS)) + 2 == len(cells(rule))
    for line, method in zip(rows, (METHODS[name] for name in STANDARD), strict=True):
        label, needs, *own, paper_qwen2, paper_af3 = cells(line)
        assert (label, needs) == (method.label, method.demands)
        assert own == [NOT_RUN] * 8
        assert (paper_qwen2, paper_af3) == PAPER_FIGURES.get(method.name, ("", ""))
    assert evaluation_of(MAIN_MODELS[0]) is None


def test_figures_stand_in_their_own_column(weights: Path) -> None:
    evaluated(weights, MAIN_MODELS[1], 0.5123)
    head, _, *rows = results_table().splitlines()[: 2 + len(METHODS)]
    column = cells(head).index(f"{MAIN_MODELS[1]}, synthetic (n = 600)")
    for line in rows:
        assert cells(line)[column] == "51.2 (49.2-54.2)"
        assert cells(line).count(NOT_RUN) == 7
    evaluated(weights, MAIN_MODELS[0], 0.25, ("procedural", "recordings"))
    assert results_table().count("25.0 (23.0-28.0)") == 2 * len(METHODS)


def test_a_method_without_a_row_was_not_run(weights: Path) -> None:
    evaluated(weights, MAIN_MODELS[0], 0.25)
    path = weights / MAIN_MODELS[0] / "evaluation.json"
    found = json.loads(path.read_text())
    rows = found["procedural"]["where"]["rows"]
    found["procedural"]["where"]["rows"] = [row for row in rows if row["method"] != "asking"]
    path.write_text(json.dumps(found))
    (line,) = [line for line in results_table().splitlines() if METHODS["asking"].label in line]
    assert cells(line)[2] == NOT_RUN


def test_the_papers_figures_are_kept_apart() -> None:
    assert PAPER_FIGURES["steering-paper"] == ("60.87", "68.72")
    assert PAPER_FIGURES["asking"] == ("31.84", "46.75")
    assert PAPER_FIGURES["random"] == ("27.74", "27.74")
    assert set(PAPER_FIGURES) <= set(METHODS)
    assert "not a reproduction" in results_table()


def test_the_table_goes_between_the_marks_and_again(weights: Path, tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text(f"# Title – ü\n\n{MARKS[0]}\nold\n{MARKS[1]}\n\nafter\n", encoding="utf-8")
    write_results_table(page)
    expected = f"# Title – ü\n\n{MARKS[0]}\n{results_table()}\n{MARKS[1]}\n\nafter\n"
    assert page.read_text(encoding="utf-8") == expected
    write_results_table(page)
    assert page.read_text(encoding="utf-8") == expected
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["README.md"]


@pytest.mark.parametrize("text", ["", MARKS[0], MARKS[1], f"{MARKS[1]}\n{MARKS[0]}"])
def test_a_page_without_marks_is_refused_and_kept(text: str, weights: Path, tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text(text)
    with pytest.raises(ValueError, match="results: begin"):
        write_results_table(page)
    assert page.read_text() == text


def test_answers_that_could_not_be_read_are_told(weights: Path) -> None:
    evaluated(weights, MAIN_MODELS[0], 0.5)
    path = weights / MAIN_MODELS[0] / "evaluation.json"
    kept = json.loads(path.read_text())
    for row in kept["procedural"]["where"]["rows"]:
        row["failed"] = 0.25 if row["method"] == "asking" else 0.0
    path.write_text(json.dumps(kept))
    (asking,) = (line for line in results_table().splitlines() if line.startswith("| asking when"))
    assert cells(asking)[2] == "50.0 (48.0-53.0, 25 % of answers not read)"
    assert results_table().count("not read") == 1


@pytest.mark.parametrize("page", ["README.md", "docs/results.md"])
def test_the_pages_show_what_was_measured(page: str, tmp_path: Path) -> None:
    """Written again they are the same: `steer-utils results --write` was run after the last measurement."""
    committed = (Path(__file__).parents[2] / page).read_text(encoding="utf-8")
    copy = tmp_path / "page.md"
    copy.write_text(committed, encoding="utf-8")
    write_results_table(copy)
    assert copy.read_text(encoding="utf-8") == committed


def test_both_tables_go_into_one_page(weights: Path, tmp_path: Path) -> None:
    evaluated(weights, MAIN_MODELS[0], 0.5)
    page = tmp_path / "page.md"
    page.write_text(f"{MARKS[0]}\n{MARKS[1]}\n<!-- main results: begin -->\nold\n<!-- main results: end -->\nend\n")
    write_results_table(page)
    text = page.read_text(encoding="utf-8")
    assert results_table() in text and main_table() in text and "old" not in text and text.endswith("end\n")
    rows = main_table().splitlines()
    assert [cells(row)[0] for row in rows[2:]] == [METHODS[name].label for name in MAIN_METHODS]
    assert cells(rows[2])[1:3] == ["50.0", "not run here"]
    assert cells(rows[-1])[-1] == "27.74 / 27.74"


def test_further_methods_stand_in_the_table_once_they_were_measured(weights: Path) -> None:
    labels = [METHODS[name].label for name in (*RIVALS, *FURTHER)]
    assert not any(label in results_table() for label in labels)
    evaluated(weights, MAIN_MODELS[0], 0.25)  # with every method
    assert all(label in results_table() for label in labels)


def test_slower_methods_come_from_their_own_file_and_say_how_many(weights: Path) -> None:
    name = MAIN_MODELS[0]
    evaluated(weights, name, 0.25, methods=(*STANDARD, *RIVALS))
    rows = [{"method": method, "slot": "all", "n": 300, "overlap": 0.4, "low": 0.3, "high": 0.5} for method in METHODS]
    (weights / name / "analyses.json").write_text(json.dumps({"further, procedural": {"rows": rows}}))
    table = results_table().splitlines()
    for method in METHODS.values():
        (line,) = [line for line in table if cells(line)[0] == method.label]
        assert cells(line)[2] == ("40.0 (30.0-50.0, n = 300)" if method.name in FURTHER else "25.0 (23.0-28.0)")


def test_a_slower_method_that_the_evaluation_measured_is_taken_from_there(weights: Path) -> None:
    name = MAIN_MODELS[0]
    evaluated(weights, name, 0.25)
    rows = [{"method": FURTHER[0], "slot": "all", "n": 300, "overlap": 0.4, "low": 0.3, "high": 0.5}]
    (weights / name / "analyses.json").write_text(json.dumps({"further, procedural": {"rows": rows}}))
    (line,) = [line for line in results_table().splitlines() if cells(line)[0] == METHODS[FURTHER[0]].label]
    assert cells(line)[2] == "25.0 (23.0-28.0)"


def test_rivals_whose_numbers_were_not_chosen_say_so(weights: Path) -> None:
    name = MAIN_MODELS[0]
    evaluated(weights, name, 0.25)
    path = weights / name / "evaluation.json"
    found = json.loads(path.read_text())
    found["procedural"]["where"]["settings"] = {"chosen_on": {}}
    path.write_text(json.dumps(found))
    lines = {cells(line)[0]: cells(line) for line in results_table().splitlines() if line.startswith("|")}
    for method in METHODS.values():
        declared = ", as declared" if method.name in RIVALS else ""
        assert lines[method.label][2] == f"25.0 (23.0-28.0{declared})"
