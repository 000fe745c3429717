"""What the explorer, the comparison and the gallery share: a box of controls, lines of text, the twin published first.

Widgets are imported when a panel is made, so that the logic beside them needs none. Text from files, users and models
reaches the page escaped, never as markup.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from matplotlib.figure import Figure

from steer_utils.show.widgets.latest import Latest

REMEDY = "the explorers need ipywidgets and anywidget: pip install 'steer-utils[course]'"
NARROW = "1 1 310px"  # of a control: two share a row where there is room for so much each


class Panel:
    """A box of widgets, and the figure that stands in for it where there is no kernel.

    As the last line of a cell it shows itself; `panel.box` goes into boxes of one's own. Subclasses set `box` and say
    what the figure is (`twin`, `alt_text`, `caption`).
    """

    box: Any
    player: Any

    def twin(self) -> Figure:
        """The static figure."""
        raise NotImplementedError

    def alt_text(self) -> str:
        """What the figure shows, in words."""
        raise NotImplementedError

    def caption(self) -> str:
        """One line, for readers without pictures."""
        raise NotImplementedError

    def close(self) -> None:
        """Take the widgets away."""
        self.player.close()
        self.box.close()

    def _ipython_display_(self) -> None:
        """The static twin first, then the widgets: a live view hides the twin, a saved notebook shows it."""
        from IPython.display import display

        from steer_utils.show.widgets.twins import publish

        publish(self.twin(), self.alt_text(), f"{self.caption()}. Run this cell to use it.")
        # Not the box's own text: it would repeat every widget in it.
        display({**self.box._repr_mimebundle_(), "text/plain": repr(self)}, raw=True)


class WorkingPanel(Panel):
    """A panel whose controls start work, of which only the newest request counts (see `latest`)."""

    _latest: Latest[Any, Any]

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until everything asked for has been worked out; False if that takes longer than `seconds`."""
        return self._latest.wait(seconds)

    def close(self) -> None:
        """End the worker and take the widgets away."""
        self._latest.close()
        super().close()


def widgets() -> Any:
    """The module ipywidgets. Raises ImportError with the remedy where it is not installed."""
    try:
        import ipywidgets
    except ImportError as error:
        raise ImportError(REMEDY) from error
    return ipywidgets


def text_line(text: str = "", *, role: str = "", mark: str = "") -> str:
    """The value of an `ipywidgets.HTML` that shows `text`, escaped, as one paragraph.

    `role`: "status" or "alert", for screen readers. `mark`: the data-steer attribute, by which a test finds it.
    """
    attributes = "".join(
        f' {name}="{escape(value)}"' for name, value in (("role", role), ("data-steer", mark)) if value
    )
    colour = "color: var(--jp-error-color1, inherit); font-weight: 600; " if role == "alert" else ""
    return f'<p{attributes} style="{colour}margin: 2px 0; overflow-wrap: anywhere; line-height: 1.4">{escape(text)}</p>'


BUSY = text_line("working …", mark="busy")


def code_block(code: str) -> str:
    """The value of an `ipywidgets.HTML` that shows `code`, escaped; it can be focused, scrolled and copied."""
    look = (
        "margin: 4px 0; padding: 6px; white-space: pre-wrap; word-break: normal; overflow-wrap: anywhere; "
        "line-height: 1.35; border: 1px solid var(--jp-border-color1, currentColor)"
    )
    return f'<pre tabindex="0" aria-label="code" data-steer="code" style="{look}">{escape(code)}</pre>'


def table_block(header: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> str:
    """The value of an `ipywidgets.HTML` that shows a table of texts, escaped, with heads for screen readers."""
    cell = "padding: 2px 10px 2px 0; text-align: left; vertical-align: top; white-space: nowrap"
    head = "".join(f'<th scope="col" style="{cell}">{escape(name)}</th>' for name in header)
    body = "".join(
        f'<tr><th scope="row" style="{cell}; font-weight: normal; white-space: normal">{escape(row[0])}</th>'
        + "".join(f'<td style="{cell}">{escape(value)}</td>' for value in row[1:])
        + "</tr>"
        for row in rows
    )
    return (
        '<div style="overflow-x: auto; line-height: 1.4" tabindex="0" data-steer="table"><table>'
        f'<caption style="text-align: left">{escape(caption)}</caption><tr>{head}</tr>{body}</table></div>'
    )


class StatusLine:
    """One visible line: what goes on, how long it took, or what is wrong. `line` is the widget."""

    def __init__(self) -> None:
        self.line = widgets().HTML()
        self.text = ""

    def say(self, text: str) -> None:
        """Something that went well; read out when a screen reader has nothing else to say."""
        self._put(text, "status")

    def complain(self, text: str) -> None:
        """Something that is wrong: read out at once."""
        self._put(text, "alert")

    def _put(self, text: str, role: str) -> None:
        self.text = text
        self.line.value = text_line(text, role=role, mark="status-line")


def row(*children: Any) -> Any:
    """Widgets beside each other, wrapping into more lines where it is narrow."""
    module = widgets()
    layout = module.Layout(
        display="flex", flex_flow="row wrap", align_items="center", width="100%", grid_gap="2px 8px", overflow="visible"
    )
    return module.Box(list(children), layout=layout)


def panel_box(*children: Any) -> Any:
    """A panel's box: its parts under each other, at most as wide as a line can be read, keys kept by its controls."""
    from steer_utils.show.widgets.panel_keys import PanelKeys

    module = widgets()
    return module.VBox([*children, PanelKeys()], layout=module.Layout(max_width="1000px"))


def aligned(control: Any, *, flex: str = NARROW, label: str = "9em") -> Any:
    """The control in a `row`, its description in a column of one width, so that controls stand under each other."""
    control.layout.flex, control.layout.width = flex, "auto"
    control.layout.min_width, control.layout.max_width = "0", "480px"
    control.style.description_width = label
    return control
