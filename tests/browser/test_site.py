"""The site as a reader sees it: each kind of page passes axe's rules of WCAG 2.1 AA, narrow, wide, light and dark."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from site_pages import pages

from .accessibility import violations
from .lab import Watch, expect

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

VIEWS = {"wide, light": (1280, "light"), "narrow, dark": (390, "dark")}
KINDS = "index notebooks/00_start_here notebooks/exercises/README api/study search".split()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """Where the built site is served."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


class Opener:
    """`opener(name, view)` opens a page; `close` closes all, and fails where anything went wrong in one."""

    def __init__(self, browser: Browser, address: str) -> None:
        self.browser, self.address = browser, address
        self.opened: list[tuple[Page, Watch]] = []

    def __call__(self, name: str, view: str) -> Page:
        width, theme = VIEWS[view]
        page = self.browser.new_page(viewport={"width": width, "height": 900}, color_scheme=theme)  # type: ignore[arg-type]
        watch = Watch()
        watch.over(page)
        self.opened.append((page, watch))
        page.goto(f"{self.address}/{name}.html")
        page.wait_for_load_state("load")
        page.wait_for_function("() => !window.MathJax?.Hub || window.MathJax.Hub.queue?.pending === 0")
        return page

    def close(self) -> None:
        while self.opened:
            page, watch = self.opened.pop()
            page.wait_for_timeout(50)
            page.context.close()
            watch.check()


@pytest.fixture
def open_page(browser: Browser, address: str) -> Iterator[Opener]:
    opener = Opener(browser, address)
    yield opener
    opener.close()


def check(page: Page, name: str) -> None:
    assert not (wrong := violations(page)), f"{name}:\n" + "\n".join(wrong)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), f"{name} scrolls sideways"


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("name", KINDS)
def test_a_page_of_each_kind_can_be_read_by_everybody(open_page: Opener, name: str, view: str) -> None:
    check(open_page(name, view), name)


@pytest.mark.slow  # the fast one has a page of each kind
@pytest.mark.parametrize("view", VIEWS)
def test_every_page_can_be_read_by_everybody(open_page: Opener, site: Path, view: str) -> None:
    for name in pages(site):
        check(open_page(name, view), name)
        open_page.close()


def test_search_theme_copy_and_folded_solutions_work(open_page: Opener) -> None:
    page = open_page("notebooks/00_start_here", "wide, light")
    assert page.locator(".MathJax").count(), "formulas are drawn"
    solution = page.locator("details.hide").first
    assert not solution.locator("pre").first.is_visible()
    solution.locator("summary").click()
    expect(solution.locator("pre").first).to_be_visible()
    theme = page.locator("html")
    expect(theme).to_have_attribute("data-theme", "light")
    page.locator(".theme-switch-button:visible").first.click()
    page.locator(".dropdown-menu:visible [data-mode=dark], [data-mode=dark]:visible").first.click()
    expect(theme).to_have_attribute("data-theme", "dark")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    cell = page.locator(".cell_input .highlight").first
    cell.hover()
    cell.locator("button.copybtn").click()
    assert page.evaluate("navigator.clipboard.readText()") == cell.locator("pre").inner_text().rstrip("\n")

    page = open_page("search", "wide, light")
    page.locator("input[name=q]:visible").first.fill("integrated gradients")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search.html?q=*")
    expect(page.locator("#search-results a").first).to_be_visible()
