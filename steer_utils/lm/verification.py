"""Whether a checkpoint does here what plain transformers does with it: run once, before any result on it is believed.

    report = verify(lm)
    print(report.text())

The same prompt goes three ways: through the untouched model, `model(**inputs)`; through the same model with
transformers' own eager attention in float32, which shows every weight; and through `Hearing`. In 16 bits the first two
differ by rounding alone. That is the measure: `Hearing` may differ from them by as much, or little more.
"""

from __future__ import annotations

import datetime
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import eager_mask
from transformers.models.qwen2.modeling_qwen2 import eager_attention_forward, repeat_kv

from steer_utils.lm.blocks import late
from steer_utils.lm.checkpoints import Checkpoint, alone, greedy, stop_tokens, until
from steer_utils.lm.environment import library_versions, usable_cores
from steer_utils.lm.hearing import Hearing, Reading
from steer_utils.lm.plan import Row
from steer_utils.lm.prefixes import moved
from steer_utils.lm.steering import Injection
from steer_utils.lm.vectors import SteeringVector
from steer_utils.sound.files import json_safe
from steer_utils.sound.scenemaker import SceneMaker
from steer_utils.sound.sounds import SOUNDS

FORMAT = "steer-utils verify 1"
OK = "OK"
CHECKS = ("layout", "numbers", "rows", "logits", "steering", "answer")
INSTRUCTION = "Describe the sound."
POSITIVE, NEGATIVE = "Focus on the bell.", "Listen to the whole audio."
ROWS = 16  # steered rows that are timed together
ANSWER_TOKENS = 16

# Distances that rounding explains. Of rows: half the sum of |difference of weights|, the mean over heads, in the worst
# block (0: equal, 1: nothing in common). Of logits: the largest difference, over the standard deviation of the logits.
_EXACT, _ROUNDED = {"rows": 1e-4, "logits": 1e-3}, {"rows": 0.01, "logits": 0.05}
_TIMES_NOISE = 3.0
_UNUSABLE = 0.2  # two ways of transformers itself may not differ by more


@dataclass
class Report:
    """What was measured of one checkpoint on one machine. `as_dict` is flat but for `versions` and `checks`.

    model             hub id, or the last part of a local folder's path; with `revision`, `family`, `dtype`, and
                      `quantisation` if there is one
    decoder           where the decoder is in the model, with its `blocks` and its width
    device            the GPU's name, or the kind of CPU and how many cores
    checks            for each of `CHECKS` "OK", what is off, or "not tried"
    row_distance      `Hearing`'s attention rows against eager attention's in float32; `row_noise`: SDPA's against those
    logit_distance    `read().logits` against `model(**inputs)`; `logit_noise`: eager attention in float32 against that
    steering_distance the same as `logit_distance`, with a vector added by a plain forward hook
    largest_qk        the largest |q·k| of each block, before it is scaled: float16 ends at 65 504
    weight_bytes      of all parameters as they are held; `peak_bytes`: most that was held (GPU), or of the process
    hear_seconds      to encode one audio of `audio_seconds`; `row_seconds`: a steered row, of 16 read together;
                      `token_seconds`: a token of one answer
    """

    model: str
    revision: str | None
    family: str
    dtype: str
    quantisation: str | None
    device: str
    date: str
    versions: dict[str, str]
    parameters: int
    decoder: str
    blocks: int
    hidden_size: int
    weight_bytes: int
    checks: dict[str, str] = field(default_factory=lambda: dict.fromkeys(CHECKS, "not tried"))
    audio_seconds: float | None = None
    audio_tokens: int | None = None
    seconds_per_token: float | None = None
    row_distance: float | None = None
    row_noise: float | None = None
    logit_distance: float | None = None
    logit_noise: float | None = None
    steering_distance: float | None = None
    largest_qk: list[float] = field(default_factory=list)
    peak_bytes: int | None = None
    hear_seconds: float | None = None
    row_seconds: float | None = None
    token_seconds: float | None = None

    @property
    def ok(self) -> bool:
        """Whether every check is."""
        return all(said.startswith(OK) for said in self.checks.values())

    def as_dict(self) -> dict[str, Any]:
        """The report as json holds it, its format first."""
        short = {name: _short(value) for name, value in asdict(self).items()}
        return dict(json_safe({"format": FORMAT, "ok": self.ok, **short}))

    def text(self) -> str:
        """The report to read."""
        dtype = self.dtype + (f" ({self.quantisation})" if self.quantisation else "")
        lines = [
            f"{self.model}: {self.family}, {dtype}, on {self.device}",
            f"  decoder at {self.decoder}, {self.blocks} blocks of width {self.hidden_size}",
            *(f"  {name:9s} {said}" for name, said in self.checks.items()),
        ]
        measured = [
            ("rows differ by", self.row_distance, f"(eager and SDPA: {self.row_noise or 0:.2g})"),
            ("logits differ by", self.logit_distance, f"(eager and SDPA: {self.logit_noise or 0:.2g})"),
            ("steered, by", self.steering_distance, "of a standard deviation"),
        ]
        lines += [f"  {what:17s} {value:.2g} {rest}" for what, value, rest in measured if value is not None]
        if self.largest_qk:
            worst = max(range(len(self.largest_qk)), key=self.largest_qk.__getitem__)
            lines.append(f"  largest |q·k|     {self.largest_qk[worst]:.4g} in block {worst}")
        peak = "" if self.peak_bytes is None else f", {self.peak_bytes / 1e9:.2f} GB at the peak"
        lines.append(f"  memory            {self.weight_bytes / 1e9:.2f} GB of weights{peak}")
        if self.hear_seconds is not None and self.row_seconds is not None and self.token_seconds is not None:
            lines.append(
                f"  seconds           {self.hear_seconds:.3g} to hear {self.audio_seconds:g} s, {self.row_seconds:.3g} "
                f"a row, {self.token_seconds:.3g} a token of an answer"
            )
        off = [name for name, said in self.checks.items() if not said.startswith(OK)]
        return "\n".join([*lines, "OK" if self.ok else f"OFF: {', '.join(off)}"])


