"""What a device can do: memory and capability, asked once, so that rules about devices are plain functions."""

import os
from dataclasses import dataclass
from typing import Literal

import torch

# Of a card's memory, what a plan may fill: the rest is CUDA's context, cuBLAS workspaces and fragmentation.
USABLE = 0.9
BF16_SINCE = (8, 0)  # Ampere


@dataclass(frozen=True)
class DeviceSpec:
    """What a device has: memory in bytes, CUDA compute capability, shared memory of a block in bytes (0 on the CPU)."""

    name: str
    kind: Literal["cuda", "cpu"]
    memory: int
    capability: tuple[int, int] = (0, 0)
    shared_memory: int = 0

    @property
    def usable(self) -> int:
        """Bytes that weights, optimizer and activations may take together."""
        return int(self.memory * USABLE)

    @property
    def has_bf16(self) -> bool:
        return self.kind == "cpu" or self.capability >= BF16_SINCE

    @property
    def text(self) -> str:
        """For messages: `Tesla T4 (compute capability 7.5)`."""
        return (
            self.name
            if self.kind == "cpu"
            else f"{self.name} (compute capability {'.'.join(map(str, self.capability))})"
        )


def current_device() -> torch.device:
    """The accelerator if there is one, this process's own of several, else the CPU."""
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


def device_spec(device: torch.device) -> DeviceSpec:
    """The specification of a device of this machine."""
    if device.type != "cuda":
        return DeviceSpec("cpu", "cpu", os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    properties = torch.cuda.get_device_properties(device)
    return DeviceSpec(
        properties.name,
        "cuda",
        properties.total_memory,
        (properties.major, properties.minor),
        getattr(properties, "shared_memory_per_block_optin", 0),
    )
