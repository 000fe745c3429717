"""One JupyterLab and one browser for all tests of this folder, and a watch over every page."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator

    from .lab import Notebook
    from .server import Server

FAILED = pytest.StashKey[bool]()
#: Milliseconds: playwright's own 5 s to expect something are short on a machine that does other work.
PATIENCE = 45_000
ARTEFACTS = Path(__file__).resolve().parents[2] / "test-artefacts"


class NoBrowser(pytest.skip.Exception):
    """These tests cannot run here; the words say how to get what is lacking."""


def refuse(remedy: str) -> NoReturn:
    """Skip, saying how to get what is lacking; a failure where the browser must be there."""
    if os.environ.get("STEER_NEED_BROWSER") == "1":
        pytest.fail(f"STEER_NEED_BROWSER=1, but {remedy}", pytrace=False)
    raise NoBrowser(remedy)


# Not "session": playwright's loop runs as long as it is open, and later tests start loops of their own.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """The one browser."""
    if lacking := [name for name in ("playwright", "jupyterlab", "anywidget") if find_spec(name) is None]:
        refuse(f"browser tests need {' and '.join(lacking)}: pip install 'steer-utils[course,test]'")
    from playwright.sync_api import expect, sync_playwright

    from .chromium import arguments, chromium

    with sync_playwright() as playwright:
        path = chromium(playwright)
        if isinstance(path, LookupError):
            refuse(str(path))
        ARTEFACTS.mkdir(exist_ok=True)
        for old in ARTEFACTS.glob("*.png"):  # a picture of an earlier run proves nothing
            old.unlink()
        expect.set_options(timeout=PATIENCE)
        browser = playwright.chromium.launch(executable_path=path, args=arguments())
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def server(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The one JupyterLab; started only where there is a browser to look at it."""
    from .server import jupyter_lab

    with jupyter_lab(tmp_path_factory.mktemp("lab")) as running:
        yield running


@pytest.fixture(scope="package")
def notebooks() -> list[Notebook]:
    """Those open at the moment: a test looks at some, and all are watched."""
    return []


@pytest.fixture(scope="package")
def open_notebook(browser: Browser, server: Server, notebooks: list[Notebook]) -> Iterator[Callable[[str], Notebook]]:
    """`open_notebook(path)` opens a notebook (relative to `server.root`) in a page of its own."""
    from .lab import Notebook, Watch

    # One for all pages: what the first has loaded the others have at hand.
    context = browser.new_context(viewport={"width": 1200, "height": 900}, permissions=["microphone"])
    context.set_default_timeout(PATIENCE)

    def opened(path: str) -> Notebook:
        watch = Watch()
        page = context.new_page()
        watch.over(page)
        notebook = Notebook.open(page, server, path, watch)
        notebooks.append(notebook)
        return notebook

    yield opened
    context.close()  # before the server: its pages would complain that it is gone


@pytest.fixture
def shot(request: pytest.FixtureRequest) -> Callable[[Notebook | Locator, str], Path]:
    """`shot(what, name)` keeps a picture of a notebook's page, or of a part, as an artefact named after the test."""
    from playwright.sync_api import Locator

    def kept(what: Notebook | Locator, name: str) -> Path:
        path = artefact(request, name)
        page = what.page
        if not isinstance(what, Locator):
            page.screenshot(path=path)
            return path
        before, box = page.viewport_size, what.bounding_box()
        if before is None or box is None:
            raise ValueError("nothing of this can be seen")
        page.set_viewport_size({**before, "height": int(box["height"]) + 300})  # a part can be longer than a screen
        what.scroll_into_view_if_needed()
        page.wait_for_timeout(200)  # it is laid out anew
        what.screenshot(path=path)
        page.set_viewport_size(before)
        return path

    return kept


def artefact(request: pytest.FixtureRequest, name: str) -> Path:
    """Where a picture of this test goes."""
    test = re.sub(r"[^a-zA-Z0-9]+", "-", f"{request.node.path.stem} {request.node.name}").strip("-")
    return ARTEFACTS / f"{test.replace('-test-', '-')}-{name}.png"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Let fixtures know that a test failed; and say once, not for each test, that there is no browser."""
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    if call.excinfo is not None and isinstance(call.excinfo.value, NoBrowser):
        report.longrepr = (str(Path(__file__)), refuse.__code__.co_firstlineno, f"Skipped: {call.excinfo.value}")
    return report


@pytest.fixture(autouse=True)
def watched(request: pytest.FixtureRequest, notebooks: list[Notebook]) -> Iterator[None]:
    """After each test: pictures of all open pages if it failed; and no page said or asked for what it should not."""
    yield
    for number, notebook in enumerate(notebooks):
        if request.node.stash.get(FAILED, False):
            notebook.page.screenshot(path=artefact(request, f"failed-{number}"))
        notebook.page.wait_for_timeout(50)  # what the browser has said so far comes in
    for notebook in notebooks:
        for text in notebook.tracebacks():
            notebook.watch.note(text)
        notebook.watch.check()