def verify(checkpoint: Checkpoint, *, seconds: float = 5.0) -> Report:
    """Compare a checkpoint with plain transformers on one made audio of `seconds` (shorter if it hears less).

    What is off stands in the report; nothing is raised for it. Cost: six plain forwards of a short prompt, an answer of
    16 tokens twice, 18 rows. Attention is formed whole, T x T, for one block at a time. Raises ValueError for seconds
    that hold no audio.
    """
    if not seconds >= 1.0:
        raise ValueError(f"seconds is {seconds}; pass at least 1")
    report = _report(checkpoint)
    peak = _peak_bytes(checkpoint)
    samples = _audio(checkpoint, min(seconds, checkpoint.window_seconds))
    try:
        hearing = Hearing(checkpoint, samples)
    except (ValueError, RuntimeError) as error:  # CheckpointError; a processor and a tower that do not fit; no room
        report.checks["layout"] = str(error)
        return report
    report.checks["layout"] = OK
    report.audio_seconds, report.audio_tokens = hearing.duration, hearing.span.count
    report.seconds_per_token = hearing.span.seconds_per_token
    try:
        _compare(hearing, report)
    except (FloatingPointError, ValueError, RuntimeError) as error:
        report.checks["numbers" if isinstance(error, FloatingPointError) else "rows"] = str(error)
    report.peak_bytes = peak()
    return report


def _report(checkpoint: Checkpoint) -> Report:
    local = Path(checkpoint.name).expanduser()
    return Report(
        model=local.name if local.exists() else checkpoint.name,  # a path names its owner
        revision=checkpoint.revision,
        family=checkpoint.family.name,
        dtype=str(checkpoint.dtype).removeprefix("torch."),
        quantisation=checkpoint.quantisation,
        device=_device_name(checkpoint.device),
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        versions={**library_versions(), "python": platform.python_version()},
        parameters=checkpoint.model.num_parameters(),
        decoder=checkpoint.family.decoder_path,
        blocks=checkpoint.num_blocks,
        hidden_size=checkpoint.hidden_size,
        weight_bytes=sum(parameter.nbytes for parameter in checkpoint.model.parameters()),
    )


def _audio(checkpoint: Checkpoint, seconds: float) -> Any:
    """A procedural bell in faint noise, (samples,)."""
    name = "bell" if "bell" in SOUNDS else next(iter(SOUNDS))
    maker = SceneMaker((name,), seconds=seconds, events=(1, 1), event_seconds=(0.5, 0.9))
    return maker.scene(0, 0).samples


