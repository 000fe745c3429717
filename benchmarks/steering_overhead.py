"""What steering adds to a generated token: the later half of the blocks steered, every token of the answer.

A token's time is that from one call of the model to the next, and a run's the median of its tokens, which a busy
neighbour on the machine hardly moves. Ours is measured as `hearing.answer(steer=...)` against `hearing.answer()`, and
as `steer` around transformers' own `generate` against `generate` alone; the peers steer that same `generate`, the sum
without keeping the norm, as they all can. Two more tell what a figure is worth: `generate` once more, whose difference
is the noise, and hooks that do nothing, the least that any steering by hooks costs.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from itertools import pairwise
from typing import Any

import torch

from benchmarks.common import Options, Result, Times, interleaved, main, rounded, say, synchronise, threads, verdict
from benchmarks.peers import TransformerLens, failure, missing
from benchmarks.shapes import NEGATIVE, POSITIVE, QUESTION, audio_of, pocket, shape_of, true_width
from steer_utils.lm.models import AudioLM
from steer_utils.lm.steering import steer

CLAIM = "steering overhead under generate"
TARGET = "<= 1 % of a token at the true width"
OVER = 0.01
PEERS = ("steering-vectors", "nnsight", "transformer-lens")
LAYERS = "model.language_model.layers.{num}"  # named outright: left to itself steering-vectors finds the audio tower

Answer = Callable[[int], Any]  # so many new tokens -> token ids, or a generate output with .sequences and .logits


class Answers:
    """One audio, one question, one vector; every way to answer takes the number of new tokens."""

    def __init__(self, lm: AudioLM, seconds: float) -> None:
        self.lm = lm
        self.models = [lm.model]  # all that answer here
        samples = audio_of(lm, seconds)
        self.hearing = lm.hear(samples, sampling_rate=lm.sampling_rate)
        event = (lm.events or ("dog bark",))[0]
        self.vector = self.hearing.contrast(POSITIVE.format(event=event), NEGATIVE, prompt=QUESTION).late()
        self.directions = {block: self.vector.directions[block].to(lm.device) for block in self.vector.acting_blocks()}
        made = lm.family.inputs(lm.processor, lm.prompt(QUESTION), samples, lm.sampling_rate)
        self.inputs = {
            name: value.to(lm.device, lm.dtype if value.is_floating_point() else value.dtype)
            for name, value in made.items()
        }

    def _options(self, tokens: int) -> dict[str, Any]:
        return {
            **self.inputs,
            "max_new_tokens": tokens,
            "min_new_tokens": tokens,
            "do_sample": False,
            "return_dict_in_generate": True,
            "output_logits": True,
        }

    def plain(self, tokens: int) -> Any:
        return self.lm.model.generate(**self._options(tokens))

    def steered(self, tokens: int) -> Any:
        with steer(self.lm, self.vector, input_ids=self.inputs["input_ids"], keep_norm=False):
            return self.lm.model.generate(**self._options(tokens))

    def norm_kept(self, tokens: int) -> Any:
        with steer(self.lm, self.vector, input_ids=self.inputs["input_ids"]):
            return self.lm.model.generate(**self._options(tokens))

    def answer(self, tokens: int) -> str:
        return self._answer(tokens, steered=False)

    def answer_steered(self, tokens: int) -> str:
        return self._answer(tokens, steered=True)

    def _answer(self, tokens: int, steered: bool) -> str:
        config = self.lm.model.generation_config
        before, config.min_new_tokens = config.min_new_tokens, tokens  # an answer that ends early has no known length
        try:
            return self.hearing.answer(QUESTION, steer=self.vector if steered else None, max_new_tokens=tokens)
        finally:
            config.min_new_tokens = before

    def empty_hooks(self, tokens: int) -> Any:
        handles = [self.lm.blocks[block].register_forward_hook(lambda *_: None) for block in self.directions]
        try:
            return self.plain(tokens)
        finally:
            for handle in handles:
                handle.remove()

    # -- peers -------------------------------------------------------------------------------------------------
    def steering_vectors(self) -> Answer:
        theirs: Any = import_module("steering_vectors").SteeringVector(self.directions)

        def run(tokens: int) -> Any:
            last = {"token_indices": [-1], "min_token_index": None}  # of each call: its positions know no cache
            with theirs.apply(self.lm.model, layer_config={"decoder_block": LAYERS}, **last):
                return self.lm.model.generate(**self._options(tokens))

        return run

    def nnsight(self) -> Answer:
        traced: Any = import_module("nnsight").NNsight(self.lm.model)

        def run(tokens: int) -> Any:
            with traced.trace(fn=self.lm.model.generate, **self._options(tokens)) as tracer:
                for _step in tracer.iter[:tokens]:
                    for block, direction in self.directions.items():
                        hidden = traced.model.language_model.layers[block].output
                        hidden[:, -1] = hidden[:, -1] + direction
                made = tracer.result.save()
            return made

        return run

    def transformer_lens(self) -> Answer:
        bridge = TransformerLens(self.lm.model, self.lm.processor.tokenizer).bridge
        self.models.append(bridge.original_model)  # a twin

        def adding(direction: torch.Tensor) -> Any:
            def hook(hidden: torch.Tensor, hook: Any) -> torch.Tensor:
                hidden = hidden.clone()
                hidden[:, -1] += direction
                return hidden

            return hook

        hooks = [(f"blocks.{block}.hook_out", adding(direction)) for block, direction in self.directions.items()]

        def run(tokens: int) -> Any:
            with bridge.hooks(fwd_hooks=hooks):
                return bridge.original_model.generate(**self._options(tokens))

        return run


class TokenClock:
    """Seconds of a generated token: a model is called once a token, whoever steers it."""

    def __init__(self, models: Sequence[Any], device: str) -> None:
        self.models, self.device = models, device

    def median(self, run: Callable[[], object]) -> float:
        """Of the tokens of `run`: from each call of the model to the next, but the first, which reads the prompt."""
        began: list[float] = []

        def tick(*_: object) -> None:
            synchronise(self.device)
            began.append(time.perf_counter())

        handles = [model.register_forward_pre_hook(tick) for model in self.models]
        try:
            with torch.inference_mode():  # for all alike: it alone takes a tenth off a pocket model's token
                run()
        finally:
            for handle in handles:
                handle.remove()
        return statistics.median(after - before for before, after in pairwise(began[1:]))


def per_token(times: Mapping[str, Times], name: str, base: str) -> dict[str, float]:
    """Milliseconds a token, and what is added to `base`: the median over rounds, each against its own round."""
    pairs = zip(times[name].seconds, times[base].seconds, strict=True)
    over = Times(tuple(mine / plain - 1 for mine, plain in pairs))
    return {
        "ms": rounded(1e3 * times[name].median),
        "iqr_ms": rounded(1e3 * times[name].iqr),
        "over": rounded(over.median),
        "over_iqr": rounded(over.iqr),
    }


def case(
    lm: AudioLM, seconds: float, tokens: int, rounds: int, options: Options, peers: Sequence[str] = PEERS
) -> dict[str, Any]:
    """Every way to answer on one model, and those of the peers named."""
    task = Answers(lm, seconds)
    runs: dict[str, Answer] = {
        "generate": task.plain,
        "generate again": task.plain,
        "empty hooks": task.empty_hooks,
        "steer": task.steered,
        "steer, norm kept": task.norm_kept,
        "answer": task.answer,
        "answer, steered": task.answer_steered,
    }
    absent = missing([name for name in peers if name in PEERS])
    makers = {
        "steering-vectors": task.steering_vectors,
        "nnsight": task.nnsight,
        "transformer-lens": task.transformer_lens,
    }
    mine = task.steered(tokens)
    agree = {}
    for name, make in makers.items():
        if name in absent or name not in peers:
            continue
        try:
            run = make()
            agree[name] = _difference(mine, run(tokens))
        except Exception as error:  # another library's own failure: it goes into the table, the others go on
            absent[name] = failure(name, error)
            continue
        runs[name] = run
    clock = TokenClock(task.models, options.device)
    times = interleaved({name: lambda run=run: run(tokens) for name, run in runs.items()}, rounds, clock=clock.median)
    base = {"answer, steered": "answer", "answer": "answer"}
    return {
        **shape_of(lm),
        "steered_blocks": list(task.directions),
        "context_tokens": int(task.inputs["input_ids"].shape[1]),
        "answer_tokens": tokens,
        "contestants": {name: per_token(times, name, base.get(name, "generate")) for name in runs},
        "rounds": rounds,
        "moved": rounded(float((mine.logits[0] - task.plain(1).logits[0]).abs().max())),  # a vector that does nothing
        "agree": {name: rounded(each) for name, each in agree.items()},
        "missing": absent,
    }


def _difference(mine: Any, theirs: Any) -> float:
    """The largest difference of a logit over the answer. Raises ValueError if another token was chosen."""
    if not torch.equal(mine.sequences, theirs.sequences):
        raise ValueError("its steered answer holds other tokens than ours")
    return max(float((a - b).abs().max()) for a, b in zip(mine.logits, theirs.logits, strict=True))


def measure(options: Options) -> Result:
    cases = []
    pockets = ("pocket-qwen2-audio",) if options.smoke else ("pocket-qwen2-audio", "pocket-audio-flamingo-3")
    for name in pockets:
        say(f"steering_overhead: {name}")
        # A token of a model so narrow gains nothing from a second thread, and waiting for it varies by more than 3 %.
        with threads(1):
            cases.append(case(pocket(name, options), 8, 6 if options.smoke else 24, options.rounds(150), options))
    for family in ("qwen2_audio", "audioflamingo3"):
        say(f"steering_overhead: true width of {family}")
        lm = true_width(family, options, tower_blocks=1)
        cases.append(case(lm, 2, 6 if options.smoke else 12, options.rounds(11), options))
        del lm
    ways = ("answer, steered", "steer, norm kept")
    written = []
    for each in cases:
        over = max(each["contestants"][way]["over"] for way in ways)
        beside = ("generate again", "empty hooks", *each["agree"])
        others = ", ".join(f"{name} {100 * each['contestants'][name]['over']:+.1f}" for name in beside)
        written.append(f"{each['model']} {100 * over:+.1f} % ({others})")
    wide = [each for each in cases if not each["model"].startswith("pocket")]
    worst = max(each["contestants"][way]["over"] for each in wide for way in ways)
    return Result(
        script="steering_overhead",
        claim=CLAIM,
        target=TARGET,
        measured="; ".join(written),
        met=verdict(options, worst <= OVER),
        cases=cases,
        missing=cases[-1]["missing"],
        notes=[
            "the worst of hearing.answer and of steer around generate, with the norm kept; in brackets the noise "
            "(generate again), hooks that do nothing, and the peers, who add without keeping the norm",
            "pocket models on one thread: no target is set there, where a token takes 2.5 ms and hooks that only add "
            "and keep the norm take 2 to 4 % of it (below)",
        ],
    )


if __name__ == "__main__":
    main(measure)
