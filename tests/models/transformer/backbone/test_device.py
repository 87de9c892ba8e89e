"""A GPU that torch cannot use is refused with what is there, what is needed and what to type."""

from pathlib import Path

import pytest
import torch

from battles.errors import BadInput
from models.transformer.backbone import device
from models.transformer.backbone.device import DeviceSpec, check_gpu_is_used, driver_version, has_code_for
from models.transformer.planning import preflight
from tests.models.transformer.checkpoints import settings
from tests.models.transformer.configs import GEMMA_2_9B

CUDA_13 = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120"]
NVRM = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  {}  Wed Dec  6 01:01:01 UTC 2023\nGCC version:  gcc 12.3.0\n"


class Machine:
    """A machine with GPUs that torch finds no use of, in a folder."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        patch.setattr(device, "_DEVICES", folder)
        patch.setattr(device, "_DRIVER", folder / "version")
        patch.setattr(device, "_ASKED_FOR", folder / "torch")
        patch.setattr(torch.cuda, "is_available", lambda: False)
        patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        (folder / "nvidia0").touch()

    def driver(self, version: str) -> None:
        (self.folder / "version").write_text(NVRM.format(version))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("driver", "cuda", "message"),
    [
        ("535.104.05", "13.0", r"driver 535.104.05, .* CUDA 13.0, which needs driver 580 or later; .*TORCH=cu126`"),
        ("470.82.01", "13.0", r"driver 470.82.01, .* needs driver 580 .* install a driver of at least 580"),
        ("470.82.01", "12.6", r"driver 470.82.01, .* CUDA 12.6, which needs driver 525 or later"),
        ("580.65.06", None, r"driver 580.65.06, .* built for the CPU alone; type `make setup TORCH=pypi`"),
        ("550.54", None, r"driver 550.54, .* built for the CPU alone; type `make setup TORCH=cu126`"),
        (None, "13.0", r"no driver that can be read, .* install a driver of at least 580"),
        ("580.65.06", "13.0", r"driver 580.65.06, .* needs no later one; see what nvidia-smi says"),
    ],
)
def test_a_gpu_that_torch_cannot_use_is_refused(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, driver: str | None, cuda: str | None, message: str
) -> None:
    if driver is not None:
        machine.driver(driver)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    with pytest.raises(BadInput, match=rf"^TORCH: this machine has an NVIDIA GPU with {message}.*CUDA_VISIBLE_DEVICES"):
        check_gpu_is_used()


def test_a_cpu_that_was_asked_for_is_taken(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput):
        check_gpu_is_used()
    for value in ("", "-1"):
        with monkeypatch.context() as patch:
            patch.setenv("CUDA_VISIBLE_DEVICES", value)
            check_gpu_is_used()
    (machine.folder / "torch").write_text("torch==2.13.0 cu126\n")
    with pytest.raises(BadInput):
        check_gpu_is_used()
    (machine.folder / "torch").write_text("torch==2.13.0 cpu\n")
    check_gpu_is_used()
    (machine.folder / "torch").unlink()
    (machine.folder / "nvidia0").unlink()
    (machine.folder / "nvidiactl").touch()  # of the driver, not of a card
    check_gpu_is_used()


def test_a_card_that_torch_has_no_code_for_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    card = DeviceSpec("Tesla P100-PCIE-16GB", "cuda", 16 * 10**9, (6, 0), 49_152)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: CUDA_13)
    monkeypatch.setattr(device, "current_device", lambda: torch.device("cuda", 0))
    monkeypatch.setattr(device, "device_spec", lambda _: card)
    message = r"sm_75, .*none of it for this Tesla P100-PCIE-16GB \(compute capability 6.0\); .*make setup TORCH=cu126"
    with pytest.raises(BadInput, match=message):
        check_gpu_is_used()
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_60", *CUDA_13])
    check_gpu_is_used()


@pytest.mark.parametrize(
    ("capability", "expected"),
    [
        ((6, 0), False),
        ((7, 0), False),
        ((7, 5), True),
        ((8, 7), True),
        ((8, 9), True),
        ((12, 0), True),
        ((13, 1), True),
    ],
)
def test_code_runs_on_later_cards_of_its_generation(capability: tuple[int, int], expected: bool) -> None:
    assert has_code_for(capability, CUDA_13) == expected


def test_code_of_one_card_alone_runs_on_no_other() -> None:
    assert has_code_for((9, 0), ["sm_90a"])
    assert not has_code_for((9, 1), ["sm_90a", "compute_90a"])
    assert not has_code_for((8, 0), [])


def test_the_driver_is_read(machine: Machine) -> None:
    assert driver_version() is None
    machine.driver("535.104.05")
    assert driver_version() == "535.104.05"


def test_a_large_backbone_is_refused_before_its_weights_and_a_tiny_one_is_not(
    machine: Machine, checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu = torch.device("cpu")
    preflight.resolve_for_training(settings(checkpoints["llama"]), cpu)
    monkeypatch.setattr(preflight, "load_config", lambda _: GEMMA_2_9B)
    with pytest.raises(BadInput, match="TORCH: this machine has an NVIDIA GPU"):
        preflight.resolve_for_training(settings(checkpoints["gemma2"]), cpu)


@pytest.mark.parametrize(("limit", "taken"), [("max\n", False), ("1000000\n", True), (f"{2**63 - 4096}\n", False)])
def test_a_container_has_the_memory_that_it_may_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, taken: bool
) -> None:
    monkeypatch.setattr(device, "_LIMITS", (tmp_path / "none", tmp_path / "memory.max"))
    whole = device.device_spec(torch.device("cpu")).memory
    (tmp_path / "memory.max").write_text(limit)
    assert device.device_spec(torch.device("cpu")).memory == (1_000_000 if taken else whole)
