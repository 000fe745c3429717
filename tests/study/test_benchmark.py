"""The benchmark: which scenes it makes, that a killed run goes on to the identical table, and the positional prior."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from tinies import FIVE, knowing_five
from watched_work import stopping

from steer_utils.lm.models import AudioLM
from steer_utils.methods.base import Localisation
from steer_utils.methods.settings import PAPER, Settings
from steer_utils.methods.table import METHODS, STANDARD, standard_methods
from steer_utils.sound.conditions import PLAIN
from steer_utils.sound.recordings import ClipBank
from steer_utils.sound.sounds import SOUNDS
from steer_utils.sound.spans import Interval
from steer_utils.study import benchmark
from steer_utils.study.attention_shift import CONDITIONS, shift_table
from steer_utils.study.benchmark import positional_prior, run_benchmark, scene_set, slot_name
from steer_utils.study.block_map import block_map_table
from steer_utils.study.causality import occlusion_table, swap_table
from steer_utils.study.harder_scenes import harder_table
from steer_utils.study.metrics import score_row
from steer_utils.study.report import report_dict, report_text, summary
from steer_utils.study.sample_curves import curve_table
from steer_utils.study.sensitivity import sensitivity_table
from steer_utils.study.transfer import own_vector, vector_table

QUICK = ("steering", "loudest", "random")
RATE = 16_000


@pytest.fixture
def lm(tiny_models: dict[str, AudioLM]) -> AudioLM:
    return knowing_five(tiny_models["qwen2_audio"])


def with_settings(chosen_on: Iterable[str] = ()) -> Settings:
    return replace(PAPER, blocks=(0, 1), chosen_on={"events": list(chosen_on)})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Recordings of four classes, three files each: tones of their own pitch, 1.5 s."""
    root = tmp_path / "clips"
    root.mkdir()
    rows = ["filename,category,fold"]
    time = np.arange(int(1.5 * RATE)) / RATE
    for place, name in enumerate(("dog_bark", "rain", "siren", "cow")):
        for fold in (1, 2, 3):
            soundfile.write(root / f"{name}-{fold}.wav", 0.5 * np.sin(2 * np.pi * 300 * (place + 1) * time), RATE)
            rows.append(f"{name}-{fold}.wav,{name},{fold}")
    (root / "clips.csv").write_text("\n".join(rows) + "\n")
    return root


# Scenes ----------------------------------------------------------------------------------------------------------


def test_development_classes_are_left_out(lm: AudioLM) -> None:
    assert scene_set(lm, with_settings(), count=4, seed=0).maker.names == FIVE
    left = scene_set(lm, with_settings(FIVE[:2]), count=4, seed=0)
    assert left.maker.names == FIVE[2:]
    assert left.as_dict()["classes"] == list(FIVE[2:])
    with pytest.raises(ValueError, match=rf"three classes, 2 are left.*chosen on: {', '.join(FIVE[:3])}"):
        scene_set(lm, with_settings(FIVE[:3]), count=4, seed=0)


def test_every_class_is_equally_often_in_each_slot(lm: AudioLM) -> None:
    scenes = scene_set(lm, with_settings(), count=20, seed=3)
    design = [scenes.maker.names_of(index, 3) for index in range(20)]
    for slot in range(3):
        assert Counter(names[slot] for names in design) == dict.fromkeys(FIVE, 4)
    assert all(len(set(names)) == 3 for names in design)
    scene = scenes.maker.scene(0, 3)
    assert scene.names == design[0]
    assert scene.duration == lm.window_seconds


def test_a_model_that_takes_any_text_is_asked_for_all_classes(lm: AudioLM) -> None:
    lm.events = None
    scenes = scene_set(lm, with_settings(["siren"]), count=4, seed=0)
    assert set(scenes.maker.names) == set(SOUNDS) - {"siren"}


def test_classes_that_no_prompt_can_hold_are_refused(lm: AudioLM, folder: Path) -> None:
    lm.events = None
    clips = [replace(clip, category=f"{clip.category} <|im_end|>") for clip in ClipBank.read(folder).clips]
    with pytest.raises(ValueError, match=r"the class holds '<\|im_end\|>', a special token of the model"):
        scene_set(lm, with_settings(["siren"]), count=4, seed=0, clips=ClipBank(clips))


def test_a_model_that_hears_long_gets_the_papers_form(lm: AudioLM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AudioLM, "window_seconds", 30.0)
    scene = scene_set(lm, with_settings(), count=4, seed=0).maker.scene(1, 0)
    assert scene.duration == 17.0
    assert [event.span.start for event in scene.events] == pytest.approx([0.0, 6.0, 12.0], abs=0.01)
    assert [event.span.duration for event in scene.events] == pytest.approx([5.0] * 3)


