"""Memory needed to train a base, computed from its configuration: nothing is loaded or downloaded.

    total = process + weights + trained x (4 + 4) + optimizer + max(step, temporary)

- `process`: Python and its libraries, on the CPU.
- `weights`: frozen parameters and buffers, as stored. Of a matrix with n entries and r rows, NF4 with double
  quantisation takes n/2 bytes, a byte for each block of 64, 4 for each 256 blocks, and 1,092 for its tables; int8 takes
  n + 4 r bytes. The table of token embeddings and the head are never quantised.
- `trained`: parameters with a gradient, each with 4 bytes of value and 4 of gradient.
- `optimizer`: AdamW's two moments of each. They take 8 bytes; in 8 bits, as bitsandbytes keeps those of tensors of
  4,096 numbers and more, 2 bytes and for each block of 256 two scales of 4. Paged, those of tensors of 100,000 numbers
  and more may leave a card for the host's memory and are not counted on it; most of an adapter's tensors are smaller.
- `step`: what a micro-batch of `tokens_per_batch` tokens keeps and makes at its fullest moment
  (`planning.activations`): rows of `max_length` tokens, or one pack. It is run for two and three trained layers and is
  linear in their number.
- `temporary`: AdamW's square roots, 4 bytes each, when the step's memory is free again; the 8-bit kernels need none.

On the CPU the allocator leaves holes between freed blocks as well: `holes`, about, not in the total
(`planning.host_memory`).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil
from typing import Any

from models.transformer.backbone import meta_device
from models.transformer.backbone.adapters import Model
from models.transformer.backbone.attention import repeats_keys
from models.transformer.backbone.device import DeviceSpec
from models.transformer.backbone.packing import DECODERS, ENCODERS, pack_padding_multiple
from models.transformer.backbone.precision import DTYPES, NF4_BLOCK, quantised_layers
from models.transformer.planning import activations
from models.transformer.settings import Transformer

ABSMAX_BLOCK = 256
NF4_TABLES = 4 * (16 + 256 + 1)  # levels of a weight, levels of a block's scale, their mean
GRADIENT, MOMENTS, TEMPORARY = 4, 8, 4  # bytes per trained parameter
# Numbers in a tensor from which bitsandbytes keeps its moments in 8 bits, and pages them; numbers that share a scale.
EIGHT_BIT_SINCE, PAGED_SINCE, MOMENTS_BLOCK = 4096, 100_000, 256
FUSED = ("flex_attention", "flash_attention_2")  # they tell what must not be seen without a matrix
# What Python, torch, transformers and peft take before a model is loaded: torch 2.13 for CPUs, on Linux.
PROCESS = 600_000_000
# Holes of glibc's heap: a share of a step, and bytes, as `benchmarks.host_memory` has seen them.
HOLES, LEAST_HOLES = 0.7, 100_000_000
STACKS = (2, 3)  # numbers of trained layers that a step is run for


@dataclass(frozen=True)
class Memory:
    """Bytes by purpose; `parameters` and `trained_parameters` are counts. `rows` x `tokens` is the micro-batch.

    `packed` says that its rows are one pack of battles; `paged` moments may leave the card and are not in the total.
    `holes` is what the allocator may hold beside it, about.
    """

    parameters: int
    trained_parameters: int
    rows: int
    tokens: int
    packed: bool
    weights: int
    trained: int
    gradients: int
    optimizer: int
    paged: int
    step: int
    process: int = 0
    holes: int = 0

    @property
    def total(self) -> int:
        """The fullest moment of training, in bytes."""
        return self.process + self.weights + self.trained + self.gradients + self.optimizer + self.step

    @property
    def most(self) -> int:
        """What the process takes with the holes that the allocator leaves, in bytes."""
        return self.total + self.holes


def estimate(settings: Transformer, config: Any, spec: DeviceSpec) -> Memory:
    """Memory of training with resolved settings (`planning.preflight`) on a device, whether or not it fits there."""
    model = meta_device.adapted(settings, meta_device.bare(settings, config))
    sizes = [p.numel() for p in model.parameters() if p.requires_grad]
    trained = sum(sizes)
    moments = moments_bytes(sizes, settings.optimizer)
    paged = moments - resident_moments_bytes(sizes, settings.optimizer, spec.kind)
    multiple = pack_padding_multiple(config.model_type, settings.attention, settings)
    rows, tokens = micro_batch(settings, multiple)
    step = _step(settings, config, spec, rows, tokens, bool(multiple))
    here = spec.kind == "cpu"
    return Memory(
        parameters=sum(p.numel() for p in model.parameters()),
        trained_parameters=trained,
        rows=rows,
        tokens=tokens,
        packed=bool(multiple),
        weights=frozen_bytes(model, settings.quantization),
        trained=4 * trained,
        gradients=GRADIENT * trained,
        optimizer=moments - paged,
        paged=paged,
        step=max(step, TEMPORARY * trained if settings.optimizer == "adamw" else 0),
        process=PROCESS if here else 0,
        holes=int(HOLES * step) + LEAST_HOLES if here else 0,
    )


def moments_bytes(sizes: Iterable[int], optimizer: str) -> int:
    """Bytes of the moments of trained tensors of so many numbers each, wherever they lie."""
    total = 0
    for size in sizes:
        narrow = optimizer != "adamw" and size >= EIGHT_BIT_SINCE
        total += 2 * (size + 4 * ceil(size / MOMENTS_BLOCK)) if narrow else MOMENTS * size
    return total


def resident_moments_bytes(sizes: Iterable[int], optimizer: str, kind: str) -> int:
    """Of the moments of trained tensors, the bytes that stay on a device of this kind: paged ones may leave a card."""
    pages = optimizer == "paged_adamw_8bit" and kind == "cuda"
    return moments_bytes((size for size in sizes if not pages or size < PAGED_SINCE), optimizer)


def micro_batch(settings: Transformer, multiple: int) -> tuple[int, int]:
    """Rows and tokens of the largest micro-batch; a pack (`multiple` is not 0) is one row."""
    if multiple:
        whole = max(settings.tokens_per_batch // multiple * multiple, settings.max_length)
        return 1, ceil(min(whole, settings.batch_size * settings.max_length) / multiple) * multiple
    return min(settings.batch_size, max(1, settings.tokens_per_batch // settings.max_length)), settings.max_length


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


def _step(settings: Transformer, config: Any, spec: DeviceSpec, rows: int, tokens: int, packed: bool) -> int:
    """Bytes of a micro-batch beyond weights, gradients and optimizer.

    Without a hidden layer of the head, which reads one token of a battle: transformers' own forward reads all.
    """
    settings = settings.model_copy(update={"head": "linear"})
    # With re-entrant checkpointing (int8, `backbone.adapters`) frozen layers keep their input too.
    kept = config.num_hidden_layers
    if not (settings.quantization == "int8" and settings.gradient_checkpointing):
        kept -= settings.frozen_layers
    every = settings.checkpoint_every if settings.gradient_checkpointing else 1
    if every > 1:
        # Those that are checkpointed take what they take where all are; each of the others what it takes where none is.
        again, behind = ceil(kept / every), (kept - 1) % every
        all_again = settings.model_copy(update={"checkpoint_every": 1})
        none = all_again.model_copy(update={"gradient_checkpointing": False})
        (first, slope), (top, whole) = (_slope(s, config, spec, rows, tokens, packed) for s in (all_again, none))
        # The fullest moment is where the last checkpointed layer is recomputed, those behind it gone, or before: in the
        # backward pass of the last layer, where that is none of them.
        recomputed = first + slope * (again - STACKS[0]) + whole * (kept - again - behind)
        last = top + slope * again + whole * (kept - again - STACKS[0])
        return max(recomputed, last if behind else 0, 0)
    first, slope = _slope(settings, config, spec, rows, tokens, packed)
    return max(first + slope * (kept - STACKS[0]), 0)


def _slope(
    settings: Transformer, config: Any, spec: DeviceSpec, rows: int, tokens: int, packed: bool
) -> tuple[int, int]:
    """Bytes of a micro-batch with as few trained layers as are run, and what each further one adds."""
    frozen = min(settings.frozen_layers, 1)
    mask = _mask(settings.attention, config.model_type, packed)
    peaks = []
    for layers in STACKS:
        few = settings.model_copy(update={"frozen_layers": frozen})
        bare = meta_device.bare(few, config, frozen + layers)
        bare.config._attn_implementation = _stand_in(settings.attention, spec, mask)
        model = meta_device.adapted(few, bare)
        dtype = DTYPES[settings.dtype]
        peaks.append(activations.step_bytes(model, settings.quantization, dtype, rows, tokens, mask))
    return peaks[0], (peaks[1] - peaks[0]) // (STACKS[1] - STACKS[0])


def _mask(attention: str, kind: str, packed: bool) -> activations.Mask:
    """The attention mask that `engine.forward` makes for an architecture, or transformers of a pack's positions."""
    if attention in FUSED:
        return "none"
    if packed and kind in ENCODERS:
        return "pack"
    return "padding" if packed or kind not in DECODERS else "none"


def _stand_in(attention: str, spec: DeviceSpec, mask: activations.Mask) -> str:
    """The simulated attention: fused kernels of cards keep no matrix of weights; the CPU's are run as they are."""
    if attention in FUSED:
        return activations.FLASH
    if attention != "sdpa" or (spec.kind == "cpu" and mask != "none"):
        return attention
    if spec.kind == "cpu":
        return activations.UNMASKED
    if mask != "none":
        return activations.MASKED
    return activations.REPEATED if repeats_keys(attention, spec) else activations.FLASH
