"""Choose strength, blocks, read-out and heads for a model on development classes; a test run only reads the result.

Every candidate is read on the same scenes. Cost per query: one contrast, and one batch of strengths x block sets x 2
suffix rows. The choices of what to read (share or difference, and any run of blocks) cost nothing more, and matter
most: a model may look for the sound in one block only.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from steer_utils.lm.attention_maps import AttentionMap
from steer_utils.lm.blocks import Blocks, early, late
from steer_utils.lm.checkpoints import Checkpoint
from steer_utils.lm.costs import estimate
from steer_utils.lm.environment import library_versions
from steer_utils.lm.hearing import Hearing, Shown
from steer_utils.lm.plan import Row
from steer_utils.methods.base import Query, contrast_of, steered_attention, steered_row
from steer_utils.methods.settings import PAPER, Settings
from steer_utils.sound.files import whole_file
from steer_utils.sound.recordings import ClipBank
from steer_utils.sound.scenemaker import SceneMaker, three_event_maker
from steer_utils.sound.spans import AudioSpan, Interval, best_overlaps

STRENGTHS = (1.0, 2.0, 4.0, 8.0, 16.0)
QUESTIONS = ("Describe the sound.", "What do you hear?", "How loud is it?")  # that prompting may be asked before


#: A scene (or a picture) with what is in it: of each thing, by name, curves (..., tokens) -> overlap of their best
#: window (or box) with it (...).
Opened = tuple[Shown, Mapping[str, Callable[[np.ndarray], np.ndarray]]]


@dataclass(frozen=True)
class Candidate:
    """One way to steer and to read."""

    strength: float
    blocks: Blocks
    keep_norm: bool
    read: Literal["share", "difference"]
    read_blocks: Blocks


@dataclass(frozen=True)
class Tuned:
    """The settings chosen, and the mean overlap of every candidate on the development scenes."""

    settings: Settings
    overlaps: dict[Candidate, float]
    norm_ratio: np.ndarray  # (blocks,), mean ‖v‖/‖h‖ of the contrast


def block_sets(num_blocks: int) -> list[Blocks]:
    """Each block alone (not the last: it moves no attention), the early half, the later half, and all."""
    ranges = (early(num_blocks), late(num_blocks), range(num_blocks))
    # Few blocks make the same set twice, and the last block alone: a candidate counts once, and must be readable.
    sets = dict.fromkeys([(block,) for block in range(num_blocks - 1)] + [tuple(blocks) for blocks in ranges])
    return [blocks for blocks in sets if blocks and min(blocks) < num_blocks - 1]


def runs_of_blocks(num_blocks: int) -> list[Blocks]:
    """Every run of neighbouring blocks: n (n + 1) / 2 of them."""
    return [tuple(range(first, stop)) for first in range(num_blocks) for stop in range(first + 1, num_blocks + 1)]


def tune(
    checkpoint: Checkpoint,
    names: Sequence[str],
    *,
    start: Settings,
    scenes: int = 60,
    seed: int = 1000,
    strengths: Sequence[float] = STRENGTHS,
    prompt_questions: Sequence[str] = (),
    clips: ClipBank | None = None,
    opened: Callable[[int], Opened] | None = None,
    resume_file: Path | None = None,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Tuned:
    """Settings with the largest mean overlap on three-event scenes of the classes `names`, recordings out of `clips` or
    procedural, of 17 s at most (see `three_event_maker`); or on what `opened(0)`, `opened(1)`, ... show of them.

    The baselines get the same care: the blocks that prompting and the unsteered peak read are chosen too, and for
    prompting also the question, out of `prompt_questions` and the one that is steered; for its share, and for the
    difference of both prompts.
    `resume_file` (.safetensors) keeps sums over the finished scenes: a killed run of the same model, scenes and
    candidates goes on from there, another one starts anew.
    Raises ValueError, before any work, for fewer than three names, no scenes, no strengths, or a model of one block.
    """
    if scenes < 1 or not strengths or checkpoint.num_blocks < 2:
        raise ValueError(
            f"scenes is {scenes}, strengths {list(strengths)}, the model has {checkpoint.num_blocks} blocks; pass at "
            "least one scene and one strength, and a model with a block after the steered one"
        )
    seconds: tuple[float, float] | None = None
    if opened is None:
        maker = three_event_maker(names, checkpoint.window_seconds, clips)
        opened, seconds = partial(_heard, checkpoint, maker, seed), maker.seconds
    grid = candidates_steered(checkpoint.num_blocks, strengths)
    reads = runs_of_blocks(checkpoint.num_blocks)
    questions = list(dict.fromkeys((start.question, *prompt_questions)))
    neutral = [f"{start.negative} {question}" for question in questions]
    identity = {
        **checkpoint.identity,
        "scenes": {
            "count": scenes,
            "names": list(names),
            "seconds": seconds,
            "seed": seed,
            "recordings": clips and len(clips),
        },
        "start": asdict(start),
        "candidates": [list(strengths), questions],
        "versions": library_versions(),
    }
    sums = Sums(resume_file, json.dumps(identity))
    for index in progress(range(scenes)):
        if index < sums.finished:
            continue
        hearing, overlaps_of = opened(index)
        plain = hearing.read_rows([Row(text) for text in (start.question, *neutral)])
        unsteered, *neutral_curves = (run_curves(reading.attention, reads) for reading in plain)
        for event, overlaps in overlaps_of.items():
            positive = start.positive.format(event=event)
            vector = hearing.contrast(positive, start.negative, prompt=start.contrast_question)
            rows = [
                steered_row(replace(start, strength=strength, keep_norm=keep), vector.select(blocks))
                for strength, blocks, keep in grid
            ]
            asked = [Row(start.focus(event, question)) for question in questions]
            bases = [*neutral_curves, *[unsteered] * len(rows)]  # what each row's difference is taken from
            share, difference = row_overlaps(hearing, [*asked, *rows], bases, reads, overlaps)
            sums.add(
                shares=share[len(asked) :],
                differences=difference[len(asked) :],
                prompts=share[: len(asked)],
                prompt_differences=difference[: len(asked)],
                peaks=overlaps(unsteered),
                ratios=vector.norm_ratio().double().numpy(),
            )
        sums.finish(index)
    mean = sums.means()
    means = _candidates(grid, reads, mean["shares"], mean["differences"])
    best = max(means, key=means.__getitem__)
    prompt_means, peak_means = mean["prompts"], mean["peaks"]  # (questions, reads), (reads,)
    difference_means = mean["prompt_differences"]  # (questions, reads)
    # The same last token enters block 0 after both prompts: rounding alone differs there.
    difference_means[:, reads.index((0,))] = -1.0
    question, column = np.unravel_index(int(prompt_means.argmax()), prompt_means.shape)
    difference_question, difference_column = np.unravel_index(int(difference_means.argmax()), difference_means.shape)
    settings = replace(
        start,
        strength=best.strength,
        blocks=best.blocks,
        keep_norm=best.keep_norm,
        read=best.read,
        read_blocks=best.read_blocks,
        read_heads=None,  # heads chosen for other strengths and blocks mean nothing here
        prompt_blocks=reads[int(prompt_means[0].argmax())],
        prompt_question=questions[int(question)],
        prompt_best_blocks=reads[int(column)],
        prompt_difference_question=questions[int(difference_question)],
        prompt_difference_blocks=reads[int(difference_column)],
        peak_blocks=reads[int(peak_means.argmax())],
        chosen_on={
            "events": list(names),
            "scenes": scenes,
            "seed": seed,
            "candidates": len(means),
            "overlap": round(means[best], 4),
            "prompting": round(float(prompt_means[0].max()), 4),
            "prompting_best": round(float(prompt_means.max()), 4),
            "prompting_difference": round(float(difference_means.max()), 4),
            "unsteered": round(float(peak_means.max()), 4),
        },
    )
    return Tuned(settings, means, mean["ratios"])


def _heard(checkpoint: Checkpoint, maker: SceneMaker, seed: int, index: int) -> Opened:
    scene = maker.scene(index, seed)
    hearing = Hearing(checkpoint, scene.samples)
    return hearing, {event.name: partial(best_overlaps, span=hearing.span, truth=event.span) for event in scene.events}


def candidates_steered(num_blocks: int, strengths: Sequence[float]) -> list[tuple[float, Blocks, bool]]:
    """All ways to steer that are tried: (strength, blocks, whether the norm is kept)."""
    return list(product(strengths, block_sets(num_blocks), (True, False)))


def tuning_hours(
    checkpoint: Checkpoint,
    names: Sequence[str],
    *,
    scenes: int,
    strengths: Sequence[float],
    questions: int,
    clips: ClipBank | None = None,
) -> tuple[float, int]:
    """About how many hours `tune` takes on this machine, and how many rows it reads: from shapes (`lm.costs`), at the
    speed at which one scene is encoded here. That rows share tokens is not counted, nor is the search for windows: the
    small `pocket-qwen2-audio` took 1.6 to 2 times as long as said, on one core.

    Cost: a scene is encoded twice.
    """
    scene = three_event_maker(names, checkpoint.window_seconds, clips).scene(0, 0)
    Hearing(checkpoint, scene.samples)  # what is set up at the first use is not counted
    started = time.perf_counter()
    hearing = Hearing(checkpoint, scene.samples)
    seconds = time.perf_counter() - started
    rows = len(candidates_steered(checkpoint.num_blocks, strengths)) + questions + 2
    of_scenes = partial(
        estimate,
        checkpoint.model.config,
        dtype=checkpoint.dtype,
        queries=3,
        seconds=round(hearing.duration, 3),
        answer_tokens=0,
        head_tokens=hearing.span.first,
        suffix_tokens=len(checkpoint.tokens(PAPER.question).tail),
    )
    encoded = of_scenes(scenes=1, passes_per_query=0).forward_flops
    whole = of_scenes(scenes=scenes, passes_per_query=rows).forward_flops
    return whole / encoded * seconds / 3600, 3 * scenes * rows


class Sums:
    """Sums over queries, by name; kept in a file after each scene if there is one. `finished`: scenes in them."""

    def __init__(self, path: Path | None, identity: str) -> None:
        self.path, self.identity = path, identity
        self.finished = self.queries = 0
        self.totals: dict[str, np.ndarray] = {}
        if path is not None and path.is_file():
            self._resume(path)

    def _resume(self, path: Path) -> None:
        try:
            with safe_open(path, framework="numpy") as file:
                facts = file.metadata() or {}
                if facts.get("identity") != self.identity:
                    return
                self.totals = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, no mapping
        except SafetensorError:  # not a file of ours: it is written anew
            return
        self.finished, self.queries = int(facts["finished"]), int(facts["queries"])

    def add(self, **values: np.ndarray) -> None:
        """One query more."""
        self.totals = {name: self.totals.get(name, 0.0) + value for name, value in values.items()}
        self.queries += 1

    def finish(self, index: int) -> None:
        """Scene `index` is in."""
        self.finished = index + 1
        if self.path is None:
            return
        facts = {"identity": self.identity, "finished": str(self.finished), "queries": str(self.queries)}
        with whole_file(self.path) as part:
            save_file({name: np.ascontiguousarray(total) for name, total in self.totals.items()}, part, facts)

    def means(self) -> dict[str, np.ndarray]:
        return {name: total / self.queries for name, total in self.totals.items()}


def row_overlaps(
    hearing: Shown,
    rows: Sequence[Row],
    bases: Sequence[np.ndarray],
    reads: Sequence[Blocks],
    overlaps: Callable[[np.ndarray], np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Overlap of the best window by each run of blocks, in each row's share and in its difference from its base, both
    (rows, reads). Maps are reduced as they come: those of all candidates of a 7B take gigabytes."""
    shares, differences = [], []
    at_once = hearing.maps_at_once()
    for first in range(0, len(rows), at_once):
        part = slice(first, first + at_once)
        for reading, base in zip(hearing.read_rows(rows[part]), bases[part], strict=True):
            curves = run_curves(reading.attention, reads)
            shares.append(overlaps(curves))
            differences.append(overlaps(curves - base))
    return np.stack(shares), np.stack(differences)


