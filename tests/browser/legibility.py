"""Whether what a page shows can be read: contrast of its words, and whether anything is cut off."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Locator

LEAST_CONTRAST = 4.5  # WCAG 2.2, level AA, for text of ordinary size

# Colours are resolved by painting them, so any notation of a colour will do.
_FAINT = """(root, least) => {
  const canvas = Object.assign(document.createElement('canvas'), {width: 1, height: 1});
  const pen = canvas.getContext('2d', {willReadFrequently: true});
  const over = (colour, under) => {
    pen.globalAlpha = 1; pen.fillStyle = `rgb(${under})`; pen.fillRect(0, 0, 1, 1);
    pen.fillStyle = colour; pen.fillRect(0, 0, 1, 1);
    return [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const behind = element => {
    const chain = [];
    for (let each = element; each; each = each.parentElement) chain.unshift(getComputedStyle(each).backgroundColor);
    return chain.reduce((under, colour) => over(colour, under), [255, 255, 255]);
  };
  const luminance = rgb => {
    const [r, g, b] = rgb.map(each => each / 255)
      .map(each => each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const faint = [];
  for (const element of [root, ...root.querySelectorAll('*')]) {
    const words = [...element.childNodes].filter(node => node.nodeType === Node.TEXT_NODE)
      .map(node => node.textContent.trim()).join(' ').trim();
    if (!words || !element.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
    if (element.disabled || element.closest('[disabled]')) continue;  // WCAG leaves these out
    const paper = behind(element), ink = over(getComputedStyle(element).color, paper);
    const [a, b] = [luminance(ink), luminance(paper)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < least) faint.push(`${ratio.toFixed(1)}: ${words.slice(0, 60)} (${ink} on ${paper})`);
  }
  return faint;
}"""


def faint_words(part: Locator) -> list[str]:
    """The words of a part of the page whose contrast with what is behind them is too low, each with its ratio."""
    return part.evaluate(_FAINT, LEAST_CONTRAST)


def cut_off(part: Locator) -> list[str]:
    """What sticks out of a part of the page on either side."""
    return part.evaluate(
        """root => {
          const frame = root.getBoundingClientRect();
          return [...root.querySelectorAll('button, select, input, textarea, canvas, p, label, td')]
            .filter(each => each.checkVisibility() && getComputedStyle(each).clipPath === 'none'
              && !each.closest('.steer-scroll'))
            .map(each => [each, each.getBoundingClientRect()])
            .filter(([, box]) => box.width && (box.left < frame.left - 1 || box.right > frame.right + 1))
            .map(([each, box]) => `${each.tagName} ${each.textContent.slice(0, 40)} ${box.left}-${box.right} `
              + `in ${frame.left}-${frame.right}`);
        }"""
    )
