"""What a device can do: memory and capability, asked once, so that rules about devices are plain functions."""

import os
import re
import shutil
import sysconfig
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import torch

from battles.errors import BadInput

# Of a card's memory, what a plan may fill: the rest is CUDA's context, cuBLAS workspaces and fragmentation.
USABLE = 0.9
BF16_SINCE = (8, 0)  # Ampere
# The least driver of each major version of CUDA, by its minor version compatibility (CUDA Toolkit release notes, table
# "CUDA Toolkit and Minimum Required Driver Version for CUDA Minor Version Compatibility").
LEAST_DRIVER = {12: 525, 13: 580}
# The build of torch 2.13 for drivers and cards that its build on PyPI, of CUDA 13, leaves out (pytorch/pytorch#172352
# and #190385: CUDA 12.6 still has code for Maxwell, Pascal and Volta).
OLDER = "cu126"
_DEVICES, _DRIVER = Path("/dev"), Path("/proc/driver/nvidia/version")
# The memory limit of a container, by control groups of version 2 and 1.
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
# Where the set-up notes which build of torch was asked for (stages/install.sh).
_ASKED_FOR = Path(".venv/torch")


@dataclass(frozen=True)
class DeviceSpec:
    """What a device has: memory in bytes, CUDA compute capability, shared memory of a block in bytes (0 on the CPU).

    `cannot_compile` is what its machine lacks to compile kernels for it, None where nothing is known to be lacking.
    `multiplies_bf16` says that a CPU has instructions for products of bf16 matrices (AMX or AVX512-BF16).
    """

    name: str
    kind: Literal["cuda", "cpu"]
    memory: int
    capability: tuple[int, int] = (0, 0)
    shared_memory: int = 0
    cannot_compile: str | None = None
    multiplies_bf16: bool = False

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


def check_gpu_is_used() -> None:
    """Refuses to compute a large model on the CPU of a machine whose GPU torch cannot use, or on a card that this build
    of torch has no code for (BadInput, with the command that mends it).

    torch itself says no more than that CUDA is not available. A CPU that was asked for is not refused: by an empty
    CUDA_VISIBLE_DEVICES, or by `make setup TORCH=cpu`.
    """
    cpu = "or set CUDA_VISIBLE_DEVICES= to compute on the CPU"
    if torch.cuda.is_available():
        spec, architectures = device_spec(current_device()), torch.cuda.get_arch_list()
        if not has_code_for(spec.capability, architectures):
            raise BadInput(
                f"TORCH: torch {torch.__version__} has code for {', '.join(architectures)}, none of it for this "
                f"{spec.text}; type `make setup TORCH={OLDER}`, take a later card, {cpu}"
            )
        return
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    asked_for_cpu = _ASKED_FOR.is_file() and _ASKED_FOR.read_text(encoding="utf-8").split()[-1:] == ["cpu"]
    if visible in ("", "-1") or asked_for_cpu or not any(_DEVICES.glob("nvidia[0-9]*")):
        return
    driver = driver_version()
    major = 0 if driver is None else int(driver.split(".")[0])
    build = "pypi" if major >= LEAST_DRIVER[13] else OLDER
    setup = f"type `make setup TORCH={build}`, {cpu}"
    if driver is None or major < min(LEAST_DRIVER.values()):
        setup = f"install a driver of at least {LEAST_DRIVER[13]}, then type `make setup TORCH=pypi`, {cpu}"
    found = "no driver that can be read" if driver is None else f"driver {driver}"
    said = f"TORCH: this machine has an NVIDIA GPU with {found}, which torch {torch.__version__} cannot use"
    if torch.version.cuda is None:
        raise BadInput(f"{said}, as it is built for the CPU alone; {setup}")
    least = LEAST_DRIVER.get(int(torch.version.cuda.split(".")[0]), LEAST_DRIVER[13])
    if major < least:
        raise BadInput(
            f"{said}: it is built for CUDA {torch.version.cuda}, which needs driver {least} or later; {setup}"
        )
    raise BadInput(
        f"{said}, though CUDA {torch.version.cuda} needs no later one; see what nvidia-smi says, and whether this "
        f"container was given the GPU, {cpu}"
    )


def driver_version() -> str | None:
    """The version of the NVIDIA kernel driver that runs, such as 535.104.05; None where there is none to be read."""
    if not _DRIVER.is_file():
        return None
    found = re.search(r"\b(\d{3,}\.\d+(?:\.\d+)?)\b", _DRIVER.read_text(encoding="utf-8", errors="replace"))
    return found[1] if found else None


def has_code_for(capability: tuple[int, int], architectures: list[str]) -> bool:
    """Whether kernels of these architectures (`torch.cuda.get_arch_list`) run on a card of this compute capability.

    `sm_86` runs on 8.6 and later 8.x, `compute_86` (code that the driver compiles) on every later card; `sm_90a` on 9.0
    alone (CUDA C++ Programming Guide, "Binary Compatibility" and "PTX Compatibility").
    """
    for name in architectures:
        kind, _, number = name.partition("_")
        if not (found := re.fullmatch(r"(\d+)(\d)([a-z]?)", number)):
            continue
        built = (int(found[1]), int(found[2]))
        if built == capability or (not found[3] and kind == "compute" and built <= capability):
            return True
        if not found[3] and built[0] == capability[0] and built <= capability:
            return True
    return False


def device_spec(device: torch.device) -> DeviceSpec:
    """The specification of a device of this machine."""
    if device.type != "cuda":
        return DeviceSpec("cpu", "cpu", _host_memory(), multiplies_bf16=_multiplies_bf16())
    properties = torch.cuda.get_device_properties(device)
    return DeviceSpec(
        properties.name,
        "cuda",
        properties.total_memory,
        (properties.major, properties.minor),
        getattr(properties, "shared_memory_per_block_optin", 0),
        missing_for_triton(),
    )


def _host_memory() -> int:
    """Bytes of this machine's memory, or of what a container may take of it."""
    limits = [path.read_text(encoding="ascii").strip() for path in _LIMITS if path.is_file()]
    # Where there is no limit, version 2 says "max" and version 1 a number beyond all memory.
    numbers = [int(limit) for limit in limits if limit.isdigit()]
    return min([os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *numbers])


def _multiplies_bf16() -> bool:
    if hasattr(torch.cpu, "get_capabilities"):
        has = torch.cpu.get_capabilities()
        return bool(has.get("amx_bf16", False) or has.get("avx512_bf16", False))
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()  # torch 2.10: Kaggle's image


def missing_for_triton() -> str | None:
    """What this machine lacks of what Triton needs to compile a kernel, which it does by a C compiler at run time."""
    if find_spec("triton") is None:
        return "triton"
    if not (os.environ.get("CC") or any(map(shutil.which, ("gcc", "clang", "cc")))):
        return "a C compiler (gcc or clang)"
    if not Path(sysconfig.get_paths()["include"], "Python.h").is_file():
        return f"Python.h (python{sysconfig.get_python_version()}-dev)"
    return None
