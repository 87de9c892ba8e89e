"""The offline proof with a language model under the image's own torch, transformers and peft.

By hand, as they are gigabytes: IMAGE_TORCH_PYTHON names a Python of 3.12 or later that has torch 2.10, transformers
5.0, peft 0.19, accelerate and the image's other packages, and no bitsandbytes.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from battles.schema import WINNERS
from submission.bundle import Target, write_bundle
from submission.table import read
from tests.robustness.stages_in_process import RUN
from tests.submission.small_run import MODELS
from tests.submission.test_bundle import PACKAGES, offline

PYTHON = os.environ.get("IMAGE_TORCH_PYTHON", "")
VERSIONS = """
import importlib.metadata as m, importlib.util as u, json
names = ("torch", "transformers", "peft", "numpy", "pandas", "scikit-learn", "lightgbm")
print(json.dumps({**{n: m.version(n) for n in names}, "bitsandbytes": bool(u.find_spec("bitsandbytes"))}))
"""
# By how much probabilities may differ: another torch adds up in another order.
ROUNDING = 1e-6


@pytest.mark.skipif(not PYTHON, reason="IMAGE_TORCH_PYTHON names no Python with the image's torch")
def test_a_language_model_predicts_under_the_images_libraries(small: Path, tmp_path: Path) -> None:
    asked = subprocess.run([PYTHON, "-c", PACKAGES + VERSIONS], capture_output=True, text=True, check=True)
    versions = json.loads(asked.stdout)
    print(versions)
    assert versions["torch"].startswith("2.10.")
    assert versions["bitsandbytes"] is False
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(small)
        write_bundle(MODELS, tmp_path / "bundle", Target("somebody", "lmsys-chatbot-arena"))
    source = tmp_path / "input"
    source.mkdir()
    shutil.copy(small / "test.csv", source)
    found = {}
    for replicas in ("1", "2"):
        work = tmp_path / replicas
        work.mkdir()
        done = offline(PYTHON, tmp_path / "bundle", source, work, "--hours", "0.5", "--replicas", replicas)
        assert done.returncode == 0, done.stderr
        assert "LEFT OUT" not in done.stdout, done.stdout
        assert "llama, model 2, swapped order: 40 battles" in done.stdout
        found[replicas] = work / "submission.csv"
    assert found["1"].read_bytes() == found["2"].read_bytes()
    expected = small / "submission" / RUN / "submission.csv"
    ours, theirs = (read(path)[list(WINNERS)].to_numpy(dtype=float) for path in (expected, found["1"]))
    same = expected.read_bytes() == found["1"].read_bytes()
    print(f"the same bytes: {same}; largest difference {np.abs(ours - theirs).max():.1e}")
    assert np.abs(ours - theirs).max() <= ROUNDING
