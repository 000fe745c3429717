"""The playground as a reader meets it: pictures before it is run, players after."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .lab import Notebook, Shot, expect
from .legibility import cut_off, faint_words
from .server import Server

if TYPE_CHECKING:
    from playwright.sync_api import Locator

pytestmark = pytest.mark.browser

LESSONS = Path(__file__).resolve().parents[2] / "notebooks"
LESSON = "electives/playground.ipynb"
#: The last line of each cell that shows a widget.
WIDGETS = ("player", "explorer", "compared", "gallery")


@pytest.fixture(scope="module")
def lesson(open_notebook: Callable[[str], Notebook], server: Server) -> Notebook:
    """The lesson as it is in the repository, opened and not run."""
    copy = server.root / "notebooks" / LESSON
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_bytes((LESSONS / LESSON).read_bytes())
    return open_notebook(f"notebooks/{LESSON}")


@pytest.fixture
def running(lesson: Notebook) -> Notebook:
    """The lesson, run."""
    if not lesson.ran:
        lesson.run_all()
    return lesson


def shown(notebook: Notebook, name: str) -> Locator:
    """The output of the cell whose last line is `name`."""
    return notebook.cell_of(f"\n{name}").locator(".jp-Cell-outputArea")


def live(notebook: Notebook, name: str) -> Locator:
    """The same once its widget is drawn, which hides the twin."""
    output = shown(notebook, name)
    expect(output.locator(".steer-live")).to_be_visible()
    expect(output.locator(".steer-words")).to_be_hidden()
    return output


def part(output: Locator, name: str) -> Locator:
    """The part that is seen: a player has a hidden twin, which plays without a kernel."""
    return output.locator(f"[data-steer={name}]").filter(visible=True)


# -- before it is run ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", WIDGETS)
def test_a_picture_stands_in_for_each_widget(lesson: Notebook, shot: Shot, name: str) -> None:
    output = shown(lesson, name)
    picture = output.locator("img")
    expect(picture).to_be_visible()
    expect(output.get_by_text("Static twin.").first).to_be_visible()  # JupyterLab drops a picture's own alt text
    assert picture.evaluate("image => image.naturalWidth") > 500
    expect(output.get_by_text("model not found")).to_have_count(0)
    shot(output, name)


# -- and after -----------------------------------------------------------------------------------------------------
def test_it_runs_in_jupyterlab(running: Notebook, shot: Shot) -> None:
    for name in WIDGETS:
        output = live(running, name)
        expect(part(output, "player")).to_be_visible()
        expect(output.locator("img")).to_be_hidden()
        expect(output.get_by_text("Static twin.").first).to_be_hidden()
        assert not cut_off(output), name
        shot(output, name)


def test_what_is_read_aloud_is_what_is_seen(running: Notebook) -> None:
    output = live(running, "player")
    assert part(output, "interval").text_content() == "located " + running.value("str(heard.located)")
    said = part(live(running, "explorer"), "interval").text_content()
    assert said == "located " + running.value("str(explorer.seen.interval)")


def test_one_player_sounds_at_a_time(running: Notebook) -> None:
    first = part(live(running, "player"), "playhead")
    part(live(running, "player"), "play").click()
    expect(first).to_have_attribute("data-playing", "true")
    second = live(running, "explorer")
    part(second, "play").click()
    expect(part(second, "playhead")).to_have_attribute("data-playing", "true")
    assert running.value("(player.playing, explorer.player.playing)") == (False, True)
    part(second, "play").click()
    expect(part(second, "playhead")).to_have_attribute("data-playing", "false")


def test_the_slider_moves_only_its_own_curve(running: Notebook) -> None:
    before = part(live(running, "player"), "curve").get_attribute("data-drawn")
    output = live(running, "explorer")
    curve, interval = part(output, "curve").get_attribute("data-drawn") or "", part(output, "interval").inner_text()
    handle = output.locator(".widget-slider").filter(has_text="Strength").get_by_role("slider")
    handle.focus()
    handle.press("Home")
    expect(part(output, "curve")).not_to_have_attribute("data-drawn", curve)
    expect(part(output, "interval")).not_to_have_text(interval)
    assert part(live(running, "player"), "curve").get_attribute("data-drawn") == before


def test_another_method_is_seen_and_played(running: Notebook, shot: Shot) -> None:
    output = live(running, "compared")
    curve, interval = part(output, "curve").get_attribute("data-drawn") or "", part(output, "interval").inner_text()
    output.get_by_label("Method").select_option("loudest window")
    expect(part(output, "interval")).not_to_have_text(interval)
    expect(part(output, "curve")).not_to_have_attribute("data-drawn", curve)
    found = running.value("str(compared.compared.row('loudest').found.interval)")
    expect(part(output, "interval")).to_have_text(f"located {found}")
    part(output, "play-located").click()
    expect(part(output, "playhead")).to_have_attribute("data-playing", "true")
    assert float(part(output, "playhead").get_attribute("data-seconds") or "nan") >= float(found.split("-")[0])
    part(output, "play").click()
    shot(output, "loudest")


def test_another_query_is_compared(running: Notebook) -> None:
    output = live(running, "compared")
    output.get_by_label("Query").select_option("bell")
    expect(part(output, "table")).to_contain_text("bell, truly at")
    expect(part(output, "title")).to_contain_text("bell")


def test_the_gallery_goes_on_to_the_next_miss(running: Notebook, shot: Shot) -> None:
    output = live(running, "gallery")
    line = part(output, "status-line")
    expect(line).to_contain_text("1 of 2")
    before = part(output, "curve").get_attribute("data-drawn") or ""
    output.get_by_role("button", name="Next").click()
    expect(line).to_contain_text("2 of 2")
    expect(part(output, "curve")).not_to_have_attribute("data-drawn", before)
    expect(output.get_by_role("button", name="Next")).to_be_disabled()
    part(output, "play-true").click()
    expect(part(output, "playhead")).to_have_attribute("data-playing", "true")
    part(output, "play").click()
    output.get_by_label("Method").select_option("prompting only, same question")
    expect(line).to_contain_text("1 of 12")
    shot(output, "prompting")


def test_legible_in_the_dark_theme(running: Notebook, shot: Shot) -> None:
    faint = {}
    with running.dark():
        for name in WIDGETS:
            output = live(running, name)
            shot(output, name)
            faint[name] = faint_words(output)
    assert not any(faint.values()), faint
