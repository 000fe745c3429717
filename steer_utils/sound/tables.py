"""Tables as text: columns that line up in a terminal, and Markdown for a page."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence


def text_table(cells: Sequence[Sequence[str]]) -> list[str]:
    """Rows of a table as lines of text, columns two spaces apart."""
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def markdown_table(
    heads: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: Collection[int] = ()
) -> list[str]:
    """A Markdown table, line by line. `numbers`: the columns that are aligned to the right.

    A cell is anything that `str` can write; None is a cell without content. "|" in a cell is escaped.
    """
    rule = "".join("---:|" if column in numbers else "---|" for column in range(len(heads)))
    return [_markdown_row(heads), f"|{rule}", *(_markdown_row(row) for row in rows)]


def _markdown_row(cells: Sequence[object]) -> str:
    texts = (" " if cell is None else f" {cell} ".replace("|", "\\|") for cell in cells)
    return f"|{'|'.join(texts)}|"


def markdown_parts(*parts: str | Sequence[str]) -> str:
    """Headings, paragraphs and tables (lists of lines), a blank line apart; what is empty is left out."""
    texts = (part if isinstance(part, str) else "\n".join(part) for part in parts)
    return "\n\n".join(text for text in texts if text)
