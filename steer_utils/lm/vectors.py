"""Steering vectors: one direction for each decoder block, with its algebra, its provenance and a safe file format."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from steer_utils.lm.blocks import Blocks, block_numbers, blocks_text, early, late
from steer_utils.sound.files import strict_json, whole_file

if TYPE_CHECKING:
    from steer_utils.lm.checkpoints import Checkpoint

FORMAT = "steer_utils.SteeringVector.1"


class VectorMismatchError(ValueError):
    """A steering vector does not fit the model, or another vector."""


@dataclass(frozen=True)
class Provenance:
    """Where a vector came from: written into its file, and carried through its algebra.

    A vector made of others keeps what they share; `recipe` says how it was made.
    """

    model: str | None = None
    family: str | None = None
    revision: str | None = None
    positive: str | None = None
    negative: str | None = None
    positions: str | None = None
    recipe: str = "v"
    versions: dict[str, str] = field(default_factory=dict)

    def shared(self, other: Provenance, recipe: str) -> Provenance:
        """What both have in common, under a new recipe."""
        names = ("model", "family", "revision", "positive", "negative", "positions")
        kept = {name: getattr(self, name) for name in names if getattr(self, name) == getattr(other, name)}
        return Provenance(**kept, recipe=recipe, versions=self.versions if self.versions == other.versions else {})

    def to_json(self) -> str:
        """As files hold it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: Any) -> Provenance:
        """What `to_json` wrote. Raises ValueError for anything else: the file may come from anywhere."""
        try:
            entries = strict_json(text)
            texts = {key: value for key, value in entries.items() if key != "versions"}
            versions = entries.get("versions", {})
            if unknown := sorted(set(entries) - {entry.name for entry in fields(cls)}):
                raise TypeError(f"unknown: {', '.join(unknown)[:200]}")
            if not all(isinstance(value, str | None) for value in texts.values()) or texts.get("recipe", "") is None:
                raise TypeError("its values must be text")
            if not all(isinstance(version, str) for version in versions.values()):
                raise TypeError("its versions must be text")
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"no provenance ({error})") from error
        return cls(**texts, versions=versions)


