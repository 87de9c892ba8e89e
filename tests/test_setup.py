"""`make setup` with invented Pythons, pip and uv in PATH: which Python it takes, and what it asks installers for."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOOLS = ("bash", "cat", "cp", "grep", "make", "mkdir", "touch")
INDEX = "https://download.pytorch.org/whl"
# Answers what stages/install.sh asks a Python; {pip} and {venv} are exit codes of importing these modules.
PYTHON = """#!/bin/bash
case "$*" in
  *version_info*) [ {version} != broken ] && echo {version} ;;
  *ensurepip*) exit {venv} ;;
  "-m venv .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
  "-c import pip") exit {pip} ;;
  "-m pip install --quiet --disable-pip-version-check --no-compile "*)
    echo "pip ${{*:7}}" >> commands; [[ "$*" != *nowhere* ]] ;;
  "-m compileall -qq -j 0 -x /(tests?|testing)/ .venv/lib") ;;
  *importlib.metadata*) echo ".venv: {version}" ;;
  *) echo "not expected: $*" >&2; exit 1 ;;
esac
"""
UV = """#!/bin/bash
echo "uv $*" >> commands
"""


class Machine:
    """A folder with the project's set-up, and a PATH of two folders that holds only what a test puts there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = [folder / "first", folder / "second"]
        for place in (*self.path, folder / "stages"):
            place.mkdir()
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found is not None
            (self.path[0] / tool).symlink_to(found)
        for name in ("Makefile", "requirements.txt", "requirements-dev.txt", "stages/install.sh"):
            shutil.copy2(ROOT / name, folder / name)

    def add(self, name: str, version: str, place: int = 0, venv: bool = True, pip: bool = True) -> Path:
        """Puts a Python into PATH; one of version `broken` does not start."""
        return _script(self.path[place] / name, PYTHON.format(version=version, venv=int(not venv), pip=int(not pip)))

    def setup(self, *words: str) -> list[str]:
        """Calls `make setup`, which must succeed; what pip and uv were asked for."""
        result = self._make(*words)
        assert result.returncode == 0, result.stdout + result.stderr
        commands = self.folder / "commands"
        lines = commands.read_text().splitlines() if commands.exists() else []
        commands.unlink(missing_ok=True)
        return lines

    def python(self, *words: str) -> str:
        """The version of the Python in `.venv` after a call of `make setup`."""
        self.setup(*words)
        command = [self.folder / ".venv" / "bin" / "python", "version_info"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def refused(self, *words: str) -> str:
        """The one line that a refused `make setup` says, without make's own."""
        result = self._make(*words)
        assert result.returncode == 2, result.stdout + result.stderr
        lines = [line for line in result.stderr.splitlines() if not line.startswith("make")]
        assert len(lines) == 1, lines
        return lines[0]

    def change(self, torch: str = "") -> None:
        """Makes `.venv` older than requirements.txt; `torch` replaces the pin of torch."""
        path = self.folder / "requirements.txt"
        if torch:
            path.write_text(re.sub("^torch==.*", torch, path.read_text(), flags=re.MULTILINE))
        os.utime(self.folder / ".venv" / "installed", ns=(0, 0))

    def _make(self, *words: str) -> subprocess.CompletedProcess[str]:
        unset = ("PYTHON", "TORCH", "MFLAGS")
        env = {name: text for name, text in os.environ.items() if not name.startswith("MAKE") and name not in unset}
        env["PATH"] = os.pathsep.join(map(str, self.path))
        command = ["make", "setup", *words]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, env=env, check=False)


