"""Steering against a plain loop that recomputes everything, and what is left behind: nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from steer_utils.lm.caches import CACHE
from steer_utils.lm.models import AudioLM
from steer_utils.lm.positions import Layout, batch_layouts
from steer_utils.lm.steering import BlockEdits, Edit, Injection, as_injections, find_edits, steer, steered
from steer_utils.lm.vectors import SteeringVector, VectorMismatchError

SHORT, LONG = "Describe the sound.", "Focus on the dog bark. Is the bell high or low?"


def vector(lm: AudioLM, seed: int = 0, size: float = 6.0) -> SteeringVector:
    directions = torch.randn(lm.num_blocks, lm.hidden_size, generator=torch.Generator().manual_seed(seed))
    return SteeringVector(size * directions, tuple(range(lm.num_blocks)), torch.ones(lm.num_blocks))


#: Where the model's class does not matter.
one_family = pytest.mark.parametrize("lm", ["qwen2_audio"], indirect=True)


@pytest.fixture
def inputs(lm: AudioLM, samples: np.ndarray, full_inputs: Any) -> dict[str, Any]:
    return full_inputs(lm, (SHORT, samples))


def last_token(injections: Sequence[Injection], length: int) -> tuple[Edit, ...]:
    return find_edits(injections, Layout(length, audio=range(0)))


def logits(lm: AudioLM, inputs: dict[str, Any]) -> torch.Tensor:
    with torch.no_grad():
        return lm.model(**inputs).logits


def block_output(lm: AudioLM, inputs: dict[str, Any], block: int = 1) -> torch.Tensor:
    """What comes out of a block, (batch, tokens, width), as a hook sees it that is set now."""
    outputs: list[torch.Tensor] = []
    handle = lm.blocks[block].register_forward_hook(lambda module, args, output: outputs.append(output))
    try:
        logits(lm, inputs)
    finally:
        handle.remove()
    return outputs[0]


def naive_forward(
    lm: AudioLM, inputs: dict[str, Any], v: SteeringVector, slots: Sequence[int], keep_norm: bool
) -> torch.Tensor:
    """The oracle: no cache, a plain hook on every active block, token by token. One prompt."""

    def edit(block: int) -> Callable[..., torch.Tensor]:
        def hook(module: Any, args: Any, output: torch.Tensor) -> torch.Tensor:
            changed = output.clone()
            for slot in slots:
                h = output[0, slot]
                new = h + v.directions[block]
                changed[0, slot] = new * (h.norm() / new.norm()) if keep_norm else new
            return changed

        return hook

    handles = [lm.blocks[block].register_forward_hook(edit(block)) for block in v.blocks]
    try:
        with torch.no_grad():
            return lm.model(**inputs, use_cache=False).logits
    finally:
        for handle in handles:
            handle.remove()


def naive_answer(
    lm: AudioLM,
    inputs: dict[str, Any],
    v: SteeringVector,
    slots: Sequence[int],
    generated: bool,
    steps: int,
    norm: bool,
) -> list[int]:
    """Greedy decoding that runs the whole sequence again for every token."""
    length = inputs["input_ids"].shape[1]
    inputs = dict(inputs)
    for _ in range(steps):
        ids = inputs["input_ids"]
        touched = [*slots, *(range(length, ids.shape[1]) if generated else ())]
        scores = naive_forward(lm, inputs, v, touched, norm)[:, -1]
        scores[:, lm.processor.tokenizer.eos_token_id] = -torch.inf  # as min_new_tokens does
        following = scores.argmax(-1, keepdim=True)
        inputs["input_ids"] = torch.cat([ids, following], dim=1)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    return inputs["input_ids"][0, length:].tolist()


@pytest.mark.parametrize("keep_norm", [True, False])
@pytest.mark.parametrize("positions", ["last", "text", "audio", "all", [0, 14, 30]])
def test_generation_with_a_cache_equals_recomputing_everything(
    lm: AudioLM, inputs: dict[str, Any], positions: Any, keep_norm: bool
) -> None:
    length = inputs["input_ids"].shape[1]
    (layout,) = batch_layouts(lm, inputs["input_ids"])
    slots = {
        "last": [length - 1],
        "text": list(range(layout.audio.stop, length)),
        "audio": list(layout.audio),
        "all": list(range(length)),
    }.get(positions if isinstance(positions, str) else "", positions)
    generated = positions in ("last", "text", "all")
    v = vector(lm, size=2.0).select([1, 2])
    expected = naive_answer(lm, inputs, v, slots, generated, steps=6, norm=keep_norm)
    with steer(lm, v, positions=positions, input_ids=inputs["input_ids"], keep_norm=keep_norm):
        sequences = lm.model.generate(**inputs, do_sample=False, max_new_tokens=6, min_new_tokens=6)
        steered_logits = logits(lm, inputs)
    assert sequences[0, length:].tolist() == expected
    torch.testing.assert_close(steered_logits, naive_forward(lm, inputs, v, slots, keep_norm), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(steered_logits[:, -1], logits(lm, inputs)[:, -1], atol=0.1)


@one_family
def test_generated_tokens_are_steered_and_not_only_the_prompt(lm: AudioLM, inputs: dict[str, Any]) -> None:
    length = inputs["input_ids"].shape[1]
    v = vector(lm, seed=4)
    answers = {
        generated: naive_answer(lm, inputs, v, [length - 1], generated, steps=6, norm=True)
        for generated in (True, False)
    }
    assert answers[True] != answers[False]  # else the test above could not tell


def test_every_row_of_a_left_padded_batch(
    lm: AudioLM, samples: np.ndarray, other_samples: np.ndarray, full_inputs: Any
) -> None:
    pairs = [(SHORT, samples), (LONG, other_samples)]
    inputs = full_inputs(lm, *pairs)
    v = vector(lm).select([0, 2])
    for positions in ("last", "audio", "text", [3, 20]):
        with steer(lm, v, strength=1.5, positions=positions, input_ids=inputs["input_ids"]):
            together = logits(lm, inputs)[:, -1]
        for row, pair in enumerate(pairs):
            alone = full_inputs(lm, pair)
            with steer(lm, 1.5 * v, positions=positions, input_ids=alone["input_ids"]):
                torch.testing.assert_close(together[row], logits(lm, alone)[0, -1], atol=1e-4, rtol=1e-4)
            assert not torch.allclose(together[row], logits(lm, alone)[0, -1], atol=1e-2)


def padded(lm: AudioLM, inputs: dict[str, Any], left: int, right: int, token: int | None = None) -> dict[str, Any]:
    """The same batch with so many slots of padding more on both sides."""
    wider = dict(inputs)
    for name, fill in (
        ("input_ids", lm.processor.tokenizer.pad_token_id if token is None else token),
        ("attention_mask", 0),
    ):
        wider[name] = torch.nn.functional.pad(inputs[name], (left, right), value=fill)
    return wider


@pytest.mark.parametrize("sides", [(0, 3), (2, 1)])
@pytest.mark.parametrize("positions", ["last", "text", "all", "audio", [3, 20]])
def test_padding_on_the_right_is_not_steered(
    lm: AudioLM, inputs: dict[str, Any], positions: Any, sides: tuple[int, int]
) -> None:
    """The prompt's own tokens come out as they do without padding, which is left as it was."""
    left, right = sides
    wider, length = padded(lm, inputs, left, right), inputs["input_ids"].shape[1]
    v = vector(lm).select([0, 2])
    with steer(lm, v, positions=positions, input_ids=inputs["input_ids"]):
        alone = logits(lm, inputs)
    with steer(lm, v, positions=positions, input_ids=wider["input_ids"]):
        steered_batch = logits(lm, wider)
    torch.testing.assert_close(steered_batch[:, left : left + length], alone, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(alone[:, -1], logits(lm, inputs)[:, -1], atol=1e-2)


@one_family
def test_a_mask_says_what_is_padding_where_the_token_does_not(lm: AudioLM, inputs: dict[str, Any]) -> None:
    """Some checkpoints pad with the token that ends a turn."""
    end = lm.processor.tokenizer.eos_token_id
    wider, length = padded(lm, inputs, 0, 2, end), inputs["input_ids"].shape[1]
    assert [layout.padding for layout in batch_layouts(lm, wider["input_ids"])] == [frozenset()]
    (layout,) = batch_layouts(lm, wider["input_ids"], wider["attention_mask"])
    assert layout.padding == {length, length + 1}
    v = vector(lm)
    with steer(lm, v, input_ids=inputs["input_ids"]):
        alone = logits(lm, inputs)
    with steer(lm, v, input_ids=wider["input_ids"], attention_mask=wider["attention_mask"]):
        torch.testing.assert_close(logits(lm, wider)[:, :length], alone, atol=1e-4, rtol=1e-4)


@one_family
def test_a_prompt_length_cannot_stand_for_a_batch_padded_on_the_right(
    lm: AudioLM, inputs: dict[str, Any], hook_count: Callable[..., int]
) -> None:
    wider, before = padded(lm, inputs, 0, 3), hook_count(lm)
    with (
        pytest.raises(ValueError, match="padded on the right; pass its input_ids"),
        steer(lm, vector(lm), prompt_length=wider["input_ids"].shape[1]),
    ):
        logits(lm, wider)
    assert hook_count(lm) == before


@one_family
def test_a_prompt_length_is_enough_for_the_last_token(
    lm: AudioLM, samples: np.ndarray, other_samples: np.ndarray, full_inputs: Any
) -> None:
    inputs = full_inputs(lm, (SHORT, samples), (LONG, other_samples))
    v, options = vector(lm), {"do_sample": False, "max_new_tokens": 4}
    with steer(lm, v, input_ids=inputs["input_ids"]):
        expected = lm.model.generate(**inputs, **options)
    with steer(lm, v, prompt_length=inputs["input_ids"].shape[1]):
        assert torch.equal(lm.model.generate(**inputs, **options), expected)
    assert not torch.equal(lm.model.generate(**inputs, **options), expected)


@one_family
def test_rows_may_differ(lm: AudioLM, samples: np.ndarray, other_samples: np.ndarray, full_inputs: Any) -> None:
    inputs = full_inputs(lm, (SHORT, samples), (SHORT, other_samples))
    length = inputs["input_ids"].shape[1]
    plain = logits(lm, inputs)
    v, w = vector(lm, 0), vector(lm, 1).select([3])
    edits = last_token([Injection(v), Injection(w, -2.0, [length - 1])], length)
    assert [edit.generated for edit in edits] == [True, False]
    with steered(lm, [[], edits], [True, False], length):
        mixed = logits(lm, inputs)
    assert torch.equal(mixed[0], plain[0])
    with steer(lm, [v, -2 * w], input_ids=inputs["input_ids"], keep_norm=False):
        torch.testing.assert_close(mixed[1], logits(lm, inputs)[1])
    assert not torch.allclose(mixed[1], plain[1], atol=1e-2)


@one_family
def test_two_vectors_are_their_sum(lm: AudioLM, inputs: dict[str, Any]) -> None:
    v, w = vector(lm, 0).select([0, 1]), vector(lm, 1).select([1, 3])
    with steer(lm, [Injection(v, 2.0), Injection(w, -0.5)], input_ids=inputs["input_ids"]):
        both = logits(lm, inputs)
    with steer(lm, 2 * v - 0.5 * w, input_ids=inputs["input_ids"]):
        torch.testing.assert_close(both, logits(lm, inputs), atol=1e-5, rtol=1e-5)


@one_family
@pytest.mark.parametrize("keep_norm", [True, False])
def test_the_norm_is_kept_or_not(lm: AudioLM, inputs: dict[str, Any], keep_norm: bool) -> None:
    v = vector(lm, size=20.0).select([1])
    with steer(lm, v, input_ids=inputs["input_ids"], keep_norm=keep_norm):
        after = block_output(lm, inputs)
    before = block_output(lm, inputs)
    assert torch.equal(after[:, :-1], before[:, :-1])
    added = before[0, -1] + v.directions[1]
    if keep_norm:
        torch.testing.assert_close(after[0, -1].norm(), before[0, -1].norm())
        torch.testing.assert_close(torch.cosine_similarity(after[0, -1], added, dim=0), torch.tensor(1.0))
    else:
        torch.testing.assert_close(after[0, -1], added)


@one_family
@pytest.mark.parametrize("keep_norm", [True, False])
@pytest.mark.parametrize("rule", ["add", "vista"])
def test_what_does_nothing_changes_no_bit(
    lm: AudioLM, inputs: dict[str, Any], rule: Any, keep_norm: bool, hook_count: Callable[..., int]
) -> None:
    plain, hooks, v = logits(lm, inputs), hook_count(lm), vector(lm)
    for nothing in (Injection(v, 0.0, rule=rule), Injection(0 * v, rule=rule), Injection(v - v, 3.0, rule=rule)):
        with steer(lm, nothing, input_ids=inputs["input_ids"], keep_norm=keep_norm):
            assert hook_count(lm) == hooks
            assert torch.equal(logits(lm, inputs), plain)
    with steer(lm, Injection(v, rule=rule), prompt_length=10_000, keep_norm=keep_norm):  # no token of this prompt
        assert hook_count(lm) == hooks + 5  # four blocks, and the check of the padding
        assert torch.equal(logits(lm, inputs), plain)


# VISTA's rule ---------------------------------------------------------------------------------------------------------


def vista_by_hand(h: torch.Tensor, v: torch.Tensor, strength: float) -> torch.Tensor:
    """x' = ‖x‖ norm(norm(x) + λ (1 + max(0, cos(x, -v))) norm(v)), as arXiv 2502.03628 writes it."""
    unit, towards = h / h.norm(), float(h @ -v / h.norm() / v.norm())
    changed = unit + strength * (1 + max(0.0, towards)) * v / v.norm()
    return h.norm() * changed / changed.norm()


@one_family
@pytest.mark.parametrize("strength", [0.17, 2.0, -1.0])
@pytest.mark.parametrize("side", ["opposed", "alike"])
def test_vista_equals_its_formula(lm: AudioLM, inputs: dict[str, Any], strength: float, side: str) -> None:
    def steered_output(vector: SteeringVector, keep_norm: bool = True) -> torch.Tensor:
        injection = Injection(vector, strength, rule="vista")
        with steer(lm, injection, input_ids=inputs["input_ids"], keep_norm=keep_norm):
            return block_output(lm, inputs)

    before, v = block_output(lm, inputs), vector(lm).select([1])
    h = before[0, -1]
    if (float(h @ v.directions[1]) > 0) != (side == "alike"):
        v = -v
    for size in (1.0, 30.0):  # the length of v has no say
        after = steered_output(size * v)
        assert torch.equal(after[:, :-1], before[:, :-1])
        torch.testing.assert_close(after[0, -1], vista_by_hand(h, v.directions[1], strength), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(after[0, -1].norm(), h.norm())
        assert not torch.allclose(after[0, -1], h, atol=1e-2)
    assert abs(steered_output(v, keep_norm=False)[0, -1].norm() - h.norm()) > 1e-3  # the switch is still a switch


@one_family
def test_rows_of_one_batch_may_differ_in_rule(
    lm: AudioLM, samples: np.ndarray, other_samples: np.ndarray, full_inputs: Any
) -> None:
    inputs = full_inputs(lm, (SHORT, samples), (SHORT, other_samples), (SHORT, samples))
    length = inputs["input_ids"].shape[1]
    v, w = vector(lm, 0), vector(lm, 1).select([0, 2])
    given = [
        [Injection(v, 0.5, rule="vista")],
        [Injection(v, 0.5), Injection(w, 2.0, rule="vista")],
        [Injection(v, 0.5)],
    ]
    rows = [last_token(injections, length) for injections in given]
    with steered(lm, rows, [True] * 3, length):
        together = logits(lm, inputs)[:, -1]
    for row, edits in enumerate(rows):
        alone = {name: value[row : row + 1] for name, value in inputs.items()}
        with steered(lm, [edits], [True], length):
            torch.testing.assert_close(together[row], logits(lm, alone)[0, -1], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(together[0], together[2], atol=1e-2)  # the rule matters
    one = {name: value[1:2] for name, value in inputs.items()}
    with steered(lm, [rows[1][:1]], [True], length):
        assert not torch.allclose(together[1], logits(lm, one)[0, -1], atol=1e-2)  # and both edits act


@one_family
def test_vista_steers_generated_tokens(lm: AudioLM, inputs: dict[str, Any]) -> None:
    length = inputs["input_ids"].shape[1]
    v, options = vector(lm).select([1, 2]), {"do_sample": False, "max_new_tokens": 4, "min_new_tokens": 4}
    with steer(lm, Injection(v, 1.5, rule="vista"), input_ids=inputs["input_ids"]):
        sequences = lm.model.generate(**inputs, **options)
    (again,) = sequences[:, :-1]
    whole = {**inputs, "input_ids": again[None], "attention_mask": torch.ones(1, len(again), dtype=torch.long)}
    slots = list(range(length - 1, len(again)))
    with steer(lm, Injection(v, 1.5, slots, rule="vista"), input_ids=whole["input_ids"]):
        scores = logits(lm, whole)[0, length - 1 :]
    scores[:, lm.processor.tokenizer.eos_token_id] = -torch.inf  # as min_new_tokens does
    assert scores.argmax(-1).tolist() == sequences[0, length:].tolist()


@one_family
@pytest.mark.parametrize("rule", ["add", "vista"])
def test_no_trace_is_left(lm: AudioLM, inputs: dict[str, Any], rule: Any, hook_count: Callable[..., int]) -> None:
    plain, hooks, names = logits(lm, inputs), hook_count(lm), set(lm.model.state_dict())
    foreign = lm.blocks[0].register_forward_hook(lambda module, args, output: None)
    injection = Injection(vector(lm), rule=rule)
    with pytest.raises(RuntimeError, match="inside"), steer(lm, injection, input_ids=inputs["input_ids"]):
        assert hook_count(lm) == hooks + 1 + 4
        assert not torch.equal(logits(lm, inputs), plain)
        raise RuntimeError("inside")
    assert hook_count(lm) == hooks + 1  # the hook of somebody else is still there
    foreign.remove()
    assert torch.equal(logits(lm, inputs), plain)
    assert set(lm.model.state_dict()) == names


@one_family
def test_the_block_output_itself_is_not_edited(lm: AudioLM, inputs: dict[str, Any]) -> None:
    """A hook that was there first, and kept the block's output, still holds what the block computed."""
    outputs: list[torch.Tensor] = []
    handle = lm.blocks[1].register_forward_hook(lambda module, args, output: outputs.append(output))
    try:
        logits(lm, inputs)
        with steer(lm, vector(lm).select(1), positions="all", input_ids=inputs["input_ids"]):
            logits(lm, inputs)
    finally:
        handle.remove()
    assert torch.equal(outputs[0], outputs[1])


@one_family
def test_only_touched_blocks_are_hooked(lm: AudioLM, hook_count: Callable[..., int]) -> None:
    before = hook_count(lm)
    with steer(lm, vector(lm).select([1, 3]), input_ids=torch.tensor([[5, 6, 7]])):
        assert hook_count(lm) == before + 2
        assert not lm.blocks[0]._forward_hooks or len(lm.blocks[1]._forward_hooks) > len(lm.blocks[0]._forward_hooks)


@one_family
def test_a_bad_vector_late_in_a_list_leaks_no_hook(lm: AudioLM, hook_count: Callable[..., int]) -> None:
    before = hook_count(lm)
    bad = SteeringVector(torch.ones(4, 5), (0,), torch.ones(4))
    with (
        pytest.raises(VectorMismatchError, match=r"\(4, 5\).*\(4, 48\)"),
        steer(lm, [vector(lm), vector(lm, 1), bad], prompt_length=4),
    ):
        pass
    assert hook_count(lm) == before


@one_family
def test_what_is_refused(lm: AudioLM, inputs: dict[str, Any]) -> None:
    v = vector(lm)
    with pytest.raises(ValueError, match="either input_ids or prompt_length"), steer(lm, v):
        pass
    with pytest.raises(ValueError, match="where the audio is"), steer(lm, v, positions="audio", prompt_length=9):
        pass
    with (
        pytest.raises(ValueError, match="unknown positions 'lats'"),
        steer(lm, v, positions="lats", prompt_length=9),  # type: ignore[arg-type]
    ):
        pass
    with (
        pytest.raises(ValueError, match="one audio token"),
        steer(lm, v, input_ids=torch.tensor([[1, lm.audio_token_id, 2]])),
    ):
        pass
    ids = inputs["input_ids"]
    for mask, message in ((ids[:, 1:], "attention_mask has shape"), (torch.zeros_like(ids), "nothing but padding")):
        with pytest.raises(ValueError, match=message), steer(lm, v, input_ids=ids, attention_mask=mask):
            pass
    with pytest.raises(ValueError, match="pass both"), steer(lm, v, prompt_length=9, attention_mask=ids):
        pass
    with pytest.raises(ValueError, match="finite"):
        Injection(v, float("nan"))
    with pytest.raises(ValueError, match="unknown rule 'VISTA'; pass one of add, vista"):
        Injection(v, rule="VISTA")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="SteeringVector, got Tensor"):
        Injection(v.directions)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="got str"):
        as_injections(["v"])  # type: ignore[list-item]
    ids, three = inputs["input_ids"], {name: torch.cat([value] * 3) for name, value in inputs.items()}
    with (
        pytest.raises(ValueError, match="2 rows are steered, but the batch has 3"),
        steer(lm, v, input_ids=torch.cat([ids, ids])),
    ):
        logits(lm, three)


# What one block adds --------------------------------------------------------------------------------------------------


class Behind:
    """A cache that has taken more tokens than the prompts of these tests have."""

    def get_seq_length(self, block: int) -> int:
        return 9


def block_edits(directions: torch.Tensor, strengths: torch.Tensor, keep_norm: list[bool]) -> BlockEdits:
    """Layers of edits, (layers, rows, width) and (layers, rows), of a prompt of six tokens in a model of one block.

    They steer all tokens, but for those of the third layer, which leave generated ones alone.
    """
    rows: list[list[Edit]] = [[] for _ in keep_norm]
    for layer, (vectors, factors) in enumerate(zip(directions, strengths, strict=True)):
        for row, (v, strength) in enumerate(zip(vectors, factors.tolist(), strict=True)):
            one = SteeringVector(v[None], (0,), torch.ones(1))
            rows[row] += find_edits([Injection(one, strength, range(6) if layer == 2 else "all")], Layout(6, range(0)))
    return BlockEdits(0, rows, keep_norm, 6)


@pytest.mark.parametrize("rows", [1, 3])
def test_what_is_known_beforehand_of_generated_tokens_is_what_the_general_way_adds(rows: int) -> None:
    generator = torch.Generator().manual_seed(rows)
    directions = torch.randn(3, rows, 8, generator=generator)
    strengths = torch.tensor([[0.5, 0.0, -2.0], [1.0, 0.0, 0.0], [3.0, 4.0, 5.0]])[:, :rows]
    hook, general = (block_edits(directions, strengths, [True, False, False][:rows]) for _ in range(2))
    general.generated = None
    hidden = torch.randn(3, 1, 8, generator=generator)  # one row given steers all rows of a batch
    before = hidden.clone()
    changed, expected = (edits(torch.nn.Identity(), (), {CACHE: Behind()}, hidden) for edits in (hook, general))
    assert torch.equal(hidden, before)
    torch.testing.assert_close(changed, expected)
    if rows == 3:
        assert torch.equal(changed[1], hidden[1])  # the second row's only edit is not for generated tokens


def test_a_gradient_flows_through_a_generated_token() -> None:
    hook = block_edits(torch.tensor([[[1.0, -2.0, 0.5]]]), torch.tensor([[2.0]]), [True])
    hidden = torch.tensor([[[0.3, 1.0, -0.7]]])

    def changed(states: torch.Tensor) -> torch.Tensor:
        return hook(torch.nn.Identity(), (), {CACHE: Behind()}, states)

    torch.testing.assert_close(changed(hidden.clone().requires_grad_()).detach(), changed(hidden))
    assert torch.autograd.gradcheck(changed, hidden.double().requires_grad_(), eps=1e-3, atol=1e-3)
