"""What the bundle brings for an image without bitsandbytes, from an index of made wheels."""

import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stages import bundle
from submission.bundle import WHEELS

NAME = f"bitsandbytes-{version('bitsandbytes')}-py3-none-{bundle.PLATFORM}.whl"


def _wheel(path: Path, module: str) -> None:
    """A wheel with one module, which says where it was imported from."""
    package, number = path.name.split("-")[:2]
    about = f"{package}-{number}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{module}.py", "WHERE = __file__\n")
        archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: {number}\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")


def _predictor(**quantization: str) -> Any:
    bases = {name: SimpleNamespace(settings={"quantization": value}) for name, value in quantization.items()}
    return SimpleNamespace(language_models=list(bases), bases=bases)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is pip's only index."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_a_quantised_base_brings_the_wheel_that_fits_the_images_pythons(index: Path, tmp_path: Path) -> None:
    _wheel(index / NAME, "bitsandbytes")
    _wheel(index / NAME.replace("py3-none", "cp311-cp311"), "bitsandbytes")
    predictor = _predictor(plain="none", narrow="nf4")
    assert bundle._wheelhouse(predictor, tmp_path / WHEELS) == []
    assert [path.name for path in (tmp_path / WHEELS).iterdir()] == [NAME]


def test_nothing_is_brought_for_weights_in_16_bits(index: Path, tmp_path: Path) -> None:
    _wheel(index / NAME, "bitsandbytes")
    assert bundle._wheelhouse(_predictor(plain="none"), tmp_path / WHEELS) == []
    assert not (tmp_path / WHEELS).exists()


def test_a_wheel_that_cannot_be_had_is_said_with_what_to_do(index: Path, tmp_path: Path) -> None:
    (note,) = bundle._wheelhouse(_predictor(narrow="int8"), tmp_path / WHEELS)
    assert note.startswith(f"narrow needs bitsandbytes=={version('bitsandbytes')}, which the image lacks")
    assert "put its wheel into wheels/" in note


def test_the_bundle_installs_only_wheels_that_the_image_lacks(tmp_path: Path) -> None:
    for name in ("lacking_here-1.0-py3-none-any.whl", "numpy-0.1-py3-none-any.whl"):
        _wheel(tmp_path / name, name.split("-")[0])
    code = (
        "import sys; from pathlib import Path; from submission import kernel; "
        "kernel._install(Path(sys.argv[1])); import numpy, lacking_here; "
        "print(numpy.__version__ != '0.1', hasattr(numpy, 'WHERE'), lacking_here.WHERE)"
    )
    words = [sys.executable, "-c", code, str(tmp_path)]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
    assert said[:2] == ["True", "False"]
    assert Path(said[2]).name == "lacking_here.py"
