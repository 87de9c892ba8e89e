"""Cards that `make plan CARD=…` knows, from their makers' data sheets. Imports no torch: `make` checks CARD by it."""

import re
from dataclasses import dataclass

from battles.errors import BadInput

# What a driver shows of the memory on a data sheet: GDDR6 with error correction gives up a sixteenth for the codes
# (NVIDIA's documentation of nvidia-smi, "ECC Mode"), and the driver keeps a little of every card's for itself.
WITH_CODES, WITHOUT = 15 / 16, 0.98
# Of a data sheet's rate, what a large product of random 16-bit numbers reaches: 676 of 989 TFLOP/s on an H100, 682 to
# 788 on two H200. A T4 is held to 70 W: two of them read 70,000 tokens a minute by a model of 14 billion parameters
# (the winners of the WSDM Cup, LMSYS - Multilingual Chatbot Arena), which are 16 TFLOP/s each; of a product that is
# what reading takes of it on an H100, 0.75.
OF_PEAK, OF_PEAK_T4 = 0.7, 0.33


@dataclass(frozen=True)
class Card:
    """A card of the table.

    `memory` in bytes as the driver shows it; `shared_memory` in bytes a block (CUDA C++ Programming Guide, "Technical
    Specifications per Compute Capability"); rates in FLOP/s of dense products with fp32 sums, in 16 bits on tensor
    cores and in fp32, of which a large product reaches `of_peak`.
    """

    name: str
    memory: int
    capability: tuple[int, int]
    shared_memory: int
    rate: float
    rate_fp32: float
    of_peak: float = OF_PEAK


def _card(
    name: str,
    gib: int,
    part: float,
    capability: tuple[int, int],
    teraflops: float,
    teraflops_fp32: float,
    of_peak: float = OF_PEAK,
) -> Card:
    shared = {(7, 5): 64, (8, 0): 163, (8, 6): 99, (8, 9): 99, (9, 0): 227}[capability] * 1024
    return Card(name, int(gib * part * 2**30), capability, shared, teraflops * 1e12, teraflops_fp32 * 1e12, of_peak)


# NVIDIA's data sheets of the T4, L4, A10, A100 (SXM), H100 (SXM) and H200 (SXM) Tensor Core GPUs, which give rates with
# sparsity for all but the T4 (halved here); for the RTX 4090, the Ada GPU architecture whitepaper, appendix A.
CARDS = {
    "t4": _card("Tesla T4", 16, WITH_CODES, (7, 5), 65, 8.1, OF_PEAK_T4),
    "l4": _card("NVIDIA L4", 24, WITH_CODES, (8, 9), 121, 30.3),
    "a10": _card("NVIDIA A10", 24, WITH_CODES, (8, 6), 125, 31.2),
    "4090": _card("GeForce RTX 4090", 24, WITHOUT, (8, 9), 165.2, 82.6),
    "a100-40": _card("NVIDIA A100 40 GB", 40, WITHOUT, (8, 0), 312, 19.5),
    "a100-80": _card("NVIDIA A100 80 GB", 80, WITHOUT, (8, 0), 312, 19.5),
    "h100": _card("NVIDIA H100", 80, WITHOUT, (9, 0), 989, 67),
    "h200": _card("NVIDIA H200", 141, WITHOUT, (9, 0), 989, 67),
}


def read_card(text: str) -> tuple[Card, int]:
    """The card that CARD names, and how many of them: `a100-80`, `2xt4`. Raises BadInput for an unknown one."""
    found = re.fullmatch(r"(?:([1-9]\d?)x)?(.+)", text.strip().lower(), re.DOTALL)
    if found is None or found[2] not in CARDS:
        raise BadInput(f"CARD: {text!r} is not known; give one of {', '.join(CARDS)}, or several as 2xt4")
    return CARDS[found[2]], int(found[1] or 1)


def read_hours(text: str) -> float:
    """The hours that HOURS gives a run. Raises BadInput for anything but a positive number."""
    try:
        hours = float(text)
    except ValueError:
        hours = 0.0
    if not 0 < hours < 1e6:
        raise BadInput(f"HOURS: {text!r}; give the hours that all bases may take, such as 24")
    return hours
