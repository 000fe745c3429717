"""The player without a kernel, in a page of its own: it plays, is dragged and switched, by keyboard too, and asks for
nothing; where scripts are off there is the picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from steer_utils.show.folder_report import COLUMNS, page_name, report_page
from steer_utils.show.widgets.standalone import SoughtSound, StrengthGrid, player_page, styles
from steer_utils.sound.spans import AudioSpan, Interval

from .accessibility import violations
from .lab import Watch, expect

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

pytestmark = pytest.mark.browser

RATE, SPAN = 16_000, AudioSpan(3, 100)
STRENGTHS = tuple(map(float, range(9)))


def grid(start: float = 0.0) -> StrengthGrid:
    """4 s of noise; attention to the dog rises with the strength at 1 to 2 s, to the bell at 3 s."""
    noise = (0.1 * np.random.default_rng(0).normal(size=4 * RATE)).astype(np.float32)
    plain = np.full(100, 0.01)

    def sought(event: str, first: int, stop: int) -> SoughtSound:
        steered = np.stack([plain] * len(STRENGTHS))
        for step, strength in enumerate(STRENGTHS):
            steered[step, first:stop] += 0.01 * strength
        ends = [None if step == 0 else Interval(0.04 * first, 0.04 * stop - 0.02 * step) for step in range(9)]
        return SoughtSound(event, steered, tuple(ends), Interval(0.04 * first, 0.04 * stop), "there (probability 0.97)")

    sounds = (sought("dog bark", 25, 50), sought("<b>bell</b>", 75, 95))
    return StrengthGrid(noise, RATE, SPAN, STRENGTHS, 2, plain, sounds, start=start)


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def page(browser: Browser, watch: Watch, tmp_path: Path) -> Iterator[Page]:
    """The page of one player, as a file; nothing may be fetched, and nothing complained of."""
    path = tmp_path / "player.html"
    path.write_text(player_page([grid()], "street.wav"), encoding="utf-8")
    context = browser.new_context(viewport={"width": 1000, "height": 800})
    opened = context.new_page()
    asked: list[str] = []
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("console", watch._said)
    opened.on("pageerror", lambda error: watch.note(str(error)))
    opened.goto(path.as_uri())
    opened.locator("[data-mounted=yes]").wait_for()
    yield opened
    watch.check()
    assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]
    context.close()


def part(page: Page, name: str) -> Locator:
    return page.locator(f"[data-steer={name}]").first


def drawn(page: Page) -> str:
    return part(page, "curve").get_attribute("data-drawn") or ""


def test_it_plays_and_the_playhead_moves(page: Page) -> None:
    expect(part(page, "time")).to_have_text("0.00 / 4.00 s")
    part(page, "play").click()
    expect(part(page, "playhead")).to_have_attribute("data-playing", "true")
    page.wait_for_function("Number(document.querySelector('[data-steer=playhead]').dataset.seconds) > 0.3")
    part(page, "play").click()
    expect(part(page, "playhead")).to_have_attribute("data-playing", "false")
    part(page, "play-located").click()
    expect(part(page, "playhead")).to_have_attribute("data-playing", "true")
    expect(part(page, "playhead")).to_have_attribute("data-playing", "false", timeout=10_000)
    assert float(part(page, "playhead").get_attribute("data-seconds") or 0) == pytest.approx(1.96, abs=0.05)


def test_dragging_the_strength_moves_curve_and_interval(page: Page) -> None:
    expect(part(page, "interval")).to_have_text("located 1.00-1.96 s")
    expect(part(page, "strength-number")).to_have_text("2.00, as it is set")
    expect(part(page, "status")).to_have_text("there (probability 0.97); overlap 96 %")
    before = drawn(page)
    box = part(page, "strength").bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.25, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 2, middle, steps=8)
    page.mouse.up()
    expect(part(page, "strength-number")).to_have_text("8.00")
    expect(part(page, "interval")).to_have_text("located 1.00-1.84 s")
    expect(part(page, "curve")).not_to_have_attribute("data-drawn", before)


def test_another_sound_is_sought(page: Page) -> None:
    before = drawn(page)
    part(page, "query").select_option("1")
    expect(part(page, "interval")).to_have_text("located 3.00-3.76 s")
    expect(part(page, "title")).to_have_text("<b>bell</b>")
    expect(part(page, "truth")).to_have_text("true 3.00-3.80 s")
    expect(part(page, "curve")).not_to_have_attribute("data-drawn", before)
    part(page, "strength").fill("0")
    expect(part(page, "interval")).to_have_text("nothing located")
    page.get_by_label("asked plainly").check()
    expect(part(page, "choice")).to_contain_text("asked plainly")


def test_all_of_it_by_keyboard(page: Page) -> None:
    page.keyboard.press("Tab")
    expect(part(page, "query")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(part(page, "title")).to_have_text("<b>bell</b>")
    page.keyboard.press("Tab")
    expect(part(page, "strength")).to_be_focused()
    page.keyboard.press("End")
    expect(part(page, "strength-number")).to_have_text("8.00")
    expect(part(page, "strength")).to_have_attribute("aria-valuetext", "strength 8.00")
    page.keyboard.press("ArrowLeft")
    expect(part(page, "strength-number")).to_have_text("7.00")
    part(page, "playhead").focus()
    page.keyboard.press("Shift+ArrowRight")
    expect(part(page, "time")).to_have_text("1.00 / 4.00 s")
    page.keyboard.press("Space")
    expect(part(page, "playhead")).to_have_attribute("data-playing", "true")
    page.keyboard.press("Space")


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_passes_axe(page: Page, width: int, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.set_viewport_size({"width": width, "height": 800})
    page.wait_for_timeout(100)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert violations(page) == []


def test_times_are_those_of_the_file_and_a_player_begins_with_what_is_asked(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "later.html"
    pages = [grid(12.0), grid(20.0).beginning_with("<b>bell</b>")]
    path.write_text(player_page(pages, "long.wav"), encoding="utf-8")
    page = browser.new_page()
    page.goto(path.as_uri())
    page.locator("[data-mounted=yes]").nth(1).wait_for()
    expect(part(page, "time")).to_have_text("12.00 / 16.00 s")
    expect(part(page, "interval")).to_have_text("located 13.00-13.96 s")
    expect(page.locator("[data-steer=interval]").nth(1)).to_have_text("located 23.00-23.76 s")
    expect(page.locator("[data-steer=query]").nth(1)).to_have_value("1")
    names = page.evaluate("[...document.querySelectorAll('[id]')].map((each) => each.id)")
    assert len(names) == len(set(names)) > 4
    page.close()


def test_without_scripts_there_is_the_picture(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "player.html"
    path.write_text(player_page([grid()], "street.wav"), encoding="utf-8")
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(path.as_uri())
    picture = page.get_by_role("img")
    expect(picture).to_be_visible()
    assert "dog bark 1.00-1.96 s" in (picture.get_attribute("alt") or "")
    expect(page.get_by_text("dog bark: 1.00-1.96 s")).to_be_visible()
    context.close()


def test_only_a_live_player_hides_the_twin_above_it(browser: Browser) -> None:
    def output(inside: str) -> str:
        return f'<div class="jp-OutputArea-child">{inside}</div>'

    def twin(name: str) -> str:
        saved = f'<div class="steer-saved"><div class="steer-player">{name}</div></div>'
        return output(saved) + output(f'<span class="steer-words">{name}, in words</span>')

    own = output('<div class="jp-RenderedText">printed</div>')
    live = output('<div class="steer-live"><div class="steer-player">alive</div></div>')
    page = browser.new_page()
    page.set_content(f"<style>{styles()}</style>{own}{twin('first')}{twin('second')}{live}{twin('third')}")
    seen = page.locator(".jp-OutputArea-child").filter(visible=True).all_inner_texts()
    assert seen == ["printed", "first", "first, in words", "alive", "third", "third, in words"]
    page.close()


def test_a_report_loads_a_player_when_it_is_opened(browser: Browser, tmp_path: Path) -> None:
    import pandas as pd

    (tmp_path / "report").mkdir()
    rows, pages = [], []
    for number, presence in enumerate((0.2, 0.9)):
        name = f"{number}.wav"
        pages.append(f"report/{page_name(number, name)}")
        (tmp_path / pages[-1]).write_text(player_page([grid()], name), encoding="utf-8")
        row = dict.fromkeys(COLUMNS, "") | {"file": name, "event": "dog bark", "there": presence > 0.5}
        rows.append({**row, "presence": presence, "calibrated": True, "start": 1.0, "end": 2.0, "duration": 4.0})
    table = pd.DataFrame(rows)
    table.attrs = {"model": "tiny", "method": "steering", "threshold": 0.5, "events": ["dog bark"]}
    (tmp_path / "report.html").write_text(report_page(table, pages), encoding="utf-8")
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.goto((tmp_path / "report.html").as_uri())
    assert violations(page) == []
    assert page.locator("iframe").count() == 0
    first = page.locator("tbody th").first
    expect(first).to_contain_text("0.wav")
    page.get_by_role("button", name="dog bark").click()
    expect(first).to_contain_text("1.wav")
    page.get_by_role("link", name="Hear 1.wav").click()
    inside = page.frame_locator("iframe")
    expect(inside.locator("[data-steer=interval]")).to_have_text("located 1.00-1.96 s")
    page.wait_for_function("parseFloat(document.querySelector('iframe').style.height) > 300")
    page.get_by_role("link", name="Hear 1.wav").click()
    expect(page.locator("iframe")).to_have_count(0)
    page.close()
