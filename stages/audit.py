"""Licences and known advisories of the pinned requirements, by pip-licenses and pip-audit: `make audit`.

The two tools and what they need are installed into an environment of their own, so that they change no version of the
project's. Advisories come from PyPI: without a network the licences are still checked, and one line says what was not.
"""

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from battles.errors import BadInput
from stages.common import guarded

REQUIREMENTS = (Path("requirements.txt"), Path("requirements-dev.txt"))
TOOLS = Path("requirements-audit.txt")
# Beside the project's packages, which .venv holds.
FOLDER = Path(".venv/audit")
PERMISSIVE = {
    *("MIT", "MIT License", "MIT-CMU", "0BSD", "BSD License", "BSD-2-Clause", "BSD-3-Clause", "ISC License (ISCL)"),
    *("Apache-2.0", "Apache 2.0", "Apache 2.0 License", "Apache License 2.0", "Apache Software License", "Zlib"),
    *("LLVM-exception", "BSL-1.0", "CC0-1.0", "CNRI-Python", "PSF-2.0", "Python Software Foundation License", "ISC"),
    *("The Unlicense (Unlicense)", "Unlicense", "HPND"),
}
# They ask for the source of changes to the package itself; using it as it is asks for nothing.
WEAK_COPYLEFT = {"MPL-2.0", "Mozilla Public License 2.0 (MPL 2.0)", "LGPL-3.0-only", "LGPL-3.0", "LGPL-2.1-or-later"}


def main() -> None:
    pinned = _pinned(REQUIREMENTS)
    _install()
    words = ("pip-licenses", "--python", sys.executable, "--format=json", "--with-system")
    found = check_licences(json.loads(_output(words)), pinned)
    print(f"licences: {len(pinned)} pinned packages: {found}")
    count = check_advisories(_advisories())
    print(f"advisories: none known for {count} pinned packages")


def _pinned(paths: Iterable[Path]) -> set[str]:
    """Names of the pinned packages, as indexes compare them."""
    lines = [line for path in paths for line in path.read_text(encoding="utf-8").splitlines()]
    return {_plain(line.partition("==")[0]) for line in lines if "==" in line and not line.startswith("#")}


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def check_licences(packages: Sequence[dict[str, str]], pinned: set[str]) -> str:
    """How many of the pinned packages have which kind of licence. Raises BadInput for one that is of neither kind.

    `packages` are what pip-licenses says of every installed one.
    """
    licences = {_plain(package["Name"]): package["License"] for package in packages}
    if missing := sorted(pinned - licences.keys()):
        raise BadInput(f"licences: {', '.join(missing)} is pinned and not installed; run `make setup`")
    kinds: dict[str, str] = {}
    for name in sorted(pinned):
        # Of "A OR B" both must be known, although one would do.
        parts = {part.strip() for part in re.split(r" AND | OR | WITH |;", licences[name])}
        if not parts <= PERMISSIVE | WEAK_COPYLEFT:
            raise BadInput(
                f"licences: {name} is under {licences[name]!r}, which stages/audit.py does not list; read it, then add "
                "it there or choose another package"
            )
        kinds[name] = "permissive" if parts <= PERMISSIVE else "weak copyleft"
    copyleft = ", ".join(name for name, kind in kinds.items() if kind != "permissive")
    counts = Counter(kinds.values())
    return f"{counts['permissive']} permissive, {counts['weak copyleft']} weak copyleft ({copyleft or 'none'})"


def check_advisories(packages: Sequence[dict[str, Any]]) -> int:
    """How many packages were looked up, none of which has a known advisory. Raises BadInput for others.

    `packages` are what pip-audit says. It calls a package that the index does not answer for skipped, and the whole
    list free of vulnerabilities.
    """
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    if skipped:
        raise BadInput(
            f"advisories: {len(skipped)} of {len(packages)} packages could not be looked up ({', '.join(skipped[:3])}"
            f"{', …' * (len(skipped) > 3)}); pip-audit needs PyPI itself, not a mirror of it: try again with a network"
        )
    known = {
        f"{package['name']} {package['version']} ({', '.join(one['id'] for one in package['vulns'])}"
        + f"; fixed in {', '.join(sorted({version for one in package['vulns'] for version in one['fix_versions']}))})"
        for package in packages
        if package["vulns"]
    }
    if known:
        raise BadInput(f"advisories: {'; '.join(sorted(known))}; pin a version that is fixed")
    return len(packages)


def _install() -> None:
    done = FOLDER / "installed"
    if done.exists() and done.read_bytes() == TOOLS.read_bytes():
        return
    python = FOLDER / "bin" / "python"
    _run((sys.executable, "-m", "venv", str(FOLDER)), "make an environment for the tools")
    words = (str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(TOOLS))
    _run(words, f"install {TOOLS}")
    done.write_bytes(TOOLS.read_bytes())


def _output(words: Sequence[str]) -> str:
    return _run((str(FOLDER / "bin" / words[0]), *words[1:]), f"run {words[0]}").stdout


def _advisories() -> list[dict[str, Any]]:
    options = ("--no-deps", "--disable-pip", "--format=json", "--progress-spinner=off")
    files = [word for path in REQUIREMENTS for word in ("-r", str(path))]
    words = (str(FOLDER / "bin" / "pip-audit"), *options, *files)
    packages: list[dict[str, Any]] = json.loads(_run(words, "ask PyPI for advisories", (0, 1)).stdout)["dependencies"]
    return packages


def _run(words: Sequence[str], what: str, good: Sequence[int] = (0,)) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    # pip-audit's code is 1 for vulnerabilities, and for a failure, which writes nothing.
    if done.returncode not in good or not (done.stdout or what.startswith(("make", "install"))):
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise BadInput(f"audit: could not {what} ({last[:200]}); it needs a package index, and PyPI for advisories")
    return done


if __name__ == "__main__":
    guarded(main)