@torch.inference_mode()
def _compare(hearing: Hearing, report: Report) -> None:
    checkpoint, checks = hearing.checkpoint, report.checks
    inputs = _inputs(hearing, INSTRUCTION)
    with alone(checkpoint):
        plain = _last_logits(checkpoint, inputs)
        with _watched(checkpoint, eager=False) as sdpa:
            _last_logits(checkpoint, inputs)
        with _watched(checkpoint, eager=True) as eager:
            exact = _last_logits(checkpoint, inputs)
    report.largest_qk = [round(value, 2) for value in eager.largest]
    audio = slice(hearing.span.first, hearing.span.stop)
    formed, rounded = (torch.stack(seen.rows)[..., audio] for seen in (eager, sdpa))
    spread = float(plain.std())
    report.logit_noise = _largest(exact, plain) / spread
    report.row_noise = _row_distance(rounded, formed)
    noise = {"logits": report.logit_noise, "rows": report.row_noise}
    if not max(noise.values()) <= _UNUSABLE:  # nan is neither
        checks["numbers"] = (
            f"transformers' own two ways differ by {noise['rows']:.2g} in rows and {noise['logits']:.2g} in logits in "
            f"{report.dtype}; load the model with dtype='bfloat16', or 'float32' where there is room"
        )
        return
    checks["numbers"] = OK
    floor = _EXACT if checkpoint.dtype == torch.float32 and report.quantisation is None else _ROUNDED
    limits = {what: max(floor[what], _TIMES_NOISE * noise[what]) for what in floor}

    reading = hearing.read_rows([Row(INSTRUCTION)])[0]
    report.row_distance = _row_distance(_weights(reading), formed)
    report.logit_distance = _largest(reading.logits, plain) / spread
    checks["rows"] = _within(report.row_distance, limits["rows"], "attention rows", "eager attention")
    checks["logits"] = _within(report.logit_distance, limits["logits"], "logits", "model(**inputs)")

    vector = hearing.contrast(POSITIVE, NEGATIVE, prompt=INSTRUCTION)
    block = late(checkpoint.num_blocks)[0]
    steered = hearing.read(INSTRUCTION, steer=vector.select([block]), strength=2.0)
    with alone(checkpoint), _hooked(checkpoint, block, 2.0 * vector.directions[block]):
        by_hook = _last_logits(checkpoint, inputs)
    report.steering_distance = _largest(steered.logits, by_hook) / spread
    checks["steering"] = _within(report.steering_distance, limits["logits"], "steered logits", "a plain hook")

    tie = 2 * spread * max(report.logit_noise, report.logit_distance)
    checks["answer"], report.token_seconds = _compare_answers(hearing, inputs, tie)
    report.hear_seconds = _seconds(lambda: Hearing(checkpoint, hearing.samples))
    rows = _rows_to_time(checkpoint, vector)
    hearing.read_rows(rows)
    report.row_seconds = _seconds(lambda: hearing.read_rows(rows)) / len(rows)


def _short(value: Any) -> Any:
    """A number to four digits: more say nothing."""
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _within(distance: float, limit: float, what: str, other: str) -> str:
    return OK if distance <= limit else f"{what} differ from those of {other} by {distance:.2g}, more than {limit:.2g}"


def _compare_answers(hearing: Hearing, inputs: dict[str, torch.Tensor], tie: float) -> tuple[str, float]:
    """Whether both answers are the same, up to where two tokens are within `tie` of each other; seconds a token."""
    checkpoint = hearing.checkpoint
    tokenizer = checkpoint.processor.tokenizer
    with alone(checkpoint), greedy(checkpoint, ANSWER_TOKENS) as config:
        config.output_scores = config.return_dict_in_generate = True
        generated = checkpoint.model.generate(**inputs, generation_config=config)
    ids = until(generated.sequences[0, inputs["input_ids"].shape[1] :].tolist(), stop_tokens(checkpoint))
    expected = tokenizer.decode(ids, skip_special_tokens=True).strip()
    started = time.perf_counter()
    answer = hearing.answer(INSTRUCTION, max_new_tokens=ANSWER_TOKENS)
    seconds = (time.perf_counter() - started) / len(generated.scores)
    if answer == expected:
        return OK, seconds
    same = [n for n in range(len(ids) + 1) if answer.startswith(tokenizer.decode(ids[:n], skip_special_tokens=True))]
    step = min(max(same), len(generated.scores) - 1)
    best, second = generated.scores[step][0].float().topk(2).values.tolist()
    if best - second <= tie:
        return f"{OK} up to token {step}, where two tokens are as good as each other but for rounding", seconds
    return f"{answer!r}, where generate gives {expected!r} (they part at token {step})", seconds


