"""The steering explorer in JupyterLab: dials that answer, errors that keep the last result, files, the microphone."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile

from .lab import Notebook, Shot, expect, part
from .legibility import cut_off, faint_words
from .notebooks import write_notebook
from .server import Server

if TYPE_CHECKING:
    from playwright.sync_api import Locator

pytestmark = pytest.mark.browser

SETUP = """
import steer_utils as su
from steer_utils.course import lessons
from steer_utils.show.widgets.explorer import SteeringExplorer

lm = su.load("pocket-qwen2-audio")
scene = lessons.scene_of("engine, dog bark, bell", lm, 11)
"""
SHOWN = 'explorer = SteeringExplorer(lm, scene, query="dog bark")\nexplorer'
AGAIN = """
explorer.player.playing = False
explorer.player.playhead = 0.0
with explorer.dials.held():
    explorer.dials.reset()
    explorer.dials.query.value = "dog bark"
explorer.sounds.kind.value = "given"
explorer._hear(explorer.sounds._first)
assert explorer.wait(20)
"""


@pytest.fixture(scope="module")
def notebook(open_notebook: Callable[[str], Notebook], server: Server) -> Notebook:
    """A notebook with one explorer, run."""
    write_notebook(server.root / "explorer.ipynb", SETUP, SHOWN)
    opened = open_notebook("explorer.ipynb")
    opened.run_all()
    return opened


@pytest.fixture
def explorer(notebook: Notebook) -> Locator:
    """The explorer as it is at first: the dog of the scene is sought, with the model's own settings."""
    notebook.execute(AGAIN)
    cell = notebook.cell_of(SHOWN)
    expect(part(cell, "interval")).to_have_text(located(notebook))
    return cell.locator(".jp-Cell-outputArea")


def located(notebook: Notebook) -> str:
    """What the player should say, by the explorer's last answer."""
    return "located " + notebook.value("str(explorer.seen.interval)")


def settled(notebook: Notebook, explorer: Locator) -> None:
    """Wait until everything asked for has been worked out and is shown."""
    for _ in range(2):  # the browser holds a change back while the kernel still works on the one before
        notebook.idle()
        notebook.page.wait_for_timeout(100)
    notebook.execute("assert explorer.wait(20)")
    expect(part(explorer, "busy")).to_have_count(0)


def handle(explorer: Locator) -> Locator:
    """What the keyboard moves of the strength slider."""
    return slider(explorer, "Strength").get_by_role("slider")


def slider(explorer: Locator, name: str) -> Locator:
    """A slider by its description."""
    return explorer.locator(".widget-slider").filter(has_text=name)


# -- dials ---------------------------------------------------------------------------------------------------------
def test_it_shows_its_first_answer(notebook: Notebook, explorer: Locator, shot: Shot) -> None:
    expect(part(explorer, "answer-plain")).to_contain_text("three")
    expect(part(explorer, "interval-line")).to_contain_text("overlap")
    shot(explorer, "light")
    assert not faint_words(explorer) and not cut_off(explorer)


def test_the_slider_moves_interval_and_curve(notebook: Notebook, explorer: Locator, shot: Shot) -> None:
    interval, curve = located(notebook), part(explorer, "curve").get_attribute("data-drawn") or ""
    handle(explorer).focus()
    handle(explorer).press("Home")  # pushed away from the dog, as strongly as the slider goes
    expect(part(explorer, "interval")).not_to_have_text(interval)
    expect(part(explorer, "curve")).not_to_have_attribute("data-drawn", curve)
    settled(notebook, explorer)
    expect(part(explorer, "interval")).to_have_text(located(notebook))
    assert notebook.value("explorer.seen.choice.strength") < 0
    assert notebook.value("explorer.seen.overlap") < 0.2
    shot(explorer, "pushed-away")


def test_without_strength_nothing_moves(notebook: Notebook, explorer: Locator) -> None:
    handle(explorer).focus()
    for _ in range(200):
        if notebook.value("explorer.dials.strength.value") == 0:
            break
        handle(explorer).press("ArrowLeft")
    settled(notebook, explorer)
    expect(part(explorer, "interval-line")).to_contain_text("flat")
    expect(part(explorer, "interval")).to_have_text("nothing located")


