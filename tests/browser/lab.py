"""A notebook open in JupyterLab, as the tests drive it; and a watch over what its page does.

JupyterLab's own doings (open, run, save, change the theme) go through its commands. What a reader does with a widget
goes through the keyboard and the mouse.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

from .server import Server

try:
    from playwright.sync_api import expect as expect
except ImportError:  # the fixture `browser` says how to get it, before a test comes to use this
    expect: Any = None  # type: ignore[no-redef]

if TYPE_CHECKING:
    from playwright.sync_api import ConsoleMessage, Locator, Page, Request, Response

Shot = Callable[["Notebook | Locator", str], Path]  # what the fixture `shot` is

RUN_SECONDS = 400
#: What JupyterLab itself says or asks in vain, each with its reason.
NOT_OURS: tuple[tuple[str, str], ...] = (
    # A notebook that was saved with live widgets and is opened again: ipywidgets' manager says so on the console.
    (r"^console: Error: widget model not found\s", "the page is checked for what a reader sees of it"),
    # ipywidgets' manager asks a kernel for its widgets as soon as it is connected. One that has not imported ipywidgets
    # yet says so, and on a busy machine only once the page listens.
    (r"^No such comm( target registered: jupyter\.widget\.control|: [0-9a-f-]{36})\s*$", "asked before any cell ran"),
)

# The panel of the notebook, by its path; `jupyterapp` is there because the server is started so.
_PANEL = """path => {
  const panels = [...(window.jupyterapp?.shell.widgets('main') ?? [])];
  return panels.find(panel => panel.context?.path === path);
}"""


@dataclass
class Watch:
    """What a page says and asks for that it should not: console errors, failed requests, requests to elsewhere."""

    wrong: list[str] = field(default_factory=list)

    def over(self, page: Page) -> None:
        """Listen to everything `page` does from now on."""
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.note(f"uncaught: {error}"))
        page.on("request", self._asked)
        page.on("requestfailed", self._failed)
        page.on("response", self._answered)

    def note(self, what: str) -> None:
        """Something went wrong, unless it is JupyterLab's own."""
        if not any(re.search(pattern, what) for pattern, _ in NOT_OURS):
            self.wrong.append(what)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.note(f"console: {message.text} ({message.location.get('url', '')})")

    def _asked(self, request: Request) -> None:
        there = urlparse(request.url)
        if there.scheme not in ("data", "blob") and there.hostname != "127.0.0.1":
            self.note(f"asked for {request.url}")

    def _failed(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # the page itself no longer wanted it
            self.note(f"failed: {request.url} ({request.failure})")

    def _answered(self, response: Response) -> None:
        if response.status >= 400:
            self.note(f"{response.status}: {response.request.method} {response.url}")

    def forgive(self, pattern: str) -> None:
        """Forget what matches `pattern`; for a test that brings it about."""
        self.wrong = [what for what in self.wrong if not re.search(pattern, what)]

    def check(self) -> None:
        """Raises AssertionError naming everything that went wrong since the last call."""
        wrong, self.wrong = self.wrong, []
        assert not wrong, "the page did what it should not:\n" + "\n".join(wrong)


class Notebook:
    """One notebook in one page of the browser."""

    def __init__(self, page: Page, server: Server, path: str, watch: Watch) -> None:
        self.page, self.server, self.path, self.watch = page, server, path, watch
        self.ran = False

    # -- JupyterLab itself -------------------------------------------------------------------------------------
    @classmethod
    def open(cls, page: Page, server: Server, path: str, watch: Watch) -> Notebook:
        """Open `path` (relative to the server's root) with nothing else open, and wait for its cells."""
        page.goto(server.page(path))
        notebook = cls(page, server, path, watch)
        page.wait_for_function(f"path => ({_PANEL})(path)?.context.isReady", arg=path, timeout=60_000)
        page.evaluate("() => window.jupyterapp.restored")
        page.locator(".jp-Notebook").wait_for()
        notebook._listen()
        return notebook

    def call(self, body: str, *arguments: Any) -> Any:
        """Evaluate `body`, JavaScript with `panel` and `args` (may await), and return what it returns."""
        script = f"async ([path, ...args]) => {{ const panel = ({_PANEL})(path); {body} }}"
        return self.page.evaluate(script, [self.path, *arguments])

    def run_all(self) -> None:
        """Run every cell; wait until the kernel is idle and each cell has its number. Fails with a cell's traceback."""
        self.call("""
          window.steerRan = false;
          window.jupyterapp.shell.activateById(panel.id);
          window.jupyterapp.commands.execute('notebook:run-all-cells').finally(() => { window.steerRan = true; });
          return null;""")
        self._wait("window.steerRan", RUN_SECONDS)
        self.idle()
        assert not (found := self.errors()), "\n".join(found)
        assert self.call("""
          const code = panel.content.widgets.filter(cell => cell.model.type === 'code');
          return code.every(cell => cell.model.executionCount > 0 || !cell.model.sharedModel.source.trim());
        """), "a cell has no number"
        self.ran = True

    def errors(self) -> list[str]:
        """The tracebacks among the outputs."""
        return self.call("""
          const found = [];
          for (const cell of panel.content.widgets)
            for (const output of cell.model.sharedModel.toJSON().outputs ?? [])
              if (output.output_type === 'error') found.push(output.traceback.join('\\n'));
          return found;""")

    def idle(self, seconds: float = 20) -> None:
        """Wait until the kernel has nothing to do."""
        self._wait("panel.sessionContext.kernelDisplayStatus === 'idle'", seconds)

    def occupy(self, seconds: float) -> None:
        """Keep the kernel at work for so long; see `occupied`."""
        self.call(
            """
            window.steerOccupied = true;
            panel.sessionContext.session.kernel.requestExecute({code: args[0]})
              .done.finally(() => { window.steerOccupied = false; });
            return null;""",
            f"import time; time.sleep({seconds})",
        )

    def occupied(self) -> bool:
        """Whether the work of `occupy` goes on. (The kernel's status would not tell: messages of widgets have a
        subshell of their own, which says "idle" meanwhile.)"""
        return self.page.evaluate("() => window.steerOccupied")

    def _wait(self, condition: str, seconds: float) -> None:
        script = f"path => {{ const panel = ({_PANEL})(path); return {condition}; }}"
        self.page.wait_for_function(script, arg=self.path, timeout=1000 * seconds)

    def execute(self, code: str) -> None:
        """Run code in the notebook's kernel, without a cell; until it is done."""
        self.call("await panel.sessionContext.session.kernel.requestExecute({code: args[0]}).done;", code)

    def value(self, expression: str) -> Any:
        """The value of a Python expression in the notebook's kernel: numbers, text, and tuples and lists of them."""
        shown = self.call(
            """
            const future = panel.sessionContext.session.kernel.requestExecute(
              {code: '', silent: false, store_history: false, user_expressions: {value: args[0]}});
            const reply = await future.done;
            const found = reply.content.user_expressions.value;
            if (found.status !== 'ok') throw new Error(found.evalue);
            return found.data['text/plain'];""",
            expression,
        )
        return ast.literal_eval(shown)

    def save(self) -> None:
        """Save the notebook as it is."""
        self.call("await panel.context.save();")

    def shut_down(self) -> None:
        """End its kernel."""
        self.call("await panel.sessionContext.shutdown();")

    @contextmanager
    def dark(self) -> Iterator[None]:
        """Inside, JupyterLab's theme is the dark one."""
        self.theme("JupyterLab Dark")
        try:
            self.page.wait_for_timeout(300)  # the style sheet of a theme comes late, and colours fade over
            yield
        finally:
            self.theme("JupyterLab Light")

    @contextmanager
    def narrow(self, width: int, source: str) -> Iterator[None]:
        """Inside, the page is so many pixels wide, and shows the cell that holds `source`."""
        self.resize(width)
        try:
            self.cell_of(source)
            self.page.wait_for_timeout(300)
            yield
        finally:
            self.resize(1200)

    def theme(self, name: str) -> None:
        """Switch JupyterLab's theme: "JupyterLab Dark" or "JupyterLab Light"."""
        self.call("await window.jupyterapp.commands.execute('apputils:change-theme', {theme: args[0]});", name)
        light = "true" if name.endswith("Light") else "false"
        self.page.locator(f"body[data-jp-theme-light={light}]").wait_for(state="attached")
        self.page.locator("#jupyterlab-splash").wait_for(state="detached")

    def resize(self, width: int, height: int = 900) -> None:
        """Make the page so many pixels wide and high; the file browser is closed, as on a small screen."""
        self.call("window.jupyterapp.shell.collapseLeft(); window.jupyterapp.shell.collapseRight();")
        self.page.set_viewport_size({"width": width, "height": height})

    # -- messages ----------------------------------------------------------------------------------------------
    def record_messages(self) -> None:
        """Forget the messages noted so far; see `messages`."""
        self.page.evaluate("() => { window.steerMessages.length = 0; }")

    def _listen(self) -> None:
        """Note every message to and from the kernel, and what goes wrong in a callback of a widget: a traceback that a
        reader would find in the log console only."""
        self.idle(60)
        self.call("""
          window.steerMessages = [];
          window.steerTracebacks = [];
          panel.sessionContext.session.kernel.anyMessage.connect((_, {msg, direction}) => {
            window.steerMessages.push({direction, kind: msg.header.msg_type,
              bytes: (msg.buffers ?? []).reduce((sum, each) => sum + each.byteLength, 0)});
            const {content, header: {msg_type: kind}} = msg, wrong = window.steerTracebacks;
            if (kind === 'error') wrong.push(content.traceback.join('\\n'));
            if (kind === 'stream' && content.name === 'stderr') wrong.push(content.text);
          });""")

    def tracebacks(self) -> list[str]:
        """What went wrong in the kernel since the last call."""
        return self.page.evaluate("() => window.steerTracebacks?.splice(0) ?? []")

    def messages(self, direction: str, kind: str = "comm_msg") -> list[int]:
        """Bytes of the buffers of each message noted: direction "send" (to the kernel) or "recv"."""
        return self.page.evaluate(
            "([direction, kind]) => window.steerMessages.filter(each => each.direction === direction "
            "&& each.kind === kind).map(each => each.bytes)",
            [direction, kind],
        )

    # -- cells -------------------------------------------------------------------------------------------------
    def cell_of(self, source: str) -> Locator:
        """The first code cell whose code contains `source`, scrolled into view."""
        index = self.call(
            "return panel.content.widgets.findIndex("
            "cell => cell.model.type === 'code' && cell.model.sharedModel.source.includes(args[0]));",
            source,
        )
        assert index >= 0, f"no cell holds {source!r}"
        self.call("await panel.content.scrollToItem(args[0], 'start');", index)
        return self.page.locator(f".jp-Notebook .jp-Cell[data-windowed-list-index='{index}']")


def part(shown: Locator, name: str) -> Locator:
    """The part of a player or explorer that is called so."""
    return shown.locator(f"[data-steer={name}]")