@dataclass(frozen=True, eq=False)
class SteeringVector:
    """v_l for each decoder block l: the direction that is added to the output of block l.

    `directions`: (num_blocks, hidden), float32 on the CPU. `blocks`: the active ones; rows of other blocks are zero.
    `hidden_norms`: (num_blocks,), the norm of the hidden state that each v_l came from, for `norm_ratio`.

        focus = hearing.contrast("Focus on the dog bark.", "Listen to the whole audio.")
        0.5 * focus.late()              # half as strong, in the later half of the blocks
        focus - other                   # two vectors in one

    Raises ValueError for wrong shapes, values that are not finite, or blocks that do not exist.
    """

    directions: torch.Tensor
    blocks: Blocks
    hidden_norms: torch.Tensor
    provenance: Provenance = field(default_factory=Provenance)

    __array_ufunc__ = None  # so that numpy numbers leave `number * vector` to us

    def __post_init__(self) -> None:
        directions = self.directions.detach().to("cpu", torch.float32)
        hidden_norms = self.hidden_norms.detach().to("cpu", torch.float32)
        if directions.ndim != 2 or not all(directions.shape):
            raise ValueError(f"directions must have shape (num_blocks, hidden), got {tuple(directions.shape)}")
        if hidden_norms.shape != directions.shape[:1]:
            raise ValueError(f"hidden_norms must have shape {directions.shape[:1]}, got {tuple(hidden_norms.shape)}")
        if not (torch.isfinite(directions).all() and torch.isfinite(hidden_norms).all()):
            raise ValueError("a steering vector must hold finite numbers only; found NaN or infinity")
        blocks = block_numbers(self.blocks, len(directions))
        active = torch.zeros(len(directions), dtype=torch.bool)
        active[list(blocks)] = True
        object.__setattr__(self, "blocks", blocks)
        object.__setattr__(self, "hidden_norms", hidden_norms)
        object.__setattr__(self, "directions", torch.where(active[:, None], directions, 0.0))

    def __repr__(self) -> str:
        return f"SteeringVector({self.provenance.recipe}, blocks {blocks_text(self.blocks)} of {self.num_blocks})"

    @property
    def num_blocks(self) -> int:
        """How many decoder blocks the model has."""
        return self.directions.shape[0]

    @property
    def hidden_size(self) -> int:
        """Width of the residual stream."""
        return self.directions.shape[1]

    # -- algebra -----------------------------------------------------------------------------------------------
    def __add__(self, other: SteeringVector) -> SteeringVector:
        return self._combined(other, 1.0)

    def __sub__(self, other: SteeringVector) -> SteeringVector:
        return self._combined(other, -1.0)

    def __mul__(self, factor: float) -> SteeringVector:
        if not isinstance(factor, Real):
            return NotImplemented
        recipe = f"{float(factor):g} * ({self.provenance.recipe})"
        return self._with(self.directions * float(factor), self.blocks, recipe)

    __rmul__ = __mul__

    def __truediv__(self, factor: float) -> SteeringVector:
        return self * (1.0 / factor)

    def scaled_by_block(self, factors: Iterable[float]) -> SteeringVector:
        """Each v_l times its own factor: `factors` holds one number for every block of the model, steered or not.

        Raises ValueError for another count, or for numbers that are not finite.
        """
        numbers = torch.tensor([float(factor) for factor in factors])
        if len(numbers) != self.num_blocks or not torch.isfinite(numbers).all():
            raise ValueError(f"factors must be {self.num_blocks} finite numbers, one a block, got {numbers.tolist()}")
        written = ", ".join(f"{factor:g}" for factor in numbers.tolist())
        return self._with(self.directions * numbers[:, None], self.blocks, f"[{written}] * ({self.provenance.recipe})")

    def __neg__(self) -> SteeringVector:
        return self._with(-self.directions, self.blocks, f"-({self.provenance.recipe})")

    def _combined(self, other: SteeringVector, sign: float) -> SteeringVector:
        if not isinstance(other, SteeringVector):
            return NotImplemented
        self._check_shape(other)
        recipe = f"({self.provenance.recipe}) {'+' if sign > 0 else '-'} ({other.provenance.recipe})"
        return SteeringVector(
            directions=self.directions + sign * other.directions,
            blocks=tuple(set(self.blocks) | set(other.blocks)),
            hidden_norms=0.5 * (self.hidden_norms + other.hidden_norms),
            provenance=self.provenance.shared(other.provenance, recipe),
        )

    def _with(self, directions: torch.Tensor, blocks: Iterable[int], recipe: str) -> SteeringVector:
        provenance = replace(self.provenance, recipe=recipe)
        return replace(self, directions=directions, blocks=tuple(blocks), provenance=provenance)

    def _check_shape(self, other: SteeringVector) -> None:
        if self.directions.shape != other.directions.shape:
            raise VectorMismatchError(
                f"one vector has shape {tuple(self.directions.shape)}, the other {tuple(other.directions.shape)} "
                "(blocks, hidden)"
            )

    def allclose(self, other: SteeringVector, tolerance: float = 1e-6) -> bool:
        """Whether both hold the same numbers. Raises VectorMismatchError for different shapes."""
        self._check_shape(other)
        return torch.allclose(self.directions, other.directions, rtol=tolerance, atol=tolerance)

    # -- blocks ------------------------------------------------------------------------------------------------
    def select(self, blocks: int | slice | Iterable[int]) -> SteeringVector:
        """The same vector, acting on these blocks only (of those it acts on now); -1 is the last block."""
        if isinstance(blocks, slice):
            blocks = range(self.num_blocks)[blocks]
        wanted = block_numbers(blocks if isinstance(blocks, Iterable) else [blocks], self.num_blocks)
        kept = tuple(block for block in wanted if block in self.blocks)
        if not kept:
            raise ValueError(
                f"the vector acts on blocks {blocks_text(self.blocks)}; none of {blocks_text(wanted)} is among them"
            )
        return self._with(self.directions, kept, f"({self.provenance.recipe})[{blocks_text(kept)}]")

    def late(self) -> SteeringVector:
        """The later half, blocks floor(L/2)..L-1: where the paper finds steering to work."""
        return self.select(late(self.num_blocks))

    def early(self) -> SteeringVector:
        """The earlier half, blocks 0..floor(L/2)-1."""
        return self.select(early(self.num_blocks))

    def acting_blocks(self) -> Blocks:
        """The active blocks whose direction is not zero: only these change anything."""
        return tuple(block for block in self.blocks if bool(self.directions[block].any()))

    # -- size and direction --------------------------------------------------------------------------------------
    def norms(self) -> torch.Tensor:
        """‖v_l‖ for each block, (num_blocks,); 0 where the vector is not active."""
        return self.directions.norm(dim=1)

    def norm_ratio(self) -> torch.Tensor:
        """‖v_l‖ / ‖h_l‖ for each block, (num_blocks,): near 0, steering can do little at strength 1."""
        return self.norms() / self.hidden_norms.clamp_min(torch.finfo(torch.float32).tiny)

    def cosine(self, other: SteeringVector) -> torch.Tensor:
        """Cosine of the angle between the two vectors in each block, (num_blocks,); 0 where either is zero."""
        self._check_shape(other)
        return torch.nn.functional.cosine_similarity(self.directions, other.directions, dim=1, eps=1e-12)

    def normalised(self) -> SteeringVector:
        """Length 1 in each active block (a zero direction stays zero)."""
        norms = self.norms()[:, None]
        directions = torch.where(norms > 0, self.directions / norms.clamp_min(1e-30), 0.0)
        return self._with(directions, self.blocks, f"normalised({self.provenance.recipe})")

    def random_like(self, seed: int) -> SteeringVector:
        """A random direction of the same norm in each block: the control every steering result needs."""
        noise = torch.randn(self.directions.shape, generator=torch.Generator().manual_seed(seed))
        directions = noise / noise.norm(dim=1, keepdim=True) * self.norms()[:, None]
        return self._with(directions, self.blocks, f"random({seed}) like ({self.provenance.recipe})")

    # -- fit and files -------------------------------------------------------------------------------------------
    def check_fits(self, checkpoint: Checkpoint) -> None:
        """Raise VectorMismatchError, naming both shapes, if the vector does not have the model's blocks and width.

        A vector of the right shape from the other model family is allowed (a question worth asking), with a warning.
        """
        wanted = (checkpoint.num_blocks, checkpoint.hidden_size)
        if tuple(self.directions.shape) != wanted:
            raise VectorMismatchError(
                f"the vector has shape {tuple(self.directions.shape)} (blocks, hidden), but {checkpoint.name} needs "
                f"{wanted}; make it with this model"
            )
        family = checkpoint.family.model_type
        if self.provenance.family not in (None, family):
            warnings.warn(f"this vector was made with a {self.provenance.family} model, not {family}", stacklevel=3)

    def save(self, path: str | Path) -> None:
        """Write a safetensors file with the provenance in its header. A crash leaves no half-written file."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        header = {
            "format": FORMAT,
            "blocks": json.dumps(self.blocks),
            "provenance": self.provenance.to_json(),
        }
        tensors = {"directions": self.directions.contiguous(), "hidden_norms": self.hidden_norms.contiguous()}
        with whole_file(target) as part:
            part.write_bytes(save(tensors, metadata=header))  # whose own writer hides why it failed

    @classmethod
    def load(cls, path: str | Path) -> SteeringVector:
        """Read what `save` wrote. Raises FileNotFoundError, or ValueError for any other kind of file."""
        source = Path(path)
        if not source.is_file():
            raise FileNotFoundError(f"there is no file {str(source)!r}")
        try:
            with safe_open(source, framework="pt") as file:
                header = file.metadata() or {}
                if header.get("format") != FORMAT:
                    raise ValueError(f"its header does not say that its format is {FORMAT}")
                return cls(
                    directions=file.get_tensor("directions"),
                    blocks=tuple(json.loads(header["blocks"])),
                    hidden_norms=file.get_tensor("hidden_norms"),
                    provenance=Provenance.from_json(header["provenance"]),
                )
        except (SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"{str(source)!r} is not a steering vector file (safetensors): {error}") from error