def test_quick_moves_do_not_queue(notebook: Notebook, explorer: Locator) -> None:
    notebook.execute("""
import time
explorer._latest._work, fast = (lambda request: (worked.append(request.values["strength"]), time.sleep(0.4),
                                                 explorer._explored(request))[-1]), explorer._latest._work
worked = []
""")
    try:
        handle(explorer).focus()
        begin = time.monotonic()
        for _ in range(30):
            handle(explorer).press("ArrowLeft")
        moving = time.monotonic() - begin
        settled(notebook, explorer)
        waited = time.monotonic() - begin - moving
        worked = notebook.value("worked")
        shown = notebook.value("explorer.dials.strength.value")
        assert worked[-1] == shown == notebook.value("explorer.seen.choice.strength")
        assert len(worked) <= moving / 0.4 + 3, "one that runs, and one that waits"
        assert waited < 5, "at most two answers are still to come"
        expect(part(explorer, "interval")).to_have_text(located(notebook))
    finally:
        notebook.execute("explorer._latest._work = fast")


def test_another_query_by_keys(notebook: Notebook, explorer: Locator) -> None:
    before, cells = located(notebook), notebook.call("return panel.content.widgets.length;")
    query = explorer.get_by_label("Query")
    query.focus()
    query.press("ArrowDown")
    settled(notebook, explorer)
    assert notebook.value("explorer.seen.choice.query") == "bell"
    assert located(notebook) != before
    expect(part(explorer, "interval")).to_have_text(located(notebook))
    expect(part(explorer, "title")).to_have_text("bell")
    query.press("b")
    assert notebook.call("return panel.content.widgets.length;") == cells, "b is the notebook's key for a new cell"


def test_a_mistake_is_said_and_the_last_answer_stays(notebook: Notebook, explorer: Locator, shot: Shot) -> None:
    interval = located(notebook)
    words = explorer.get_by_label("Positive")
    words.fill("Focus on the {sound}.")
    words.press("Enter")
    expect(explorer.get_by_role("alert")).to_contain_text("{event} and no other braces")
    expect(part(explorer, "interval")).to_have_text(interval)
    shot(explorer, "mistake")
    words.fill("Focus on the {event}.")
    words.press("Enter")
    expect(explorer.get_by_role("alert")).to_have_count(0)
    settled(notebook, explorer)
    expect(part(explorer, "interval")).to_have_text(interval)


def test_words_of_the_reader_are_text(notebook: Notebook, explorer: Locator) -> None:
    words = explorer.get_by_label("Positive")
    words.fill("<img src=x onerror=alert(1)> {0}")
    words.press("Enter")
    expect(explorer.get_by_role("alert")).to_contain_text("<img src=x")
    assert explorer.locator("img[src=x]").count() == 0


def test_reset(notebook: Notebook, explorer: Locator) -> None:
    interval, drawn = located(notebook), part(explorer, "curve").get_attribute("data-drawn") or ""
    handle(explorer).focus()
    handle(explorer).press("Home")
    expect(part(explorer, "interval")).not_to_have_text(interval)
    explorer.get_by_role("button", name="Reset").click()
    expect(part(explorer, "interval")).to_have_text(interval)
    expect(part(explorer, "curve")).to_have_attribute("data-drawn", drawn)


def test_the_code_gives_the_same(notebook: Notebook, explorer: Locator, shot: Shot) -> None:
    handle(explorer).focus()
    handle(explorer).press("ArrowLeft")
    settled(notebook, explorer)
    explorer.get_by_role("button", name="Show the code").click()
    expect(part(explorer, "code")).to_contain_text("hearing.contrast")
    shot(explorer, "code")
    shown = part(explorer, "code").text_content()
    notebook.execute(f"given = dict(scene=scene); exec({shown!r}, given)")
    assert notebook.value("given['interval'] == explorer.seen.interval")
    explorer.get_by_role("button", name="Hide the code").click()
    expect(part(explorer, "code")).to_have_count(0)


def test_everything_by_keyboard(notebook: Notebook, explorer: Locator) -> None:
    """From the first control on: to the strength, change it, to the player, play and stop."""
    explorer.get_by_label("Sound").first.focus()
    keyboard = notebook.page.keyboard

    def tab_to(script: str) -> None:
        for _ in range(40):
            if notebook.page.evaluate(f"() => Boolean({script})"):
                return
            keyboard.press("Tab")
        raise AssertionError(f"Tab does not lead to {script}")

    tab_to("document.activeElement.closest('.widget-slider')?.textContent.includes('Strength')")
    before = located(notebook)
    keyboard.press("Home")
    expect(part(explorer, "interval")).not_to_have_text(before)
    tab_to("document.activeElement.dataset.steer === 'play'")
    keyboard.press("Space")
    expect(part(explorer, "playhead")).to_have_attribute("data-playing", "true")
    keyboard.press("Space")
    expect(part(explorer, "playhead")).to_have_attribute("data-playing", "false")


