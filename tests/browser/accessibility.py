"""What axe finds on a page by its rules of WCAG 2.1 AA."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"], "resultTypes": ["violations"], "preload": False}


def violations(page: Page) -> list[str]:
    """What axe finds, a line a rule, with the first place."""
    import axe_playwright_python.base as axe

    page.evaluate(axe.AXE_FILE_PATH.read_text(encoding="utf-8"))
    result = page.evaluate("rules => axe.run(rules)", RULES)
    return [
        f"{hit['id']} in {len(hit['nodes'])} places, e.g. {hit['nodes'][0]['html'][:160]}: "
        f"{hit['nodes'][0]['failureSummary'].splitlines()[-1].strip()}"
        for hit in result["violations"]
    ]
