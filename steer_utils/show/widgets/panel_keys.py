"""PanelKeys: an empty widget that makes the controls of its box usable by keyboard and screen reader in JupyterLab.

Put it into a VBox: keys pressed in a control of that box stay with it (JupyterLab else takes them for commands on
cells: an arrow key in a list selects the next cell), and its sliders get names.
"""

from __future__ import annotations

from pathlib import Path

try:
    import anywidget
except ImportError as error:
    raise ImportError("the explorers need anywidget: pip install 'steer-utils[course]'") from error


class PanelKeys(anywidget.AnyWidget):
    """Nothing to see; see the head of this module."""

    _esm = Path(__file__).parent / "static" / "panel.js"

    def __init__(self) -> None:
        super().__init__()
        # Out of sight, but in the page: its script finds the box from where it lies.
        self.layout.height = self.layout.margin = "0"
        self.layout.overflow = "hidden"

    def __repr__(self) -> str:
        return "PanelKeys()"
