"""Figures as files: written again only where one would see the difference."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from steer_utils.show.plots.figures import changed_files, files_of, new_figure, picture_change, save_figure
from steer_utils.show.plots.figures import two_decimals as rounded

ROOT = Path(__file__).parents[3]


def figure_of(height: float = 0.5, colour: str = "#336699", title: str = "A title") -> Figure:
    figure = new_figure(3, 2)
    axes = figure.subplots()
    axes.plot([0, 1], [0, height], color=colour, marker="o")
    axes.set_ylim(0, 1)
    axes.set_title(title)
    return figure


def stamps(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}


@pytest.mark.parametrize("change", [{}, {"height": 0.5 + 1e-6}, {"colour": "#33669b"}])
def test_a_picture_that_looks_the_same_is_not_written_again(tmp_path: Path, change: dict) -> None:
    save_figure(figure_of(), tmp_path / "a", "alt", "A caption")
    before = stamps(tmp_path)
    assert save_figure(figure_of(**change), tmp_path / "a", "alt", "A caption")[0] == tmp_path / "a.png"
    assert stamps(tmp_path) == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"height": 0.52}, r"of its points, by up to \d+ of 255"),
        ({"colour": "#336600"}, r"of its points, by up to \d+ of 255"),
        ({"title": "A titlf"}, r"of its points, by up to \d+ of 255"),
    ],
)
def test_one_that_differs_visibly_is(tmp_path: Path, change: dict, words: str) -> None:
    save_figure(figure_of(), tmp_path / "a", "alt")
    before = stamps(tmp_path)
    save_figure(figure_of(**change), tmp_path / "a", "alt")
    after = stamps(tmp_path)
    assert all(after[name] != before[name] for name in ("a.png", "a.svg"))
    assert re.search(words, picture_change(before["a.png"][1], after["a.png"][1]))


@pytest.mark.parametrize(("alt", "caption"), [("other", "A caption"), ("alt", "Another")])
def test_other_words_are_written(tmp_path: Path, alt: str, caption: str) -> None:
    save_figure(figure_of(), tmp_path / "a", "alt", "A caption")
    before = stamps(tmp_path)
    save_figure(figure_of(), tmp_path / "a", alt, caption)
    after = stamps(tmp_path)
    assert after["a.png"] != before["a.png"] and after["a.svg"] != before["a.svg"]
    assert picture_change(before["a.png"][1], after["a.png"][1]) == "its words"


@pytest.mark.parametrize("name", ["a.png", "a.svg"])
@pytest.mark.parametrize("content", [None, b"", b"\x89PNG\r\n\x1a\nno"])
def test_what_is_lacking_or_damaged_is_written(tmp_path: Path, name: str, content: bytes | None) -> None:
    save_figure(figure_of(), tmp_path / "a", "alt")
    whole = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    (tmp_path / name).unlink() if content is None else (tmp_path / name).write_bytes(content)
    save_figure(figure_of(), tmp_path / "a", "alt")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == whole


def test_another_size_is_a_change(tmp_path: Path) -> None:
    small, _ = save_figure(figure_of(), tmp_path / "a", "alt")
    large, _ = save_figure(new_figure(4, 2), tmp_path / "b", "alt")
    assert picture_change(small.read_bytes(), large.read_bytes()) == "another size"


def test_changes_are_told_file_by_file(tmp_path: Path) -> None:
    for name in ("same", "moved"):
        save_figure(figure_of(), tmp_path / name, "alt")
    (tmp_path / "results.md").write_text("| 92.9 |")
    before = files_of(tmp_path)
    assert list(before) == ["moved.png", "results.md", "same.png"] and files_of(tmp_path / "none") == {}
    assert changed_files(before, tmp_path) == []
    for name in ("same", "moved", "new"):
        save_figure(figure_of(0.9 if name == "moved" else 0.5), tmp_path / name, "alt")
    (tmp_path / "results.md").write_text("| 93.0 |")
    moved, new, results = changed_files(before, tmp_path)
    assert re.fullmatch(r"moved\.png: [\d.]+ % of its points, by up to \d+ of 255", moved)
    assert (new, results) == ("new.png: new", "results.md: other text")


def test_coordinates_have_two_decimals_and_nothing_else_is_touched(tmp_path: Path) -> None:
    figure = figure_of()
    figure.axes[0].imshow([[0.1, 0.2]], extent=(0, 1, 0, 1), aspect="auto")
    _, path = save_figure(figure, tmp_path / "a", 'It moved by 0.123456 s, d="1.23456" <b x="1.23456">.')
    drawing = path.read_text()
    assert "0.123456 s" in drawing and "1.23456" in drawing  # in words they stay
    assert re.search(r"scale\(0\.015625\)", drawing)
    for name in ("d", "x", "y", "transform", "width", "height"):
        for value in re.findall(rf'(?<=[ \n]){name}="([^"]*)"', drawing.split("</metadata>")[1]):
            assert not re.search(r"\.\d{3}", re.sub(r"(scale|matrix)\([^)]*\)", "", value)), value


def test_rounding_is_to_the_nearest_and_zero_has_no_sign() -> None:
    assert rounded('<path d="M 1.005 -0.001 L 2.34567 3 z"/>') == '<path d="M 1 0 L 2.35 3 z"/>'
    assert rounded('<use x="12345.6789" y="-7.999"/>') == '<use x="12345.68" y="-8"/>'
    assert rounded('<g transform="translate(1.2345 6) scale(0.015625 -0.1)">1.2345</g>') == (
        '<g transform="translate(1.23 6) scale(0.015625 -0.1)">1.2345</g>'
    )


def test_the_figures_that_are_kept_have_two_decimals() -> None:
    paths = sorted((ROOT / "figures").glob("*.svg"))
    assert paths
    for path in paths:
        drawing = path.read_text(encoding="utf-8")
        assert rounded(drawing) == drawing, f"{path.name} was not written by save_figure"