# -- sounds of the reader's own ------------------------------------------------------------------------------------
def test_a_file_is_heard(notebook: Notebook, explorer: Locator, tmp_path: Path, shot: Shot) -> None:
    path = tmp_path / "own <b>sound.wav"
    noise = 0.05 * np.random.default_rng(0).normal(size=3 * 44_100)
    noise[44_100:66_150] += np.sin(np.arange(22_050) * 0.2)
    soundfile.write(path, np.stack([noise, noise], axis=1), 44_100)
    choose_sound(explorer, "a file of yours")
    send_file(explorer, path)
    expect(part(explorer, "time")).to_have_text("0.00 / 3.00 s")
    settled(notebook, explorer)
    expect(part(explorer, "interval")).to_have_text(located(notebook))
    explorer.get_by_role("button", name="Show the code").click()
    expect(part(explorer, "code")).to_contain_text("own <b>sound.wav")
    assert explorer.locator("b").count() == 0, "names of files are text"
    explorer.get_by_role("button", name="Hide the code").click()
    shot(explorer, "own-file")


@pytest.mark.parametrize(
    "name, content, said",
    [
        ("broken.wav", b"RIFF\x00\x00\x00\x00WAVEfmt nonsense", "broken.wav"),
        ("letter.mp3", b"Dear reader, this is a letter and no sound.", "cannot decode 'letter.mp3'"),
        ("empty.wav", b"", "empty.wav"),
    ],
    ids=["broken", "letter", "empty"],
)
def test_a_file_that_is_no_sound(
    notebook: Notebook, explorer: Locator, tmp_path: Path, shot: Shot, name: str, content: bytes, said: str
) -> None:
    interval, duration = located(notebook), part(explorer, "time").text_content() or ""
    (tmp_path / name).write_bytes(content)
    choose_sound(explorer, "a file of yours")
    send_file(explorer, tmp_path / name)
    expect(explorer.get_by_role("alert")).to_contain_text(said)
    expect(part(explorer, "interval")).to_have_text(interval)
    expect(part(explorer, "time")).to_have_text(duration)
    shot(explorer, "refused")


def test_the_microphone(notebook: Notebook, explorer: Locator, shot: Shot) -> None:
    choose_sound(explorer, "your microphone")
    record = part(explorer, "record")
    record.click()
    expect(record).to_have_text("Stop recording")
    expect(part(explorer, "recorded")).to_have_text(re.compile(r"^(1\.[2-9]|[2-7]\.\d) s$"))
    shot(explorer, "recording")
    record.click()
    expect(part(explorer, "recorder-status")).to_have_text(re.compile(r"^Recorded \d\.\d s\.$"))
    expect(part(explorer, "time")).to_have_text(re.compile(r"/ [1-7]\.\d\d s$"))
    settled(notebook, explorer)
    heard = notebook.value("explorer.session.hearing.duration")
    assert 1.0 < heard < 8.0
    expect(part(explorer, "time")).to_have_text(f"0.00 / {heard:.2f} s")
    shot(explorer, "recorded")


REFUSE = """() => {
  navigator.mediaDevices.getUserMedia = async () => { throw new DOMException("no", "NotAllowedError"); };
}"""


def test_a_microphone_that_is_refused(notebook: Notebook, explorer: Locator, shot: Shot) -> None:
    interval = located(notebook)
    choose_sound(explorer, "your microphone")
    record = part(explorer, "record")
    before = record.text_content() or ""
    notebook.page.evaluate(REFUSE)
    try:
        record.click()
        expect(part(explorer, "recorder-status")).to_contain_text("not allowed to use the microphone")
    finally:
        notebook.page.evaluate("() => delete navigator.mediaDevices.getUserMedia")  # the browser's own lies below
    expect(record).to_have_text(before)
    expect(part(explorer, "interval")).to_have_text(interval)
    shot(explorer, "refused")


def choose_sound(explorer: Locator, name: str) -> None:
    explorer.get_by_label("Sound").first.select_option(name)


def send_file(explorer: Locator, path: Path) -> None:
    part(explorer, "upload").set_input_files(path)


# -- looks ---------------------------------------------------------------------------------------------------------
def test_legible_in_the_dark_theme(notebook: Notebook, explorer: Locator, shot: Shot) -> None:
    with notebook.dark():
        shot(explorer, "dark")
        assert not faint_words(explorer)


def test_nothing_is_cut_off_in_a_narrow_window(notebook: Notebook, explorer: Locator, shot: Shot) -> None:
    with notebook.narrow(620, SHOWN):
        shot(explorer, "narrow")
        assert not cut_off(explorer)