def test_scenes_that_are_less_kind_are_measured_and_named(lm: AudioLM) -> None:
    assert "condition" not in scene_set(lm, with_settings(), count=1, seed=0).as_dict()
    chosen = scene_set(lm, with_settings(), count=1, seed=2, condition="bed -5 dB")
    assert chosen.maker.bed_db == -5.0 and chosen.as_dict()["condition"] == "bed -5 dB"
    table = run_benchmark(lm, chosen, with_settings(), methods=["loudest"])
    assert "scenes: bed -5 dB, three events 5 dB below a background bed of noise" in report_text(table)
    assert len(table) == 3 and table.attrs["scenes"]["condition"] == "bed -5 dB"


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("loud", "no scenes called 'loud'; pass one of plain"),
        ("twice", "'twice' hold a class twice.*analyse conditions"),
        ("20 s", "longer than the 4 s that tiny hears.*analyse conditions"),
        ("6 brief events", "distinct"),
    ],
)
def test_scenes_that_a_benchmark_cannot_ask_about_are_refused(lm: AudioLM, condition: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        scene_set(lm, with_settings(), count=1, seed=0, condition=condition)


def test_trained_recordings_are_left_out(lm: AudioLM, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lm.events = ("dog bark", "rain", "siren")  # no cow
    trained = frozenset({"rain-1.wav", "rain-2.wav", "cow-3.wav", "not there.wav"})
    monkeypatch.setattr(benchmark, "trained_recordings", lambda checkpoint: trained)
    scenes = scene_set(lm, with_settings(), count=3, seed=0, clips=ClipBank.read(folder))
    assert scenes.maker.names == ("dog bark", "rain", "siren")
    assert (scenes.left_out, scenes.as_dict()["left_out"]) == (3, 3)
    sources = {event.source for scene in scenes.maker.balanced(12, 0) for event in scene.events}
    assert sources >= {"rain-3.wav"} and not sources & trained
    assert all(source.endswith(".wav") for source in sources)  # a class that is procedural too is a recording here
    with pytest.raises(ValueError, match="2 are left"):
        scene_set(lm, with_settings(["siren"]), count=3, seed=0, clips=ClipBank.read(folder))


def test_categories_are_the_model_s_classes_in_other_words_and_the_rest_is_listed(lm: AudioLM, folder: Path) -> None:
    lm.events = ("dog bark", "rain", "siren", "cricket")
    table = (folder / "clips.csv").read_text()
    (folder / "clips.csv").write_text(
        table.replace(",dog_bark", ",Dog").replace(",rain", ",RAIN").replace(",siren", ",Sirens")
    )
    settings = with_settings(["cricket"])
    scenes = scene_set(lm, settings, count=3, seed=0, clips=ClipBank.read(folder))
    assert scenes.maker.names == ("dog bark", "rain", "siren") and scenes.unused == {"cow": 3}
    facts = scenes.as_dict()
    assert (facts["sounds"], facts["unused"]) == ("9 recordings", {"cow": 3})
    report = report_text(run_benchmark(lm, scenes, settings, methods=["loudest", "random"]))
    assert "9 recordings" in report and "was tuned on: 3 of cow\n" in report
    (folder / "clips.csv").write_text(table.replace(",cow", ",Crickets"))
    assert scene_set(lm, settings, count=3, seed=0, clips=ClipBank.read(folder)).unused == {"cricket": 3}
    lm.events = None  # takes any text: words stay, but for those of the development classes
    assert scene_set(lm, settings, count=3, seed=0, clips=ClipBank.read(folder)).unused == {"cricket": 3}


def test_recordings_that_were_all_trained_on_are_refused(
    lm: AudioLM, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = ClipBank.read(folder)
    monkeypatch.setattr(benchmark, "trained_recordings", lambda _: frozenset(clip.path.name for clip in bank.clips))
    with pytest.raises(ValueError, match="all 12 recordings were used to train tiny"):
        scene_set(lm, with_settings(), count=3, seed=0, clips=bank)


@pytest.mark.parametrize(("count", "seed"), [(0, 0), (-1, 0), (1, -1)])
def test_scenes_and_seed_are_checked(lm: AudioLM, count: int, seed: int) -> None:
    with pytest.raises(ValueError, match="at least 1 scene and a seed of 0"):
        scene_set(lm, with_settings(), count=count, seed=seed)


# Runs ------------------------------------------------------------------------------------------------------------


def test_the_table_holds_each_method_on_each_query(lm: AudioLM) -> None:
    scenes = scene_set(lm, with_settings(), count=2, seed=1)
    methods = [name for name in METHODS if name != "logit-lens"]  # the tiny tokenizer does not know these names
    table = run_benchmark(lm, scenes, replace(with_settings(), read_heads=((2, 0),)), methods=methods)
    assert len(table) == 2 * 3 * len(methods)
    assert not table.duplicated(["scene", "event", "method"]).any()
    for index, rows in table.groupby("scene"):
        scene = scenes.maker.scene(int(index), 1)
        for slot, event in zip(("first", "middle", "last"), scene.events, strict=True):
            own = rows[rows["slot"] == slot]
            assert set(own["event"]) == {event.name} and set(own["source"]) == {"procedural"}
            assert set(own["truth_start"]) == {event.span.start} and set(own["truth_end"]) == {event.span.end}
    found = table[~table["failed"]]
    windows = [Interval(row.start, row.end) for row in found.itertuples()]
    truths = [Interval(row.truth_start, row.truth_end) for row in found.itertuples()]
    assert list(found["overlap"]) == [w.covers(e) for w, e in zip(windows, truths, strict=True)]
    assert list(found["iou"]) == [w.iou(e) for w, e in zip(windows, truths, strict=True)]
    assert (table.loc[table["failed"], "overlap"] == 0).all()
    assert (table["chance"] > 0).all() and table.groupby(["scene", "event"])["chance"].nunique().eq(1).all()
    unsteered = table[table["method"] == "unsteered"]
    assert not unsteered["failed"].any()
    assert (table.loc[table["method"] != "asking", "answer"] == "").all()


def test_a_method_that_never_answers_scores_zero(lm: AudioLM, monkeypatch: pytest.MonkeyPatch) -> None:
    mute = replace(METHODS["asking"], find=lambda *_: Localisation(None, 0.0, answer="a dog"))
    monkeypatch.setitem(METHODS, "asking", mute)
    table = run_benchmark(lm, scene_set(lm, with_settings(), count=1, seed=0), with_settings(), methods=["asking"])
    assert table["start"].dtype == table["end"].dtype == float
    assert table["start"].isna().all() and table["failed"].all()
    row = summary(table).iloc[0]
    assert (row["overlap"], row["failed"]) == (0.0, 1.0)


def test_recordings_in_a_run(lm: AudioLM, folder: Path) -> None:
    lm.events = None
    scenes = scene_set(lm, with_settings(), count=1, seed=2, clips=ClipBank.read(folder))
    table = run_benchmark(lm, scenes, with_settings(), methods=["loudest", "random"])
    assert set(table["event"]) <= {"dog bark", "rain", "siren", "cow"}
    assert all(row.source.startswith(row.event.replace(" ", "_")) for row in table.itertuples())
    assert table.attrs["scenes"]["sounds"] == "12 recordings"


@pytest.mark.recordings
def test_real_recordings(lm: AudioLM) -> None:
    clips = os.environ.get("STEER_CLIPS")
    if not clips:
        pytest.skip("STEER_CLIPS names no folder of recordings")
    lm.events = None
    bank = ClipBank.read(clips)
    scenes = scene_set(lm, with_settings(), count=2, seed=0, clips=bank)
    table = run_benchmark(lm, scenes, with_settings(), methods=["loudest", "random"])
    assert len(table) == 12
    assert set(table["source"]) <= {clip.path.name for clip in bank.clips}


ANALYSES: dict[str, Callable[..., pd.DataFrame]] = {
    "benchmark": partial(run_benchmark, methods=QUICK),
    "blocks": block_map_table,
    "conditions": partial(harder_table, conditions=[PLAIN, "twice"], methods=("loudest",)),
    "curves": partial(curve_table, counts=(1,)),
    "occlusion": partial(occlusion_table, method="random", max_new_tokens=1),
    "sensitivity": sensitivity_table,
    "shift": partial(shift_table, conditions={"again": CONDITIONS["steering"]}),
    "swap": partial(swap_table, max_new_tokens=1),
    "vectors": partial(vector_table, makers={"own": own_vector(replace(PAPER, blocks=(0, 1)))}),
}


@pytest.mark.parametrize("analysis", ANALYSES)
def test_a_killed_run_goes_on_and_other_settings_start_anew(lm: AudioLM, tmp_path: Path, analysis: str) -> None:
    scenes, file = scene_set(lm, with_settings(), count=2, seed=5), tmp_path / "a" / "run"
    run = partial(ANALYSES[analysis], lm, scenes)
    whole = run(with_settings())
    with pytest.raises(KeyboardInterrupt):
        run(with_settings(), resume_file=file, progress=stopping(1))
    file.write_text(file.read_text().replace('"slot": "first"', '"slot": "kept"'))
    resumed = run(with_settings(), resume_file=file)
    assert set(resumed.loc[resumed["slot"] == "kept", "scene"]) == {0} and resumed.attrs == whole.attrs
    pd.testing.assert_frame_equal(resumed.replace({"slot": {"kept": "first"}}), whole, check_exact=True)
    assert whole.attrs["scenes"]["seed"] == 5 and whole.attrs["settings"]["blocks"] == [0, 1]
    with pytest.warns(UserWarning, match="another settings: this run starts anew"), pytest.raises(KeyboardInterrupt):
        run(replace(with_settings(), strength=2.0), resume_file=file, progress=stopping(0))


@pytest.mark.parametrize("analysis", sorted(ANALYSES.keys() - {"sensitivity"}))  # which refuses such scenes
def test_development_classes_are_not_measured_in_silence(
    lm: AudioLM, analysis: str, recwarn: pytest.WarningsRecorder
) -> None:
    """Scenes made with other settings, or by hand, may hold what the settings were chosen on."""
    scenes = scene_set(lm, with_settings(), count=1, seed=0)
    with pytest.raises(KeyboardInterrupt):
        ANALYSES[analysis](lm, scenes, with_settings(("cow",)), progress=stopping(0))
    assert not [warning for warning in recwarn if warning.category is UserWarning]
    with (
        pytest.warns(UserWarning, match=f"chosen on {FIVE[3]}, {FIVE[4]}, and these scenes hold them") as caught,
        pytest.raises(KeyboardInterrupt),
    ):
        ANALYSES[analysis](lm, scenes, with_settings(FIVE[3:]), progress=stopping(0))
    assert caught[0].filename == __file__


def test_scenes_encoded_together_give_the_table_of_one_by_one(lm: AudioLM) -> None:
    settings = with_settings()
    scenes = scene_set(lm, settings, count=3, seed=0)
    singly, together = (run_benchmark(lm, scenes, settings, methods=QUICK, batch=batch) for batch in (None, 2))
    curves = [np.array(table.pop("curve").dropna().to_list()) for table in (singly, together)]
    np.testing.assert_allclose(curves[0], curves[1], atol=1e-4)
    pd.testing.assert_frame_equal(singly, together, atol=1e-4)
    with pytest.raises(ValueError, match="batch is 0"):
        run_benchmark(lm, scenes, settings, methods=QUICK, batch=0)


def test_standard_methods_are_those_that_can_run(lm: AudioLM) -> None:
    heads = replace(with_settings(), read_heads=((2, 0),))
    assert standard_methods(heads, 2) == STANDARD
    assert set(STANDARD) - set(standard_methods(with_settings(), 1)) == {"steering-heads", "position"}
    one = scene_set(lm, with_settings(), count=1, seed=0)
    for methods in (["steering-heads"], ["steering", "position"]):
        with pytest.raises(ValueError, match=rf"{methods[-1]} cannot run here.*got 1"):
            run_benchmark(lm, one, with_settings(), methods=methods, progress=stopping(0))
    with pytest.raises(ValueError, match="mean curve of 'steering' in other scenes; pass 'steering' too"):
        run_benchmark(lm, one, heads, methods=["position"], progress=stopping(0))


def test_of_equal_rows_one_is_run_and_the_report_says_so(lm: AudioLM) -> None:
    scenes = scene_set(lm, PAPER, count=1, seed=0)
    methods = ["steering", "steering-paper", "steering-paper-free", "prompting", "prompting-best"]
    table = run_benchmark(lm, scenes, PAPER, methods=methods)
    assert table.attrs["methods"] == ["steering", "steering-paper-free", "prompting"]
    assert set(table["method"]) == set(table.attrs["methods"])
    assert table.attrs["equal"] == {"steering-paper": "steering", "prompting-best": "prompting"}
    text = report_text(table)
    assert "steering (paper, as declared): the same as steering (ours) under these settings" in text
    assert "`steer-utils tune tiny` does that" in text and report_dict(table)["equal"] == table.attrs["equal"]
    chosen = run_benchmark(lm, scenes, with_settings(), methods=["prompting", "prompting-best"])
    assert "equal" not in chosen.attrs and "tune" not in report_text(chosen)


def test_recordings_of_another_release_are_left_out_too(
    lm: AudioLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm.events = None
    rows = ["filename,category"]
    for place, name in enumerate(("dog", "rain", "siren")):
        for take in "AB":
            file = f"1-10{place}-{take}-{place}.wav"  # ESC-50's form
            soundfile.write(tmp_path / file, 0.5 * np.sin(np.arange(RATE) * (0.1 + 0.1 * place)), RATE)
            rows.append(f"{file},{name}")
    (tmp_path / "clips.csv").write_text("\n".join(rows) + "\n")
    monkeypatch.setattr(benchmark, "trained_recordings", lambda _: frozenset({"1-100-A.ogg"}))  # ESC-10's form
    scenes = scene_set(lm, with_settings(), count=3, seed=0, clips=ClipBank.read(tmp_path))
    assert scenes.left_out == 1 and scenes.maker.clips is not None
    assert "1-100-A-0.wav" not in {clip.path.name for clip in scenes.maker.clips.clips}


@pytest.mark.parametrize("methods", [["stearing"], [], ["random", "random"]])
def test_methods_are_checked_before_any_work(lm: AudioLM, tmp_path: Path, methods: list[str]) -> None:
    scenes = scene_set(lm, with_settings(), count=1, seed=0)
    with pytest.raises(ValueError, match="steering, steering-heads, steering-paper, steering-paper-free, prompting"):
        run_benchmark(lm, scenes, with_settings(), methods=methods, resume_file=tmp_path / "run", progress=stopping(0))
    assert not (tmp_path / "run").exists()


def test_random_windows_reach_their_chance(lm: AudioLM) -> None:
    table = run_benchmark(lm, scene_set(lm, with_settings(), count=60, seed=9), with_settings(), methods=["random"])
    rows = summary(table).set_index("slot")
    for slot in ("all", "first", "middle", "last"):
        low, high = rows.loc[slot, ["low", "high"]]
        spread = high - low
        assert low - spread / 2 < rows.loc[slot, "chance"] < high + spread / 2
    assert rows.loc["middle", "chance"] > rows.loc["first", "chance"]
    assert not math.isnan(rows.loc["all", "low"])


def test_slot_names() -> None:
    assert [slot_name(slot, 3) for slot in range(3)] == ["first", "middle", "last"]
    assert [slot_name(slot, 4) for slot in range(4)] == ["first", "middle", "middle", "last"]
    assert [slot_name(slot, 2) for slot in range(2)] == ["first", "last"]


# -- the positional prior --------------------------------------------------------------------------------------------
TOKENS = 40


def table(curves: dict[int, list[np.ndarray]]) -> pd.DataFrame:
    """By scene, one curve a query; tokens of 0.1 s, every query is 1.0-2.0 s."""
    rows = [
        score_row(
            {
                "scene": scene,
                "slot": "first",
                "event": f"event {place}",
                "source": "procedural",
                "truth_start": 1.0,
                "truth_end": 2.0,
                "others": [],
                "token_seconds": 0.1,
                "chance": 0.3,
            },
            "steering",
            Localisation(Interval(1.0, 2.0), 0.0, curve),
        )
        for scene, own in curves.items()
        for place, curve in enumerate(own)
    ]
    return pd.DataFrame(rows)


def peak(first: int) -> np.ndarray:
    curve = np.zeros(TOKENS)
    curve[first : first + 10] = 1.0
    return curve


def test_a_scene_is_not_among_its_own_others() -> None:
    rows = positional_prior(table({0: [peak(10), peak(10)], 1: [peak(25)], 2: [peak(25)]}))
    assert list(rows["method"]) == ["position"] * 4
    starts = dict(zip(zip(rows["scene"], rows["event"], strict=True), rows["start"], strict=True))
    assert starts[0, "event 0"] == starts[0, "event 1"] == pytest.approx(2.5)  # of scenes 1 and 2
    assert starts[1, "event 0"] == pytest.approx(1.0)  # two curves of scene 0 outweigh one of scene 2
    assert rows.loc[rows["scene"] == 1, "overlap"].tolist() == pytest.approx([1.0])


def test_it_equals_the_mean_of_the_other_curves() -> None:
    rng = np.random.default_rng(1)
    curves = {scene: [rng.random(TOKENS) for _ in range(3)] for scene in range(4)}
    rows = positional_prior(table(curves))
    for scene in curves:
        expected = np.mean([curve for other, own in curves.items() if other != scene for curve in own], axis=0)
        for found in rows.loc[rows["scene"] == scene, "curve"]:
            assert np.allclose(found, expected, rtol=1e-3)


def test_what_has_no_mean_is_refused() -> None:
    with pytest.raises(ValueError, match="at least two scenes, got 1"):
        positional_prior(table({0: [peak(3)]}))
    with pytest.raises(ValueError, match=r"scenes of one length, these have \[30, 40\]"):
        positional_prior(table({0: [peak(3)], 1: [peak(3)[:30]]}))