def _script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def pin() -> str:
    found = re.search("^torch==.*", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert found is not None
    return found[0]


@pytest.mark.parametrize(
    ("pythons", "taken"),
    [
        ({"python3": "3.12", "python3.12": "3.12"}, "3.12"),  # Ubuntu 24.04
        ({"python3": "3.13", "python3.13": "3.13"}, "3.13"),  # Debian 13
        ({"python3.11": "3.11", "python3.12": "3.12", "python3.13": "3.13"}, "3.11"),
        ({"python3": "3.10", "python3.13": "3.13"}, "3.13"),
        ({"python3": "3.11", "python3.12": "3.12"}, "3.11"),
        ({"python3": "3.14", "python": "3.12"}, "3.12"),
    ],
)
def test_the_oldest_supported_python_is_taken(machine: Machine, pythons: dict[str, str], taken: str) -> None:
    for name, version in pythons.items():
        machine.add(name, version)
    assert machine.python() == taken


def test_a_name_that_does_not_start_hides_nothing(machine: Machine) -> None:
    machine.add("python3.11", "broken")
    machine.add("python3.12", "3.12")
    machine.add("python3.11", "3.11", place=1)
    assert machine.python() == "3.11"


def test_without_a_supported_python_what_is_there_is_named(machine: Machine) -> None:
    fix = "install Python 3.11, 3.12 or 3.13, or give its path: make PYTHON=path"
    assert machine.refused() == f"error: PYTHON: found none in PATH; {fix}"
    one, other = machine.add("python3", "3.10"), machine.add("python", "3.14", place=1)
    machine.add("python3", "3.10", place=1)
    assert machine.refused() == f"error: PYTHON: found 3.10 at {one}, 3.14 at {other} in PATH; {fix}"
    assert not (machine.folder / ".venv").exists()


def test_python_given_is_taken_or_refused(machine: Machine) -> None:
    machine.add("python3.11", "3.11")
    old, new = machine.add("old", "3.9", place=1), machine.add("new", "3.13", place=1)
    fix = "give Python 3.11, 3.12 or 3.13: make PYTHON=path"
    assert machine.refused(f"PYTHON={old}") == f"error: PYTHON: {old} is Python 3.9; {fix}"
    assert machine.refused("PYTHON=nothing") == f"error: PYTHON: nothing does not start; {fix}"
    assert not (machine.folder / ".venv").exists()
    assert machine.python(f"PYTHON={new}") == "3.13"
    expected = "error: PYTHON: python3.11 is Python 3.11, but .venv has 3.13; remove .venv to make it anew"
    assert machine.refused("PYTHON=python3.11") == expected
    assert machine.python("PYTHON=new") == "3.13"


def test_a_missing_module_venv_is_said_with_its_package(machine: Machine) -> None:
    python = machine.add("python3", "3.12", venv=False)
    expected = f"error: PYTHON: {python} has no module venv; install it: apt install python3.12-venv"
    assert machine.refused() == expected
    assert not (machine.folder / ".venv").exists()


@pytest.mark.parametrize(
    ("version", "said"), [("3.10", "has Python 3.10, not 3.11, 3.12 or 3.13"), ("broken", "its Python does not start")]
)
def test_a_venv_of_no_use_is_refused(machine: Machine, version: str, said: str) -> None:
    machine.add("python3", "3.12")
    shutil.copy2(machine.add("other", version), _script(machine.folder / ".venv" / "bin" / "python", ""))
    assert machine.refused() == f"error: .venv: {said}; remove .venv and call make again"


def test_plain_requirements_are_installed_once(machine: Machine) -> None:
    machine.add("python3", "3.12")
    assert machine.setup() == ["pip -r requirements.txt", "pip -r requirements-dev.txt"]
    assert machine.setup() == []


def test_another_build_of_torch_is_installed_first_and_kept(machine: Machine, pin: str) -> None:
    machine.add("python3", "3.12")
    cpu, cuda, own = f"{INDEX}/cpu", f"{INDEX}/cu126", "https://packages.example/simple"

    def torch(index: str, pin: str) -> str:
        return f"pip --force-reinstall --no-deps --index-url {index} {pin}"

    def rest(index: str) -> list[str]:
        return [f"pip --extra-index-url {index} -r {name}" for name in ("requirements.txt", "requirements-dev.txt")]

    assert machine.setup("TORCH=cpu") == [torch(cpu, pin), *rest(cpu)]
    assert machine.setup() == machine.setup("TORCH=cpu") == []
    machine.change()
    assert machine.setup() == rest(cpu)
    machine.change("torch==99.0.0")
    assert machine.setup() == [torch(cpu, "torch==99.0.0"), *rest(cpu)]
    assert machine.setup("TORCH=cu126") == [torch(cuda, "torch==99.0.0"), *rest(cuda)]
    assert machine.setup(f"TORCH={own}") == [torch(own, "torch==99.0.0"), *rest(own)]
    plain = ["pip --force-reinstall --no-deps torch==99.0.0", "pip -r requirements.txt", "pip -r requirements-dev.txt"]
    assert machine.setup("TORCH=pypi") == plain
    assert machine.setup() == machine.setup("TORCH=pypi") == []


def test_a_build_of_torch_that_is_not_there_is_said_and_not_kept(machine: Machine, pin: str) -> None:
    machine.add("python3", "3.12")
    expected = f"error: TORCH: {pin} could not be installed from https://nowhere; give another build or index"
    assert machine.refused("TORCH=https://nowhere") == expected
    (machine.folder / "commands").unlink()
    assert machine.setup() == ["pip -r requirements.txt", "pip -r requirements-dev.txt"]


@pytest.mark.parametrize("word", ["gpu", "cu12", "cuda", "cu12.6", "ftp://one"])
def test_an_unknown_build_of_torch_is_refused(machine: Machine, word: str) -> None:
    machine.add("python3", "3.12")
    fix = "give cpu, a CUDA version such as cu126, pypi, or an index's URL"
    assert machine.refused(f"TORCH={word}") == f"error: TORCH: {word} is no build of torch; {fix}"
    assert not (machine.folder / ".venv").exists()


def test_uv_installs_where_the_venv_has_no_pip(machine: Machine, pin: str) -> None:
    shutil.copy2(machine.add("made", "3.13", pip=False), _script(machine.folder / ".venv" / "bin" / "python", ""))
    expected = "error: .venv: has no pip, and uv is not in PATH; install uv, or remove .venv and call make again"
    assert machine.refused() == expected
    _script(machine.path[1] / "uv", UV)
    start = "uv pip install --quiet --python .venv/bin/python"
    assert machine.setup("TORCH=cpu") == [
        f"{start} --force-reinstall --no-deps --index-url {INDEX}/cpu {pin}",
        f"{start} --extra-index-url {INDEX}/cpu -r requirements.txt",
        f"{start} --extra-index-url {INDEX}/cpu -r requirements-dev.txt",
    ]
    assert machine.setup() == []


def test_every_place_names_the_same_versions_of_python() -> None:
    script = (ROOT / "stages" / "install.sh").read_text()
    supported = re.search(r"supported=\((.*)\)", script)
    required = re.search(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', (ROOT / "pyproject.toml").read_text())
    assert supported is not None
    assert required is not None
    versions = [f"3.{minor}" for minor in range(*map(int, required.groups()))]
    assert supported[1].split() == versions
    for text in (script, (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()):
        assert f"{', '.join(versions[:-1])} or {versions[-1]}" in text


def test_every_requirement_is_pinned() -> None:
    for name in ("requirements.txt", "requirements-dev.txt"):
        for line in (ROOT / name).read_text().splitlines():
            assert re.match(r"#|-r |[\w.-]+==[\w.]+$", line), line
