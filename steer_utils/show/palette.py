"""Every colour of figures and widgets, once. What differs in colour also differs in line style, marker or place."""

from __future__ import annotations

INK = "#1a1a1a"  # text and lines
SOFT = "#6e6e6e"  # what stands behind: other events, chance, notes
FOUND = "#0b4f8a"  # what was located
TRUE = "#b3540e"  # where it is
GRID = "#dddddd"
FILL = "#c9c9c9"  # bars and areas that are not the point
AUDIO_TINT, INSTRUCTION_TINT, TEMPLATE_TINT = "#9fc3e0", "#f1c9a5", "#ececec"  # the parts of a prompt

HEAT = "Blues"  # its lightness falls steadily, so that it can be read in grey
DARK = 0.18  # luminance up to which white text has the larger contrast on a cell

#: The player's colours on light and on dark pages, by the names that its stylesheet uses. JupyterLab's own come first.
PLAYER = {
    "ink": (f"var(--jp-ui-font-color1, {INK})", "var(--jp-ui-font-color1, #e8e8e8)"),
    "soft": ("var(--jp-ui-font-color2, #5c5c5c)", "var(--jp-ui-font-color2, #b0b0b0)"),
    "paper": ("var(--jp-layout-color0, #ffffff)", "var(--jp-layout-color0, #111111)"),
    "raised": ("var(--jp-layout-color2, #eeeeee)", "var(--jp-layout-color2, #2a2a2a)"),
    "rule": ("var(--jp-border-color1, #bdbdbd)", "var(--jp-border-color1, #555555)"),
    "found": (FOUND, "#7cc4ff"),
    "truth": (TRUE, "#ffb070"),
    "focus": ("var(--jp-brand-color1, #1565c0)", "var(--jp-brand-color1, #64b5f6)"),
}


def player_variables() -> str:
    """The stylesheet that sets the player's colours: JupyterLab's or the site's theme decides, else the system's."""
    light, dark = (
        "".join(f"  --steer-{name}: {colours[theme]};\n" for name, colours in PLAYER.items()) for theme in (0, 1)
    )
    return (
        f".steer-player {{\n{light}}}\n"
        f'[data-jp-theme-light="false"] .steer-player, [data-theme="dark"] .steer-player {{\n{dark}}}\n'
        "@media (prefers-color-scheme: dark) {\n"
        f":root:not([data-theme]) body:not([data-jp-theme-light]) .steer-player {{\n{dark}}}\n}}\n"
    )
