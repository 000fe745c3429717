"""The assumptions table: what the paper states, what our sources leave open, what we declare, where it is varied.

Only the abstract of arXiv 2606.11400 and digests of it were available to us, so the column "what we declare" is ours.
What is a value there is read from `settings.PAPER` and from the code that uses it, so that the table cannot drift.

    print(assumptions_markdown())
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from steer_utils.lm.blocks import Blocks, blocks_text
from steer_utils.lm.families import FAMILIES, PAPER_FAMILIES
from steer_utils.lm.steering import Injection
from steer_utils.methods.settings import PAPER, Settings
from steer_utils.sound.scenemaker import PAPER_SECONDS
from steer_utils.sound.tables import markdown_table
from steer_utils.study.sensitivity import STRENGTHS, WIDTHS

HEADINGS = ("what", "stated by the paper", "open in our sources", "what we declare", "where it is varied")


@dataclass(frozen=True)
class Assumption:
    """A row. `factor`: the factor of the sensitivity grid in which it is varied; None: in none. `varied`: in words."""

    what: str
    stated: str
    open: str
    declared: str
    varied: str
    factor: str | None = None


def assumptions(settings: Settings = PAPER) -> tuple[Assumption, ...]:
    """Every row, declared as in `settings`."""
    return (*_method(settings), *_readout(settings), *_test())


def _method(settings: Settings) -> tuple[Assumption, ...]:
    checkpoints = ", ".join(family.checkpoint for family in map(FAMILIES.__getitem__, PAPER_FAMILIES))
    return (
        Assumption(
            "models", "Qwen2-Audio, Audio Flamingo 3", "checkpoints", checkpoints, "both, and two pocket models"
        ),
        Assumption(
            "contrast",
            "difference of activations under two instructions, the audio fixed, such as attend to the meaningful parts "
            "/ attend to the whole audio",
            "the prompts",
            f"“{settings.positive}” minus “{settings.negative}”, each before “{settings.question}”",
            "no; the model's own settings may ask another question",
        ),
        Assumption(
            "vector",
            "difference of activations",
            "token position, where in a layer, whether averaged over audios",
            "v_l = h_l(audio, p+) - h_l(audio, p-): last prompt token, output of decoder block l, per audio",
            "no; ‖v‖/‖h‖ is logged by block",
        ),
        Assumption(
            "strength λ",
            "added at inference, training-free",
            "λ",
            f"h' = h + λ v with λ = {settings.strength:g}",
            f"{_levels(STRENGTHS)}, in full against the steered blocks",
            "strength",
        ),
        Assumption(
            "steered blocks",
            "effective in the latter half of the layers",
            "which layers exactly",
            _blocks(settings.blocks, "floor(L/2) to L - 1 of L blocks"),
            "early half, later half, all, each single block but the last; in full against λ",
            "blocks",
        ),
        Assumption(
            "steered positions",
            "",
            "which tokens",
            {"last": "the last prompt token"}.get(str(Injection.positions), str(Injection.positions)),
            "all text; the event's words, where the question names it; thorough: all tokens, audio tokens",
            "positions",
        ),
        Assumption(
            "norm",
            "",
            "whether the norm is restored",
            "kept: h' is scaled back to ‖h‖" if settings.keep_norm else "free: h' is left as it is",
            "kept, free",
            "norm",
        ),
    )


def _readout(settings: Settings) -> tuple[Assumption, ...]:
    read = {"share": "the steered share itself", "difference": "Δ(t) = share steered - share unsteered"}[settings.read]
    return (
        Assumption(
            "query rows",
            "attention over audio tokens is redistributed to the relevant region",
            "which rows",
            "the last prompt token",
            "mean over the instruction's tokens, its text steered",
            "rows",
        ),
        Assumption(
            "blocks read",
            "",
            "averaging over layers",
            _blocks(settings.read_blocks, "those after the first steered"),
            "those after the first steered, each single block after it, the model's own choice",
            "read_blocks",
        ),
        Assumption("heads", "", "averaging over heads", "mean over all heads", "no; per-head selection is a method"),
        Assumption(
            "attention",
            "redistributed",
            "renormalised over the audio or not",
            "audio share (renormalised over the audio tokens) for the read-out, audio mass reported apart",
            "no; both in the attention-ratio analysis",
        ),
        Assumption(
            "read-out",
            "the window of the largest steering-induced change of attention",
            "how the change is measured",
            f"{read}; the window with its largest sum",
            "share, difference",
            "read",
        ),
        Assumption(
            "window",
            "a sliding window",
            "width, stride",
            "the width of the true event (declared an oracle), stride one audio token",
            f"{_levels(WIDTHS)} of the event's width",
            "width",
        ),
    )


def _test() -> tuple[Assumption, ...]:
    return (
        Assumption(
            "benchmark",
            "controlled clips of three events",
            "source clips, gaps, number of scenes",
            f"three clips of 5 s in {PAPER_SECONDS:g} s, gaps of 1 s; every class equally often in each slot; "
            "shorter for a pocket model",
            "no",
        ),
        Assumption(
            "overlap", "overlap with the true interval", "its definition", "|W ∩ E| / |E|", "no; IoU stands beside it"
        ),
        Assumption(
            "figures",
            "one figure a method: random 27.74 %",
            "intervals, figures per slot",
            "95 % bootstrap over scenes; per slot beside that slot's own chance",
            "no",
        ),
        Assumption(
            "probing data",
            "MMAU-mini, SAKURA; attention-ratio analysis",
            "details",
            "the same sets through loaders",
            "no",
        ),
    )


def assumptions_markdown(settings: Settings = PAPER) -> str:
    """The table as Markdown, one line a row, ending with a newline. What the paper does not state is a dash."""
    names = [field.name for field in fields(Assumption) if field.name != "factor"]
    rows = ([getattr(row, name) or "–" for name in names] for row in assumptions(settings))
    return "\n".join(markdown_table(HEADINGS, rows)) + "\n"


def _levels(numbers: tuple[float, ...]) -> str:
    return ", ".join(f"{number:g}" for number in numbers)


def _blocks(blocks: Blocks | None, default: str) -> str:
    return default if blocks is None else f"blocks {blocks_text(blocks)}"
