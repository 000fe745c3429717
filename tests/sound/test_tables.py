"""Tables as text. That committed pages come out unchanged is tested where they are written."""

from __future__ import annotations

from steer_utils.sound.tables import markdown_parts, markdown_table, text_table


def test_columns_are_aligned() -> None:
    assert text_table([["a", "bb", "c"], ["aaa", "b", ""]]) == ["a    bb  c", "aaa  b"]


def test_markdown_rows() -> None:
    rows = [("x", 1, 2.5), ("a|b", None, "")]
    assert markdown_table(("what", "n", "seconds"), rows, numbers=(1,)) == [
        "| what | n | seconds |",
        "|---|---:|---|",
        "| x | 1 | 2.5 |",
        "| a\\|b | |  |",
    ]
    assert markdown_table(("a", "b"), []) == ["| a | b |", "|---|---|"]


def test_parts_are_a_blank_line_apart_and_empty_ones_left_out() -> None:
    assert markdown_parts("# a", "", ["- b", "- c"], [], "d") == "# a\n\n- b\n- c\n\nd"
