"""Memory that training a base takes, computed from its configuration: nothing is loaded or downloaded.

    total = weights + trained x (4 + 4 + 8) + max(step, trained x 4)

- `weights`: frozen parameters and buffers, as stored. Of a matrix with n entries and r rows, NF4 with double
  quantisation takes n/2 bytes, a byte for each block of 64, 4 for each 256 blocks, and 1,092 for its tables; int8 takes
  n + 4 r bytes. The table of token embeddings and the head are never quantised.
- `trained`: parameters with a gradient, each with 4 bytes of value, 4 of gradient and 8 of AdamW's moments.
- `step`: what a micro-batch of `tokens_per_batch` tokens keeps and makes at its fullest moment (`models.simulate`), at
  `max_length` tokens a row. It is run for two and three trained layers and is linear in their number.
- `trained x 4`: AdamW's temporary square roots, when the step's memory is free again.
"""

from dataclasses import dataclass
from math import ceil
from typing import Any

from models import simulate, skeleton
from models.adapt import Model
from models.cards import Card
from models.precision import DTYPES, NF4_BLOCK, quantised_layers
from models.settings import Transformer

ABSMAX_BLOCK = 256
NF4_TABLES = 4 * (16 + 256 + 1)  # levels of a weight, levels of a block's scale, their mean
GRADIENT, MOMENTS, TEMPORARY = 4, 8, 4  # bytes per trained parameter
STACKS = (2, 3)  # numbers of trained layers that a step is run for


@dataclass(frozen=True)
class Memory:
    """Bytes by purpose; `parameters` and `trained_parameters` are counts. `rows` x `tokens` is the micro-batch."""

    parameters: int
    trained_parameters: int
    rows: int
    tokens: int
    weights: int
    trained: int
    gradients: int
    optimizer: int
    step: int

    @property
    def total(self) -> int:
        """The fullest moment of training, in bytes."""
        return self.weights + self.trained + self.gradients + self.optimizer + self.step


def estimate(settings: Transformer, config: Any, where: Card) -> Memory:
    """Memory of training with resolved settings (`models.preflight`) on a device, whether or not it fits there."""
    model = skeleton.adapted(settings, skeleton.bare(settings, config))
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    rows = min(settings.batch_size, max(1, settings.tokens_per_batch // settings.max_length))
    step = _step(settings, config, where, rows)
    return Memory(
        parameters=sum(p.numel() for p in model.parameters()),
        trained_parameters=trained,
        rows=rows,
        tokens=settings.max_length,
        weights=frozen_bytes(model, settings.quantization),
        trained=4 * trained,
        gradients=GRADIENT * trained,
        optimizer=MOMENTS * trained,
        step=max(step, TEMPORARY * trained),
    )


def frozen_bytes(model: Model, quantization: str) -> int:
    """Bytes of the frozen weights and buffers of an adapted skeleton, as quantised loading will store them."""
    packed: dict[int, Any] = {}
    if quantization != "none":
        packed = {id(m.weight): m.weight for _, m in quantised_layers(model) if not m.weight.requires_grad}
    frozen = [p for p in model.parameters() if not p.requires_grad and id(p) not in packed]
    whole = sum(t.numel() * t.element_size() for t in (*frozen, *model.buffers()))
    return whole + sum(_quantised_bytes(weight.shape[0], weight.shape[1], quantization) for weight in packed.values())


def _quantised_bytes(rows: int, columns: int, quantization: str) -> int:
    count = rows * columns
    if quantization == "int8":
        return count + 4 * rows
    blocks = ceil(count / NF4_BLOCK)
    return ceil(count / 2) + blocks + 4 * ceil(blocks / ABSMAX_BLOCK) + NF4_TABLES


def _step(settings: Transformer, config: Any, where: Card, rows: int) -> int:
    """Bytes of a micro-batch beyond weights, gradients and optimizer."""
    frozen = min(settings.frozen_layers, 1)
    # With re-entrant checkpointing (int8, `models.adapt`) frozen layers keep their input too.
    kept = config.num_hidden_layers
    if not (settings.quantization == "int8" and settings.gradient_checkpointing):
        kept -= settings.frozen_layers
    found = []
    for layers in STACKS:
        few = settings.model_copy(update={"frozen_layers": frozen})
        bare = skeleton.bare(few, config, frozen + layers)
        bare.config._attn_implementation = _stand_in(settings.attention, where)
        model = skeleton.adapted(few, bare)
        dtype = DTYPES[settings.dtype]
        found.append(simulate.step_bytes(model, settings.quantization, dtype, rows, settings.max_length))
    slope = (found[1] - found[0]) // (STACKS[1] - STACKS[0])
    return max(found[0] + slope * (kept - STACKS[0]), 0)


def _stand_in(attention: str, where: Card) -> str:
    """The simulated attention: fused kernels of cards keep no matrix of weights; the CPU's are run as they are."""
    if attention in ("flex_attention", "flash_attention_2"):
        return simulate.FLASH
    return simulate.MASKED if attention == "sdpa" and where.kind == "cuda" else attention
