"""Where the projector starts: an audio token says, as well as a linear map can, the name of what sounds there.

A pretrained language model reads embeddings of words. A ridge regression from the tower's states onto the mean
embedding of each event's name gives the projector a start in its language, which it would otherwise have to find.
The labels used are those that the tower learnt from: events of each audio token. The decoder sees none of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn import functional

from steer_utils.pocket.architecture import TOKENS_PER_SECOND
from steer_utils.pocket.corpus import HeardScenes

QUIET = "silence"  # what an audio token without an event says
RIDGE = 1e-2  # in units of the standardised states' variance


@torch.no_grad()
def start_projector(model: Any, tokenizer: Any, heard: HeardScenes, count: int, seed: int) -> float:
    """Set the projector's weights from the first `count` scenes; the share of variance explained (R²) there.

    A projector of one layer is the regression itself. In one of two layers the first is drawn at random and the second
    regresses on what comes out of it.
    """
    projector = model.model.multi_modal_projector
    device = projector.parameters().__next__().device
    count = min(count, len(heard.scenes))
    states = torch.cat([heard.states[i, : heard.tokens[i]].to(device, torch.float32) for i in range(count)])
    targets = _targets(model, tokenizer, heard, count).to(device)
    mean, deviation = states.mean(dim=0), states.std(dim=0) + 1e-6
    if hasattr(projector, "linear"):
        last, features = projector.linear, states
    else:
        first, last = projector.linear_1, projector.linear_2
        draws = torch.randn(first.weight.shape, generator=torch.Generator().manual_seed(seed)).to(device)
        weight = draws / (states.shape[1] ** 0.5 * deviation)
        first.weight.copy_(weight)
        first.bias.copy_(
            torch.randn(len(first.bias), generator=torch.Generator().manual_seed(seed + 1)).to(device) * 0.5
            - weight @ mean
        )
        features = projector.act(first(states))
        mean, deviation = features.mean(dim=0), features.std(dim=0) + 1e-6
    standard = torch.cat([(features - mean) / deviation, torch.ones(len(features), 1, device=device)], dim=1).double()
    gram = standard.mT @ standard / len(standard) + RIDGE * torch.eye(standard.shape[1], device=device).double()
    solved = torch.linalg.solve(gram, standard.mT @ targets.double() / len(standard))
    residual = (targets - (standard @ solved).float()).square().sum()
    explained = 1 - residual / (targets - targets.mean(dim=0)).square().sum()
    weight = (solved[:-1].float() / deviation[:, None]).mT
    last.weight.copy_(weight)
    last.bias.copy_(solved[-1].float() - weight @ mean)
    return float(explained)


def _targets(model: Any, tokenizer: Any, heard: HeardScenes, count: int) -> torch.Tensor:
    """For each audio token of the first scenes, the mean embedding of its event's name, (tokens, width)."""
    embeddings = model.get_input_embeddings().weight.float()
    names = sorted({event.name for scene in heard.scenes[:count] for event in scene.events})
    ids = [tokenizer(f" {name}", add_special_tokens=False).input_ids for name in (QUIET, *names)]
    table = torch.stack([embeddings[row].mean(dim=0) for row in ids])
    row_of = {name: row for row, name in enumerate(names, start=1)}
    said = []
    for scene, tokens in zip(heard.scenes[:count], heard.tokens[:count], strict=True):
        centers, rows = (np.arange(tokens) + 0.5) / TOKENS_PER_SECOND, np.zeros(tokens, int)
        for event in scene.events:
            rows[(centers >= event.span.start) & (centers < event.span.end)] = row_of[event.name]
        said.append(rows)
    return functional.embedding(torch.from_numpy(np.concatenate(said)).to(table.device), table)
