"""Figures: what they draw, that labels do not touch, that files are the same each time and pyplot is untouched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from pictures import figure_test, title_test
from PIL import Image

from steer_utils.methods.locate import Located
from steer_utils.methods.table import METHODS
from steer_utils.show.plots import located as plots
from steer_utils.show.plots.figures import new_figure
from steer_utils.sound.spans import AudioSpan, Interval

RATE = 16_000
NOISE = (0.1 * np.random.default_rng(0).normal(size=8 * RATE)).astype(np.float32)
CENTRES = AudioSpan(0, 200).centers()
SHARE = np.exp(-0.5 * ((CENTRES - 5.0) / 0.5) ** 2) + 0.05
SHARE /= SHARE.sum()
EVEN = np.full(200, 1 / 200)
TRUTH, FOUND = Interval(4.2, 5.8), Interval(4.6, 6.2)


def located(**changes: object) -> Located:
    made = Located("dog bark", FOUND, 5.0, 0.9, "steering", "tiny", 8.0, Interval(0, 8), 1, SHARE, NOISE, RATE)
    return replace(made, **changes)  # type: ignore[arg-type]


def scene() -> SimpleNamespace:
    spans = {"clock tick": Interval(0.2, 1.4), "dog bark": TRUTH, "fire crackling": Interval(6.0, 7.9)}
    events = [SimpleNamespace(name=name, span=span) for name, span in spans.items()]
    return SimpleNamespace(samples=NOISE, rate=RATE, events=tuple(events))


def summary(**changes: float) -> pd.DataFrame:
    rows = [
        (name, slot, 600, 0.7 - 0.05 * place, chance)
        for place, name in enumerate(METHODS)
        for slot, chance in (("all", 0.28), ("first", 0.21), ("middle", 0.42), ("last", 0.21))
    ]
    table = pd.DataFrame(rows, columns=["method", "slot", "n", "overlap", "chance"])
    return table.assign(**{"low": table["overlap"] - 0.1, "high": table["overlap"] + 0.1, **changes})


CURVES = {"unsteered": EVEN, "prompting": 0.5 * (EVEN + SHARE), "steered": SHARE, "difference": SHARE - EVEN}


def listened(**windows: Interval) -> plots.Listened:
    curves = {"asked plainly": EVEN, "steered": SHARE}
    return plots.Listened(scene(), "dog bark", TRUTH, curves, windows, AudioSpan(3, 200))  # type: ignore[arg-type]


FIGURES = {
    "located": lambda: plots.located_figure(located(), TRUTH),
    "no curve": lambda: plots.located_figure(located(curve=None, method="random")),
    "listening": lambda: plots.listening_figure(scene(), CURVES, AudioSpan(3, 200), FOUND, TRUTH),
    "side by side": lambda: plots.side_by_side_figure([listened(steered=FOUND), listened()]),
    "overlap": lambda: plots.overlap_figure({"pocket-qwen2-audio": summary(), "folder/tiny": summary()}),
    "slots": lambda: plots.slot_figure(summary()),
}


test_figures = figure_test(FIGURES)


NO_ENDS = summary(low=np.nan, high=np.nan)
test_titles = title_test(
    plots,
    {
        "one model": ("overlap", ({"a": summary()},), ({"a": summary(high=0.5)},)),
        "no intervals": ("overlap", ({"a": NO_ENDS},), ({"a": summary()},)),
        "no steering": ("overlap", ({"a": summary().query("method == 'mavs'")},), ({"a": summary()},)),
        "two models": (
            "overlap",
            (dict.fromkeys("ab", summary()),),
            ({"a": summary(), "c": summary(overlap=0.5)},),
        ),
        "many models": ("overlap", (dict.fromkeys("abcd", summary()),), (dict.fromkeys("abc", summary()),)),
        "slots": ("slot", (summary(),), (summary(chance=0.9),)),
        "slots without intervals": ("slot", (NO_ENDS,), (summary(overlap=0.3),)),
        "one slot": ("slot", (summary().query("slot == 'first'"),), (summary(overlap=0.3),)),
    },
)


@pytest.mark.parametrize("name", ["located", "listening"])
def test_time_axes_are_shared_and_in_seconds(name: str) -> None:
    figure = FIGURES[name]()
    assert {axes.get_xlim() for axes in figure.axes} == {(0.0, 8.0)}
    assert figure.axes[-1].get_xlabel() == "time (s)"


@settings(max_examples=8, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 7.5), st.floats(0.05, 3), st.sampled_from(sorted(plots.MARKS))), max_size=6),
    st.sampled_from(["bell", "person sneeze in the street", "a"]),
)
def test_marks_never_touch(spans: list[tuple[float, float, str]], label: str) -> None:
    figure = new_figure(6, 3)
    axes = figure.subplots()
    axes.set_xlim(0, 8)
    plots.mark(axes, [(Interval(start, min(8.0, start + width)), label, kind) for start, width, kind in spans])
    figure.canvas.draw()
    drawn = [text.get_window_extent() for text in axes.texts]
    assert len(drawn) == len(spans) and axes.get_xlim() == (0, 8)
    for index, box in enumerate(drawn):
        assert box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
        assert not any(box.overlaps(other) for other in drawn[index + 1 :])


def test_marks_differ_without_colour() -> None:
    assert len({str(style["linestyle"]) for style in plots.MARKS.values()}) == len(plots.MARKS)
    with pytest.raises(ValueError, match="'found'; pass one of located, true, event"):
        plots.mark(new_figure(4, 3).subplots(), [(FOUND, "x", "found")])


def test_the_spectrogram_shows_the_tone() -> None:
    time = np.arange(2 * RATE) / RATE
    axes = new_figure(4, 3).subplots()
    plots.spectrogram(axes, np.sin(2 * np.pi * 1000 * time).astype(np.float32), RATE)
    assert axes.get_xlim() == (0, 2)
    (image,) = axes.images
    band = int(np.argmax(image.get_array().mean(axis=1)))
    ticks = dict(zip((text.get_text() for text in axes.get_yticklabels()), axes.get_yticks(), strict=True))
    assert abs(band - ticks["1000"]) <= 1 and image.get_extent()[:2] == [0, 2]


def test_curve_is_in_even_shares_and_sits_at_its_window() -> None:
    long = located(
        window=Interval(8, 16),
        windows=3,
        duration=20.0,
        samples=np.tile(NOISE, 3)[: 20 * RATE],
        interval=FOUND.shifted(8),
        curve=SHARE,
    )
    below = plots.located_figure(long).axes[1]
    line = max(below.lines, key=lambda each: len(each.get_xdata()))
    assert line.get_xdata()[[0, -1]] == pytest.approx([8.02, 15.98])
    assert line.get_ydata() == pytest.approx(200 * SHARE) and below.get_xlim() == (0, 20)
    assert "even share" in below.get_ylabel() and "gained" not in below.get_ylabel()
    difference = plots.located_figure(located(curve=SHARE - EVEN)).axes[1]
    assert "gained" in difference.get_ylabel()
    loudest = plots.located_figure(located(method="loudest", curve=SHARE * 9)).axes[1]
    assert "loudness" in loudest.get_ylabel()


def test_peaks_can_be_compared() -> None:
    """Shares have one vertical axis, whatever their peaks; a difference, which goes below 0, has another."""
    *shares, difference = FIGURES["listening"]().axes[1:]
    assert len({axes.get_ylim() for axes in shares}) == 1 and difference.get_ylim() != shares[0].get_ylim()
    beside = FIGURES["side by side"]().axes[2:]
    assert len({axes.get_ylim() for axes in beside}) == 1 and beside[0].get_ylim()[1] >= 200 * SHARE.max()
    titles = [axes.get_title(loc="left") for axes in beside]
    assert titles == ["asked plainly", "asked plainly", "steered: window covers 75 %", "steered"]


def test_queries_beside_each_other_have_the_same_curves() -> None:
    other = replace(listened(), curves={"steered": SHARE})
    for queries in ([], [listened(), other]):
        with pytest.raises(ValueError, match="at least one query, and the same curves"):
            plots.side_by_side_figure(queries)
    said = plots.alt_text_side_by_side([listened(steered=FOUND)])
    assert "dog bark at 4.20-5.80 s" in said and "asked plainly 1.0 times even, steered" in said
    assert "(window 4.60-6.20 s, covers 75 %)" in said


def test_alt_texts_hold_the_numbers() -> None:
    said = plots.alt_text_located(located(), TRUTH)
    assert "dog bark" in said and "4.60-6.20 s" in said and "4.20-5.80 s" in said and "overlap 75 %" in said
    assert "highest at 4.98 s" in said or "highest at 5.02 s" in said
    assert plots.alt_text_located(located(curve=None)).endswith("steering (ours).")
    heard = plots.alt_text_listening(scene(), CURVES, AudioSpan(3, 200), FOUND, TRUTH)
    inside = AudioSpan(3, 200).tokens(TRUTH)
    assert f"steered {200 * SHARE[inside].mean():+.1f}" in heard and "unsteered +1.0" in heard
    many = plots.alt_text_overlap({"folder/tiny": summary()})
    assert "tiny: steering (ours) 70.0 % (60.0 to 80.0)" in many and "chance 28.0 %" in many
    slots = plots.alt_text_slots(summary())
    assert "Middle event:" in slots and "chance 42.0 %" in slots


def test_dots_stand_at_the_numbers() -> None:
    first, second = plots.overlap_figure({"a": summary(), "b": summary(overlap=0.5)}).axes
    assert [first.get_title(), second.get_title()] == ["a", "b"] and first.get_xlim() == (0, 100)
    dots = [line.get_xdata()[0] for line in first.lines if line.get_marker() == "o"]
    assert dots == pytest.approx([70 - 5 * place for place in range(len(METHODS))])
    chances = [line.get_xdata()[0] for line in first.lines if line.get_marker() == "|"]
    assert chances == pytest.approx([28.0] * len(METHODS))
    assert [axes.get_title() for axes in plots.slot_figure(summary()).axes] == [
        f"{slot} event" for slot in ("first", "middle", "last")
    ]
    no_interval = plots.overlap_figure({"a": summary(low=np.nan, high=np.nan)}).axes[0]
    assert len([line for line in no_interval.lines if len(line.get_xdata()) == 2]) == 0
    with pytest.raises(ValueError, match="nothing to draw"):
        plots.overlap_figure({})


def test_a_row_of_fewer_queries_says_how_many() -> None:
    table = summary()
    table.loc[table["method"] == list(METHODS)[1], "n"] = 72
    texts = [text.get_text() for text in plots.overlap_figure({"a": table}).axes[0].texts]
    assert texts[:3] == ["70.0", "65.0 (n = 72)", "60.0"]
    assert plots.alt_text_overlap({"a": table}).count("(n = 72)") == 1


def test_saved_files_are_the_same_each_time_and_carry_their_alt_text(tmp_path: Path) -> None:
    alt = "A <figure> & its words."
    first = plots.save_figure(FIGURES["located"](), tmp_path / "a.b", alt, "A caption")
    assert [path.name for path in first] == ["a.b.png", "a.b.svg"]
    second = plots.save_figure(FIGURES["located"](), tmp_path / "again", alt, "A caption")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.b.png", "a.b.svg", "again.png", "again.svg"]
    with Image.open(first[0]) as image:
        assert image.info["Description"] == alt and image.info["Title"] == "A caption" and image.width >= 600
    root = ElementTree.parse(first[1]).getroot()
    assert root.find("{http://www.w3.org/2000/svg}title").text == alt
    with pytest.raises(ValueError, match=r"\.png or \.svg"):
        plots.write_figure(FIGURES["no curve"](), tmp_path / "a.jpg", alt)


def test_show_gives_notebooks_the_alt_text(displayed: list[tuple[dict, dict]], capsys: pytest.CaptureFixture) -> None:
    plots.show(FIGURES["no curve"](), "In words.", "A caption.")
    ((data, metadata),) = displayed
    assert metadata == {"image/png": {"alt": "In words."}} and data["text/plain"] == "In words."
    assert data["image/png"].startswith("iVBOR")  # a PNG in base64
    assert capsys.readouterr().out == "A caption.\n"


def test_an_svg_does_not_depend_on_the_last_digit_of_a_layout(tmp_path: Path) -> None:
    drawings = []
    for number, left in enumerate((0.1, 0.1 + 1e-13)):
        figure = Figure(figsize=(3, 2))
        axes = figure.add_axes((left, 0.1, 0.8, 0.8))
        axes.plot([0, 1], [0, 1])
        axes.imshow(np.eye(3), aspect="auto", extent=(0, 1, 0, 1))
        _, drawing = plots.save_figure(figure, tmp_path / str(number), "alt")
        drawings.append(drawing.read_bytes())
    assert b'clip-path="url(#clip0)"' in drawings[0] and b'id="clip0"' in drawings[0]
    assert drawings[0] == drawings[1]