def choose_vector_question(
    checkpoint: Checkpoint,
    names: Sequence[str],
    start: Settings,
    questions: Sequence[str],
    *,
    scenes: int = 8,
    seed: int = 1000,
    strengths: Sequence[float] = (1.0, 4.0),
    clips: ClipBank | None = None,
    resume_file: Path | None = None,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> tuple[Settings, dict[str, float]]:
    """`start` with the `vector_question` out of `questions` that `tune` gets furthest with, and how far each got.

    Cost: that of `tune` for each question; hence fewer strengths and scenes. `resume_file` is `tune`'s, with the
    question's number before its ending. Raises what `tune` raises, and ValueError for no questions.
    """
    if not questions:
        raise ValueError("there are no questions to choose the vector's from; pass at least one")
    reached = {}
    for number, question in enumerate(dict.fromkeys(questions)):
        tuned = tune(
            checkpoint,
            names,
            start=replace(start, vector_question=question),
            scenes=scenes,
            seed=seed,
            strengths=strengths,
            clips=clips,
            resume_file=resume_file and resume_file.with_suffix(f".{number}{resume_file.suffix}"),
            progress=progress,
        )
        reached[question] = round(max(tuned.overlaps.values()), 4)
    return replace(start, vector_question=max(reached, key=reached.__getitem__)), reached


def select_heads(
    checkpoint: Checkpoint,
    names: Sequence[str],
    settings: Settings,
    scenes: int,
    count: Sequence[int] = (1, 3, 5),
    *,
    seed: int = 1000,
    clips: ClipBank | None = None,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Settings:
    """`settings` with `read_heads` chosen by mean overlap on three-event scenes of the classes `names`, as `tune` has.

    Every head of the blocks after the first steered one is ranked by its own overlap; the best k are averaged, and the
    k of `count` with the largest overlap is taken (the smaller one in a tie; one above the number of heads is passed
    over). Ranking and k are chosen on the same scenes, so `chosen_on["heads"]["overlap"]` flatters: test on other
    classes. Cost per query: one contrast and one batch of one or two rows. Every head's curve is held until the end
    (scenes x 3 x heads x tokens, float32). Raises ValueError, before any work, for fewer than three names, no scenes, a
    steered last block, or where every count is below 1 or above the number of heads.
    """
    first = min(block % checkpoint.num_blocks for block in settings.steered_blocks(checkpoint.num_blocks)) + 1
    heads = int(checkpoint.decoder.config.num_attention_heads)
    pairs = list(product(range(first, checkpoint.num_blocks), range(heads)))
    counts = sorted(number for number in count if number <= len(pairs))
    if scenes < 1 or not counts or counts[0] < 1:
        raise ValueError(
            f"scenes is {scenes}, count {list(count)}, {len(pairs)} heads lie after the first steered block; pass at "
            "least one scene, an earlier block to steer, and a count of at least one and at most these heads"
        )
    maker = three_event_maker(names, checkpoint.window_seconds, clips)
    queries: list[tuple[np.ndarray, AudioSpan, Interval]] = []  # curves of all heads, audio tokens, truth
    for index in progress(range(scenes)):
        scene = maker.scene(index, seed)
        hearing = Hearing(checkpoint, scene.samples)
        for event in scene.events:
            vector = contrast_of(hearing, Query(event.name, event.span.duration), settings)
            share = steered_attention(hearing, vector, settings).share[first:]
            queries.append((share.mean(dim=2).flatten(0, 1).numpy(), hearing.span, event.span))
    single = np.mean([best_overlaps(curves, span, truth) for curves, span, truth in queries], axis=0)
    ranking = np.argsort(-single, kind="stable")
    means = {}
    for number in counts:
        kept = ranking[:number]
        averaged = [(curves[kept].astype(float).mean(axis=0), span, truth) for curves, span, truth in queries]
        means[number] = float(np.mean([best_overlaps(*query) for query in averaged]))
    best = max(means, key=means.__getitem__)
    chosen_on = {
        **settings.chosen_on,
        "events": list(dict.fromkeys([*settings.development_events, *names])),
        "heads": {"scenes": scenes, "seed": seed, "candidates": len(pairs), "overlap": round(means[best], 4)},
    }
    return replace(settings, read_heads=tuple(pairs[place] for place in ranking[:best]), chosen_on=chosen_on)


def _candidates(
    grid: Sequence[tuple[float, Blocks, bool]], reads: Sequence[Blocks], share: np.ndarray, difference: np.ndarray
) -> dict[Candidate, float]:
    """Mean overlaps (grid, reads) by candidate. Left out: read-outs that begin before steering can change them."""
    means = {}
    for row, (strength, blocks, keep) in enumerate(grid):
        for column, read_blocks in enumerate(reads):
            if read_blocks[0] > min(blocks):
                means[Candidate(strength, blocks, keep, "share", read_blocks)] = float(share[row, column])
                means[Candidate(strength, blocks, keep, "difference", read_blocks)] = float(difference[row, column])
    return means


def run_curves(attention: AttentionMap, reads: Sequence[Blocks]) -> np.ndarray:
    """The curve of every run of blocks, (reads, tokens): means by differences of one cumulative sum."""
    blocks = attention.share.mean(dim=(1, 2)).double().numpy()
    sums = np.concatenate([np.zeros((1, blocks.shape[1])), blocks.cumsum(axis=0)])
    return np.stack([(sums[run[-1] + 1] - sums[run[0]]) / len(run) for run in reads])
