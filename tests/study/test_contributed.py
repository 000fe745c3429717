"""Runs of published checkpoints in results/: what may stand there, what may not, and what is left out on the way."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tinies import knowing_five

from steer_utils.lm.models import MAIN_MODELS, MINI_MODELS, AudioLM
from steer_utils.lm.verification import CHECKS, FORMAT, verify
from steer_utils.methods.settings import PAPER
from steer_utils.methods.table import METHODS
from steer_utils.sound.sounds import SOUNDS
from steer_utils.study import contributed
from steer_utils.study.benchmark import run_benchmark, scene_set
from steer_utils.study.contributed import COLUMNS, RESULTS, check, contribute, contributed_runs
from steer_utils.study.paper_table import main_table, results_table
from steer_utils.study.report import write_table

NAMES = tuple(SOUNDS)[:3]
COMMIT, MODEL = "0a1b2c3d" * 5, "Qwen/Qwen2-Audio-7B-Instruct"
VERSIONS = {"steer-utils": "0.1.0", "transformers": "5.23.0", "torch": "2.13.0"}


def a_table() -> pd.DataFrame:
    """Four scenes of three events: steering finds four fifths of each, a random window a quarter; asking fails."""
    rows = []
    for scene in range(4):
        for place, slot in enumerate(("first", "middle", "last")):
            truth = 6.0 * place, 6.0 * place + 5.0
            for method, shift in (("steering", 1.0), ("random", 3.75), ("asking", None)):
                found = shift is not None
                rows.append(
                    {
                        **{"scene": scene, "slot": slot, "event": NAMES[place], "source": None, "method": method},
                        **{"truth_start": truth[0], "truth_end": truth[1], "others": [[20.0, 21.0]], "chance": 0.25},
                        **{
                            "token_seconds": 0.04,
                            "answer": None if found else "In my kitchen, Ann.",
                            "curve": [0.1, 0.2],
                        },
                        "start": truth[0] + shift if found else None,
                        "end": truth[1] + shift if found else None,
                        "overlap": (5.0 - shift) / 5.0 if found else 0.0,
                        "iou": (5.0 - shift) / (5.0 + shift) if found else 0.0,
                        "center_error": shift,
                        **{"own": found, "failed": not found, "unread": "" if found else "no time"},
                        **{"auroc": 0.9 if found else None, "pointing": True if found else None},
                    }
                )
    table = pd.DataFrame(rows).astype({"start": float, "end": float, "center_error": float, "pointing": float})
    table.attrs = {
        "model": MODEL,
        "revision": COMMIT,
        "numbers": "bfloat16, nf4 by bitsandbytes",
        "scenes": {
            **{"scenes": 4, "seed": 7, "classes": list(NAMES), "sounds": "procedural"},
            **{"left_out": 0, "seconds": [17.0, 17.0], "event_seconds": [5.0, 5.0]},
        },
        "settings": {"question": "Describe the sound.", "strength": 1.0},
        "methods": ["steering", "random", "asking"],
        "versions": VERSIONS,
    }
    return table


def a_report() -> dict[str, Any]:
    return {
        **{"format": FORMAT, "ok": True, "model": MODEL, "revision": COMMIT, "family": "Qwen2-Audio"},
        **{"dtype": "bfloat16", "quantisation": "nf4 by bitsandbytes", "device": "NVIDIA L4", "versions": VERSIONS},
        **{"date": "2026-11-27", "parameters": 8_397_094_912, "decoder": "model.language_model", "blocks": 32},
        **{"hidden_size": 4096, "weight_bytes": 7_200_000_000, "audio_seconds": 5.0, "audio_tokens": 125},
        **{"seconds_per_token": 0.04, "row_distance": 0.004, "row_noise": 0.005, "logit_distance": 0.02},
        **{"logit_noise": 0.02, "steering_distance": 0.02, "largest_qk": [900.0] * 32, "peak_bytes": None},
        **{"hear_seconds": 0.5, "row_seconds": 0.01, "token_seconds": 0.03},
        "checks": dict.fromkeys(CHECKS, "OK"),
    }


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., contributed.ContributedRun]:
    """Contribute a table and a report to an empty folder."""
    (tmp_path / "results").mkdir()

    def run(table: pd.DataFrame, report: dict[str, Any], name: str = "qwen2-audio-nf4") -> contributed.ContributedRun:
        write_table(table, tmp_path / "run.parquet")
        (tmp_path / "verify.json").write_text(json.dumps(report))
        return contribute(tmp_path / "run.parquet", tmp_path / "verify.json", name, tmp_path / "results")

    return run


def test_what_lies_in_the_project_is_right() -> None:
    """Every run in results/: fields, versions, revision, seed, no path and no name. Today there is none."""
    runs = contributed_runs()
    files = {path.name for path in RESULTS.iterdir()}
    assert files == {"README.md"} | {f"{run.name}{end}" for run in runs for end in (".parquet", ".verify.json")}
    assert ("Empty today" in (RESULTS / "README.md").read_text(encoding="utf-8")) == (not runs)
    assert all((RESULTS / file).stat().st_size < 2_000_000 for file in files)


def test_a_run_is_put_there_without_curves_and_answers(
    put: Callable[..., contributed.ContributedRun], tmp_path: Path
) -> None:
    put(a_table(), a_report())
    assert {path.name for path in (tmp_path / "results").iterdir()} == {
        "qwen2-audio-nf4.parquet",
        "qwen2-audio-nf4.verify.json",
    }
    (run,) = contributed_runs(tmp_path / "results")
    assert set(run.table) == set(COLUMNS) and run.report == a_report()
    assert run.table.attrs == a_table().attrs
    assert run.title == f"{MODEL} (bfloat16, nf4 by bitsandbytes), synthetic"
    rows = run.rows()
    assert rows["steering"]["n"] == 12
    assert [rows[method]["overlap"] for method in ("steering", "random")] == pytest.approx([0.8, 0.25])
    assert b"kitchen" not in (tmp_path / "results" / "qwen2-audio-nf4.parquet").read_bytes()


def changed(**facts: Any) -> pd.DataFrame:
    table = a_table()
    table.attrs = {**table.attrs, **facts}
    return table


def scenes(**facts: Any) -> pd.DataFrame:
    return changed(scenes={**a_table().attrs["scenes"], **facts})


def rows(kept: Callable[[pd.DataFrame], Any]) -> pd.DataFrame:
    table = a_table()
    return table.loc[kept(table)]


@pytest.mark.parametrize(
    ("table", "report", "wrong"),
    [
        (changed(model="/home/ann/models/qwen"), {"model": "/home/ann/models/qwen"}, "its hub id.*|hold a path"),
        (
            changed(model="pocket-qwen2-audio"),
            {"model": "pocket-qwen2-audio"},
            "load a published checkpoint by its hub",
        ),
        (changed(revision="sha256:0123"), {"revision": "sha256:0123"}, "a hub id has a commit"),
        (changed(), {"revision": "f" * 40}, "revision is '0a1b.*' in the table and 'ffff.*' in the report"),
        (changed(numbers="bfloat16"), {}, "numbers is 'bfloat16' in the table and 'bfloat16, nf4 by .*' in the report"),
        (changed(versions={"torch": "2.13.0"}), {}, "the table does not say the version of steer-utils, transformers"),
        (scenes(seed=None), {}, "seed is None; pass a whole number"),
        (scenes(seed=True), {}, "seed is True; pass a whole number"),
        (scenes(scenes=9), {}, "9 scenes, its rows hold 4"),
        (scenes(who="Ann"), {}, "unknown key 'who' in scenes"),
        (changed(scenes=None), {}, "scenes is None"),
        (changed(versions={**VERSIONS, "torch": "2.13 on Ann's"}), {}, "the table does not say the version of torch"),
        (changed(settings={"author": "Ann"}), {}, "author is no setting"),
        (changed(settings={"chosen_on": {"events": [NAMES[0]]}}), {}, f"were chosen on {NAMES[0]}, which it tests"),
        (changed(equal={"prompting": "random"}), {}, "equal are not under its settings"),
        (changed(methods=["steering", "random"]), {}, "name the methods steering, random, its rows asking, "),
        (rows(lambda table: (table["method"] != "steering") | (table["scene"] < 2)), {}, "one row for each query"),
        (rows(lambda table: [0, *range(len(table))]), {}, "one row for each query"),
        (a_table().assign(iou=0.99), {}, "iou is not that of its windows"),
        (a_table().assign(failed=False), {}, "failed is not that of its windows"),
        (a_table().assign(chance=0.0), {}, "chance is not between 0 and 1"),
        (a_table().assign(auroc=90.0), {}, "auroc is not between 0 and 1"),
        (
            a_table().assign(end=lambda table: table["end"] + 9, overlap=0.9),
            {},
            "windows are not as wide as their events",
        ),
        (a_table().assign(start="1.0"), {}, "hold no numbers: start"),
        (changed(settings={"question": "Read ~/notes.txt"}), {}, "hold a path or an address: 'Read ~/notes.txt'"),
        (changed(settings={"question": "mail ann@example.org"}), {}, "hold a path or an address"),
        (a_table().assign(event="Ann's kitchen"), {}, "events that its facts do not name: Ann's kitchen"),
        (a_table().assign(method="mine"), {}, "unknown methods: mine.*random window is missing"),
        (a_table().assign(overlap=0.9), {}, "overlap is not that of its windows"),
        (a_table().drop(columns="truth_end"), {}, "columns lack truth_end"),
        (a_table().assign(unread="Ann did not say"), {}, "unknown reasons .*: Ann did not say"),
        (a_table(), {"format": "mine"}, "format is 'mine', not 'steer-utils verify 1'"),
        (a_table(), {"checks": {"rows": "attention rows differ by 3"}}, "not OK .rows: attention rows differ by 3"),
        (a_table(), {"ok": False}, "not OK"),
        (a_table(), {"checks": {}}, "checks are none, not layout, "),
        (a_table(), {"checks": ["OK"]}, "checks is ..OK.."),
        (a_table(), {"author": "Ann"}, "unknown key 'author'"),
        (a_table(), {"versions": {**VERSIONS, "kernel": "6.1"}}, "version of kernel"),
        (a_table(), {"device": "cpu, x86_64, anns-laptop"}, "device is .*, no name of a GPU"),
        (a_table(), {"family": "Ann's model"}, 'family is "Ann\'s model"'),
        (a_table(), {"device": r"C:\Users\ann"}, "the report hold a path"),
    ],
)
def test_what_may_not_stand_there(
    table: pd.DataFrame,
    report: dict[str, Any],
    wrong: str,
    put: Callable[..., contributed.ContributedRun],
    tmp_path: Path,
) -> None:
    with pytest.raises(ValueError, match=rf"(?s)cannot stand in results/: .*({wrong})"):
        put(table, {**a_report(), **report})
    assert not any((tmp_path / "results").iterdir())


@pytest.mark.parametrize("name", ["Qwen", "../run", "", "a b", "ann@home"])
def test_names_of_runs(name: str, put: Callable[..., contributed.ContributedRun]) -> None:
    with pytest.raises(ValueError, match="pass lower-case words"):
        put(a_table(), a_report(), name)


def test_facts_and_columns_that_are_not_known_are_left_out_and_refused_in_the_folder(
    put: Callable[..., contributed.ContributedRun], tmp_path: Path
) -> None:
    put(changed(author="Ann").assign(place="kitchen"), a_report())
    kept = tmp_path / "results" / "qwen2-audio-nf4.parquet"
    assert b"kitchen" not in kept.read_bytes() and b"Ann" not in kept.read_bytes()
    plain = a_table()[list(COLUMNS)]
    plain.attrs = changed(author="Ann").attrs
    for table, wrong in ((plain, "unknown key 'author'"), (a_table(), "columns hold answer, curve, ")):
        write_table(table, kept)
        with pytest.raises(ValueError, match=wrong):
            contributed_runs(tmp_path / "results")


def test_half_a_run_and_damaged_reports_are_refused(
    put: Callable[..., contributed.ContributedRun], tmp_path: Path
) -> None:
    put(a_table(), a_report())
    report = tmp_path / "results" / "qwen2-audio-nf4.verify.json"
    report.write_text("[]")
    with pytest.raises(ValueError, match="no report of steer-utils verify"):
        contributed_runs(tmp_path / "results")
    report.write_text("{")
    with pytest.raises(ValueError, match="cannot be read as json"):
        contributed_runs(tmp_path / "results")
    report.unlink()
    with pytest.raises(ValueError, match=r"lacks qwen2-audio-nf4\.verify\.json"):
        contributed_runs(tmp_path / "results")
    assert contributed_runs(tmp_path / "nowhere") == []


def test_hub_ids_and_texts_of_settings_are_no_paths() -> None:
    table = changed(settings={"question": "Is it high/low, or both (and/or)?", "negative": "10 m/s: fast"})
    check(contributed.ContributedRun("a", table[list(COLUMNS)].copy(), a_report()))


def test_the_result_table_shows_a_run_beside_the_pocket_models(
    put: Callable[..., contributed.ContributedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = put(changed(equal={"steering-paper": "steering"}), a_report())
    monkeypatch.setattr("steer_utils.study.paper_table.contributed_runs", lambda: [run])
    head, _, *rows = results_table().splitlines()
    heads = [cell.strip() for cell in head.strip("|").split("|")]
    column = heads.index(f"{MODEL} (bfloat16, nf4 by bitsandbytes), synthetic (n = 12)")
    assert column == 2 + 2 * len((*MAIN_MODELS, *MINI_MODELS)) and heads[column + 1 :] == [
        "paper: Qwen2-Audio",
        "paper: AF3",
    ]
    cells = {line.split("|")[1].strip(): line.split("|")[1 + column].strip() for line in rows if line.startswith("|")}
    assert cells[METHODS["steering"].label].startswith("80.0 (80.0-80.0")
    assert cells[METHODS["asking"].label].startswith("0.0 (0.0-0.0, 100 % of answers not read")
    same = cells[METHODS["steering-paper"].label]
    assert same.startswith("80.0 (80.0-80.0") and same.endswith(f"the same as {METHODS['steering'].label})")
    assert cells[METHODS["occlusion"].label] == "not run here"
    assert f"{MODEL} at 0a1b2c3, 4 scenes, seed 7, on NVIDIA L4" in rows[-1]
    head, _, first, *_ = main_table().splitlines()
    assert [line.split("|")[-3].strip() for line in (head, first)] == [run.title, "80.0"]


@pytest.mark.filterwarnings("ignore:.*does not know")
def test_what_the_two_commands_write_has_every_field(
    put: Callable[..., contributed.ContributedRun], one_model: AudioLM
) -> None:
    """All that is wrong with a run of a tiny model is that it is not a published one."""
    lm = knowing_five(one_model)
    table = run_benchmark(lm, scene_set(lm, PAPER, count=2, seed=1), PAPER, methods=["steering", "asking", "random"])
    with pytest.raises(ValueError, match=r"results/: model is 'tiny'; [^;]*; revision is 'test'; [^;]*$"):
        put(table, verify(lm).as_dict())
