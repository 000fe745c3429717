"""What panels share: text stays text, tables have heads, and a missing extra is said in one line."""

from __future__ import annotations

import sys
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steer_utils.show.widgets import panels
from steer_utils.show.widgets.panels import (
    Panel,
    StatusLine,
    aligned,
    code_block,
    panel_box,
    row,
    table_block,
    text_line,
)


class Tags(HTMLParser):
    """Which tags a page really has, and what text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text: list[str] = []
        self.attributes: dict[str, str | None] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= dict(attrs)

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\r"), max_size=60))
def test_text_is_never_markup(text: str) -> None:
    line = Tags(text_line(text, role="alert", mark="m"))
    assert line.tags == ["p"] and "".join(line.text) == text
    assert (line.attributes["role"], line.attributes["data-steer"]) == ("alert", "m")
    assert Tags(code_block(text)).tags == ["pre"] and "".join(Tags(code_block(text)).text) == text
    table = Tags(table_block(["a", text], [[text, "1"], ["b", text]], text))
    assert table.tags == ["div", "table", "caption", "tr", "th", "th", "tr", "th", "td", "tr", "th", "td"]
    assert "".join(table.text) == f"{text}a{text}{text}1b{text}"


def test_a_missing_extra_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with pytest.raises(ImportError, match=r"pip install 'steer-utils\[course\]'"):
        panels.widgets()
    assert "\n" not in panels.REMEDY


def test_a_panel_says_what_it_must_have() -> None:
    for method in (Panel().twin, Panel().alt_text, Panel().caption):
        with pytest.raises(NotImplementedError):
            method()


def test_the_status_line() -> None:
    pytest.importorskip("ipywidgets", reason="pip install 'steer-utils[course]'")
    status = StatusLine()
    status.say("took 0.2 s")
    assert Tags(status.line.value).attributes["role"] == "status" and status.text == "took 0.2 s"
    status.complain("no <b>such</b> file")
    assert Tags(status.line.value).attributes["role"] == "alert" and Tags(status.line.value).tags == ["p"]


def test_controls_wrap_instead_of_overlapping() -> None:
    module = pytest.importorskip("ipywidgets", reason="pip install 'steer-utils[course]'")
    control = aligned(module.Text(description="Query"))
    assert row(control).layout.flex_flow == "row wrap" and control.layout.min_width == "0"


def test_a_panel_keeps_its_keys() -> None:
    module = pytest.importorskip("ipywidgets", reason="pip install 'steer-utils[course]'")
    pytest.importorskip("anywidget", reason="pip install 'steer-utils[course]'")
    from steer_utils.show.widgets.panel_keys import PanelKeys

    control = module.Text()
    first, last = panel_box(control).children
    assert first is control and isinstance(last, PanelKeys)
    script = last._esm
    assert "stopPropagation" in script and "innerHTML" not in script and "http" not in script
