"""The listening player in JupyterLab: it draws, plays, seeks, and answers the keyboard; also without its kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from .lab import Notebook, Shot, expect, part
from .legibility import cut_off, faint_words
from .notebooks import write_notebook
from .server import Server

if TYPE_CHECKING:
    from playwright.sync_api import Locator

pytestmark = pytest.mark.browser

SETUP = """
from dataclasses import replace

import steer_utils as su
from steer_utils.course import lessons
from steer_utils.show.widgets.listening import listening_in
from steer_utils.show.widgets.player import ListeningPlayer

lm = su.load("pocket-qwen2-audio")
scene = lessons.scene_of("engine, dog bark, bell", lm, 11)
heard, bell = (listening_in(lm, scene, name, answer=True) for name in ("dog bark", "bell"))
"""
SHOWN = "player = ListeningPlayer(heard)\nplayer"
AGAIN = "from IPython.display import display\ndisplay(player)  # a second view"


@pytest.fixture(scope="module")
def notebook(open_notebook: Callable[[str], Notebook], server: Server) -> Notebook:
    """A notebook with one player, run."""
    write_notebook(server.root / "player.ipynb", SETUP, SHOWN, AGAIN)
    opened = open_notebook("player.ipynb")
    opened.run_all()
    opened.cell_of(SHOWN)
    return opened


@pytest.fixture
def player(notebook: Notebook) -> Locator:
    """The player as it is at first: the dog is shown, at the start, silent."""
    notebook.execute(
        "player.show(heard); player.playing = False\nplayer.block = player.head = None; player.curve = heard.read"
    )
    shown = notebook.cell_of(SHOWN).locator("[data-steer=player]")
    expect(part(shown, "playhead")).to_have_attribute("data-playing", "false")
    part(shown, "playhead").press("Home")
    notebook.idle()
    expect(part(shown, "time")).to_have_text("0.00 / 8.00 s")
    return shown


def drawn(player: Locator) -> str:
    """What is drawn, as a checksum."""
    return part(player, "curve").get_attribute("data-drawn") or ""


def redrawn(player: Locator, before: str) -> None:
    """Wait until something else is drawn."""
    expect(part(player, "curve")).not_to_have_attribute("data-drawn", before)


def seconds(player: Locator) -> float:
    """Where the playhead is."""
    return float(part(player, "playhead").get_attribute("data-seconds") or "nan")


# -- what is shown -------------------------------------------------------------------------------------------------
def test_it_shows_what_was_located(notebook: Notebook, player: Locator, shot: Shot) -> None:
    located = notebook.value("str(heard.located)")
    expect(part(player, "interval")).to_have_text(f"located {located}")
    assert drawn(player)
    assert part(player, "map").get_by_role("gridcell").count() == 7 * 7  # 6 blocks, 6 heads, and their means
    assert not faint_words(player) and not cut_off(player)
    shot(player, "light")


def test_the_twin_is_hidden_while_the_player_lives(notebook: Notebook, player: Locator) -> None:
    output = notebook.cell_of(SHOWN).locator(".jp-Cell-outputArea")
    for twin in (output.locator("img"), output.get_by_text("Static twin.")):
        expect(twin).to_have_count(1)
        expect(twin).to_be_hidden()


def test_another_picture_comes_without_the_sound(notebook: Notebook, player: Locator) -> None:
    before, interval = drawn(player), part(player, "interval").text_content() or ""
    notebook.record_messages()
    notebook.execute("player.show(bell)")
    redrawn(player, before)
    expect(part(player, "interval")).not_to_have_text(interval)
    expect(part(player, "title")).to_have_text("bell")
    sent = notebook.messages("recv")
    assert sent and sum(sent) < 50_000, f"{sum(sent)} bytes: the sound alone is 256 000"
    notebook.execute("player.show(heard)")
    expect(part(player, "interval")).to_have_text(interval)
    expect(part(player, "curve")).to_have_attribute("data-drawn", before)


def test_labels_are_text(notebook: Notebook, player: Locator) -> None:
    label = "<img src=x onerror=alert(1)><b>dog</b>"
    notebook.execute(f"player.show(replace(heard, title={label!r}, events=(({label!r}, heard.truth),)))")
    expect(part(player, "title")).to_have_text(label)
    assert player.locator("img, b").count() == 0


# -- sound ---------------------------------------------------------------------------------------------------------
def test_the_playhead_moves_with_the_sound(notebook: Notebook, player: Locator) -> None:
    play = part(player, "play")
    play.click()
    expect(play).to_have_text("Pause")
    notebook.page.wait_for_function("() => +document.querySelector('[data-steer=playhead]').dataset.seconds > 0.3")
    first = seconds(player)
    notebook.page.wait_for_timeout(300)
    assert first < seconds(player) < first + 3
    play.click()
    expect(play).to_have_text("Play")
    stopped = seconds(player)
    notebook.page.wait_for_timeout(300)
    assert seconds(player) == stopped
    notebook.idle()
    assert abs(notebook.value("player.playhead") - stopped) < 0.01
    assert not notebook.value("player.playing")


def test_seeking_by_click(notebook: Notebook, player: Locator) -> None:
    head = part(player, "playhead")
    box = head.bounding_box()
    assert box
    head.click(position={"x": box["width"] * 0.75, "y": 60})
    assert 5.5 < seconds(player) < 6.3
    head.click(position={"x": box["width"] * 0.25, "y": box["height"] - 60})
    assert 1.3 < seconds(player) < 2.3


def test_seeking_by_keys(notebook: Notebook, player: Locator) -> None:
    head = part(player, "playhead")
    head.focus()
    for keys, there in (
        ("ArrowRight", 0.1),
        ("Shift+ArrowRight", 1.1),
        ("ArrowLeft", 1.0),
        ("Shift+ArrowLeft", 0.0),
        ("ArrowLeft", 0.0),
        ("End", 8.0),
        ("ArrowRight", 8.0),
        ("Shift+ArrowLeft", 7.0),
        ("Home", 0.0),
    ):
        head.press(keys)
        assert abs(seconds(player) - there) < 1e-6, keys
        assert float(head.get_attribute("aria-valuenow") or "nan") == pytest.approx(there, abs=0.006)
    assert "of 8.00 seconds" in (head.get_attribute("aria-valuetext") or "")


@pytest.mark.parametrize("how", ["L", "button"])
def test_only_the_located_span_is_played(notebook: Notebook, player: Locator, how: str) -> None:
    start, end = notebook.value("player.located.start, player.located.end")
    if how == "L":
        part(player, "playhead").focus()
        notebook.page.keyboard.press("l")
    else:
        part(player, "play-located").click()
    expect(part(player, "playhead")).to_have_attribute("data-playing", "true")
    assert start <= seconds(player) < end
    expect(part(player, "playhead")).to_have_attribute("data-playing", "false", timeout=1000 * (end - start) + 3000)
    assert abs(seconds(player) - end) < 0.05


def test_the_waveform(notebook: Notebook, player: Locator, shot: Shot) -> None:
    picture = "canvas => canvas.toDataURL()"
    before = part(player, "sound").evaluate(picture)
    part(player, "shape").press("Enter")
    expect(part(player, "shape")).to_have_text("Show spectrogram")
    notebook.page.wait_for_timeout(100)
    assert part(player, "sound").evaluate(picture) != before
    shot(player, "waveform")
    part(player, "shape").press("Enter")
    expect(part(player, "shape")).to_have_text("Show waveform")


# -- heads and curves ----------------------------------------------------------------------------------------------
def test_a_head_is_drawn_without_the_kernel(notebook: Notebook, player: Locator, shot: Shot) -> None:
    before = drawn(player)
    notebook.occupy(3)
    cell = part(player, "map").get_by_role("gridcell", name="block 1, head 2:")
    cell.click()
    redrawn(player, before)
    assert notebook.occupied()
    expect(part(player, "choice")).to_contain_text("block 1, head 2")
    expect(cell).to_have_attribute("aria-selected", "true")
    shot(player, "one-head")
    notebook.idle()
    assert notebook.value("(player.block, player.head)") == (1, 2)
    part(player, "reset").click()
    expect(part(player, "curve")).to_have_attribute("data-drawn", before)


def test_the_map_answers_arrow_keys(notebook: Notebook, player: Locator) -> None:
    grid = part(player, "map")
    grid.get_by_role("gridcell", name="block 1, head 2:").click()
    before = drawn(player)
    notebook.page.keyboard.press("ArrowDown")
    redrawn(player, before)
    expect(part(player, "choice")).to_contain_text("block 2, head 2")
    assert grid.locator("[tabindex='0']").count() == 1, "one stop of Tab for the whole map"
    notebook.page.keyboard.press("Escape")
    expect(part(player, "choice")).to_contain_text("read-out")


def test_another_curve_is_chosen_by_keys(notebook: Notebook, player: Locator) -> None:
    before = drawn(player)
    player.get_by_role("radio", name="steered minus plain").focus()
    notebook.page.keyboard.press("ArrowUp")
    redrawn(player, before)
    expect(player.get_by_role("radio", name="steered", exact=True)).to_be_checked()
    notebook.idle()
    assert notebook.value("player.curve") == "steered"


def test_everything_is_reached_by_tab(notebook: Notebook, player: Locator) -> None:
    part(player, "play").focus()
    reached = []
    for _ in range(9):
        reached.append(notebook.page.evaluate("document.activeElement.dataset.steer ?? document.activeElement.type"))
        notebook.page.keyboard.press("Tab")
    wanted = ["play", "play-located", "play-true", "shape", "playhead", "radio", "map-span"]
    assert reached[: len(wanted)] == wanted
    assert not player.evaluate("root => root.contains(document.activeElement)"), reached


def test_its_keys_do_not_reach_the_notebook(notebook: Notebook, player: Locator) -> None:
    cells = notebook.call("return panel.content.widgets.length;")
    part(player, "playhead").focus()
    for key in ("a", "b", "d", "d", "x", "l", "t"):  # new cells, deleted ones, in the notebook's own meaning
        notebook.page.keyboard.press(key)
    part(player, "playhead").press("Home")
    assert notebook.call("return panel.content.widgets.length;") == cells


# -- several views -------------------------------------------------------------------------------------------------
def test_two_views_show_the_same(notebook: Notebook, player: Locator) -> None:
    other = notebook.cell_of(AGAIN).locator("[data-steer=player]")
    before = drawn(other)
    assert before == drawn(player)
    part(player, "map").get_by_role("gridcell", name="block 4, head 4:").click()
    redrawn(other, before)
    assert drawn(other) == drawn(player)
    part(other, "play").click()
    expect(part(player, "play")).to_have_text("Pause")
    part(player, "play").click()
    expect(part(other, "play")).to_have_text("Play")


def test_a_view_that_goes_away_leaves_no_sound(notebook: Notebook, player: Locator) -> None:
    notebook.execute("alone = ListeningPlayer(bell)")
    notebook.call(
        "panel.content.activeCellIndex = panel.content.widgets.length - 1;"
        "window.jupyterapp.commands.execute('notebook:insert-cell-below');"
    )
    notebook.call(
        "panel.content.activeCell.model.sharedModel.setSource('alone');"
        "await window.jupyterapp.commands.execute('notebook:run-cell');"
    )
    lonely = notebook.page.locator(".jp-Cell").filter(has=notebook.page.locator("[data-steer=player]")).last
    part(lonely, "play").click()
    expect(part(lonely, "playhead")).to_have_attribute("data-playing", "true")
    notebook.idle()
    assert notebook.value("alone.playing")
    notebook.call("await window.jupyterapp.commands.execute('notebook:delete-cell');")
    notebook.page.wait_for_timeout(300)
    notebook.idle()
    assert not notebook.value("alone.playing")


# -- looks ---------------------------------------------------------------------------------------------------------
def test_legible_in_the_dark_theme(notebook: Notebook, player: Locator, shot: Shot) -> None:
    with notebook.dark():
        shot(player, "dark")
        assert not faint_words(player)


def test_nothing_is_cut_off_in_a_narrow_window(notebook: Notebook, player: Locator, shot: Shot) -> None:
    with notebook.narrow(560, SHOWN):
        shot(player, "narrow")
        assert not cut_off(player)


# -- saved ---------------------------------------------------------------------------------------------------------
def test_a_saved_notebook_shows_the_twin(
    notebook: Notebook, player: Locator, open_notebook: Callable[[str], Notebook], server: Server, shot: Shot
) -> None:
    notebook.save()
    (server.root / "saved.ipynb").write_bytes((server.root / "player.ipynb").read_bytes())
    reader = open_notebook("saved.ipynb")
    reader.cell_of(SHOWN)
    expect(reader.page.locator(".jp-OutputArea img").first).to_be_visible()
    reader.idle(60)  # the kernel of another page: it knows none of the widgets
    reader.page.wait_for_timeout(500)
    shot(reader, "reopened")
    for words in ("model not found", "Loading widget"):
        assert not any(each.is_visible() for each in reader.page.get_by_text(words).all()), words
    reader.shut_down()
    expect(reader.page.locator(".jp-OutputArea img").first).to_be_visible()


def test_it_plays_on_without_its_kernel(notebook: Notebook, player: Locator) -> None:
    """The last test of this notebook."""
    before = drawn(player)
    notebook.shut_down()
    part(player, "map").get_by_role("gridcell", name="block 3, head 1:").click()
    redrawn(player, before)
    part(player, "play").click()
    expect(part(player, "playhead")).to_have_attribute("data-playing", "true")
    part(player, "play").click()
    expect(part(player, "playhead")).to_have_attribute("data-playing", "false")
    notebook.page.wait_for_timeout(50)
    notebook.watch.forgive("Could not send widget sync message")  # ipywidgets, of a choice that the kernel cannot get