def _rows_to_time(checkpoint: Checkpoint, vector: SteeringVector) -> list[Row]:
    """Rows of a usual read-out, each with its own strength."""
    blocks = vector.select(late(checkpoint.num_blocks))
    return [Row(INSTRUCTION, (Injection(blocks, 1.0 + number),)) for number in range(ROWS)]


# -- plain transformers ----------------------------------------------------------------------------------------------
def _inputs(hearing: Hearing, instruction: str) -> dict[str, torch.Tensor]:
    """What the family's processor makes of the whole prompt, on the model's device."""
    checkpoint = hearing.checkpoint
    text = checkpoint.prompt(instruction)
    inputs = checkpoint.family.inputs(checkpoint.processor, text, hearing.samples, checkpoint.sampling_rate)
    return {name: moved(value, checkpoint) for name, value in inputs.items()}


def _last_logits(checkpoint: Checkpoint, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    return checkpoint.model(**inputs).logits[0, -1].float().cpu()


@dataclass
class _Seen:
    """Of each block: the last query's weights (heads, keys), and the largest |q·k|."""

    rows: list[torch.Tensor] = field(default_factory=list)
    largest: list[float] = field(default_factory=list)


@contextmanager
def _watched(checkpoint: Checkpoint, *, eager: bool) -> Iterator[_Seen]:
    """Form the attention of every block whole, with transformers' eager formula in float32. `eager`: the model goes on
    with what that gives; otherwise with SDPA's. Afterwards as before."""
    seen = _Seen()

    def forward(
        module: nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor,
        dropout: float = 0.0,
        scaling: float | None = None,
        **options: Any,  # transformers' own attention interface: passed on untouched
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        factor = query.shape[-1] ** -0.5 if scaling is None else scaling
        mask = attention_mask.float()
        output, weights = eager_attention_forward(module, query.float(), key.float(), value.float(), mask, factor)
        products = query.float() @ repeat_kv(key.float(), query.shape[1] // key.shape[1]).transpose(2, 3)
        seen.rows.append(weights[0, :, -1].cpu())
        seen.largest.append(float(products.masked_fill(mask < 0, 0.0).abs().max()))
        if eager:
            return output.to(query.dtype), None
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **options)

    name = "steer_utils_verify"
    AttentionInterface.register(name, forward)
    AttentionMaskInterface.register(name, eager_mask)
    config = checkpoint.decoder.config
    before = config._attn_implementation
    try:
        config._attn_implementation = name
        yield seen
    finally:
        config._attn_implementation = before


@contextmanager
def _hooked(checkpoint: Checkpoint, block: int, addition: torch.Tensor) -> Iterator[None]:
    """h + addition at the last token of one block's output, scaled back to the norm of h: by hand, as a user would."""

    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        state = hidden[:, -1].float()
        changed = state + addition.to(state)
        changed = changed * (state.norm(dim=-1, keepdim=True) / changed.norm(dim=-1, keepdim=True))
        hidden = torch.cat([hidden[:, :-1], changed.to(hidden.dtype)[:, None]], dim=1)
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    handle = checkpoint.blocks[block].register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


# -- distances, machines -------------------------------------------------------------------------------------------
def _weights(reading: Reading) -> torch.Tensor:
    """Attention of the last token over the audio, (blocks, heads, tokens), softmaxed over all tokens."""
    attention = reading.attention
    return (attention.share * attention.mass[..., None])[:, :, -1]


def _row_distance(rows: torch.Tensor, others: torch.Tensor) -> float:
    """Of (blocks, heads, tokens): half the sum of differences, the mean over heads, in the worst block."""
    return float(0.5 * (rows - others).abs().sum(dim=-1).mean(dim=-1).max())


def _largest(logits: torch.Tensor, others: torch.Tensor) -> float:
    return float((logits - others).abs().max())


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {platform.machine()}, {usable_cores()} cores"


def _peak_bytes(checkpoint: Checkpoint) -> Callable[[], int | None]:
    """Begin to watch memory; call what comes back for the most that was held: on all GPUs, or by the process."""
    if checkpoint.device.type == "cuda":
        devices = range(torch.cuda.device_count())
        for device in devices:
            torch.cuda.reset_peak_memory_stats(device)
        return lambda: sum(torch.cuda.max_memory_allocated(device) for device in devices)
    return _process_peak


def _process_peak() -> int | None:
    try:
        import resource  # not on Windows
    except ImportError:
        return None
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return held if platform.system() == "Darwin" else 1024 * held
