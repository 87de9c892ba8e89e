import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from battles.errors import BadInput
from models.transformer.engine import distributed
from tests.models.transformer.checkpoints import settings
from tests.models.transformer.engine.two_processes import CASES, CHECKPOINTS, work


@pytest.fixture(scope="module")
def jointly(checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """What two real processes, joined by gloo, come to."""
    out = tmp_path_factory.mktemp("processes") / "found.npz"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    words = ["tests.models.transformer.engine.two_processes", str(checkpoints["llama"].parent), str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([*launch, *words], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "out of memory with" in done.stdout
    return dict(np.load(out))


@pytest.mark.parametrize("case", [*CASES, "out of memory"])
def test_two_processes_come_to_what_one_comes_to(
    checkpoints: dict[str, Path], jointly: dict[str, np.ndarray], case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.nn.Dropout, "forward", torch.nn.Dropout.forward)  # put back afterwards
    name = CHECKPOINTS.get(case, case)
    alone = work(settings(checkpoints[name], **CASES.get(case, CASES[name])))
    found = {part: jointly[f"{case}/{part}"] for part in alone}
    # Batches of other shapes sum in another order. Amplified adapters beside NF4 weights give logits of size 10, and
    # 1.4e-6 of a probability was seen.
    rounding = 5e-6 if case == "llama" else 1e-6
    np.testing.assert_allclose(found["before"], alone["before"], atol=rounding)
    np.testing.assert_allclose(found["losses"], alone["losses"], atol=1e-4)
    np.testing.assert_allclose(found["weights"], alone["weights"], atol=1e-4)
    np.testing.assert_allclose(found["after"], alone["after"], atol=1e-4)
    assert np.ptp(alone["after"] - alone["before"]) > 1e-3  # there was something to come to


def test_another_number_of_processes_than_asked_for_is_refused() -> None:
    with pytest.raises(BadInput, match="NPROC: 2, but 1 processes were started"):
        distributed.require(2)
    distributed.require(1)


def test_alone_all_rows_are_ones_own() -> None:
    assert distributed.shard_indices(5).tolist() == [0, 1, 2, 3, 4]
    rows, values = np.array([2, 0]), np.array([[1.0, 2.0], [3.0, 4.0]])
    np.testing.assert_array_equal(distributed.all_gather_rows(rows, values, 3), [[3, 4], [np.nan, np.nan], [1, 2]])
    with distributed.in_step(lambda number: number + 1) as work_of_the_leader:
        assert work_of_the_leader is not None
        assert work_of_the_leader(1) == 2
