"""A stand-in for Kaggle's client: a program in PATH that writes down how it was called and does as it is told."""

import json
import sys
from pathlib import Path

import pytest

SECRET = "KGAT_pl4nted-s3cret"
_PROGRAM = """#!{python}
import json, os, shutil, sys
folder = {folder!r}
with open(folder + "/calls", "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
words = sys.argv[1:]
if words[1] == "download" and os.path.exists(folder + "/files"):
    name, target = words[words.index("-f") + 1], words[words.index("-p") + 1]
    for found in (name, name + ".zip"):
        if os.path.exists(folder + "/files/" + found):
            shutil.copy(folder + "/files/" + found, target)
answer = json.load(open(folder + "/answer.json"))
print(answer["out"])
print(answer["err"], file=sys.stderr)
sys.exit(answer["code"])
"""


class Client:
    """The stand-in; `answer` sets what it says and its exit code, `files` holds what it downloads."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.files = folder, folder / "files"
        self.files.mkdir(parents=True)
        program = folder / "kaggle"
        program.write_text(_PROGRAM.format(python=sys.executable, folder=str(folder)))
        program.chmod(0o755)
        self.answer()

    def answer(self, out: str = "", err: str = "", code: int = 0) -> None:
        (self.folder / "answer.json").write_text(json.dumps({"out": out, "err": err, "code": code}))

    @property
    def calls(self) -> list[list[str]]:
        path = self.folder / "calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def without_token(patch: pytest.MonkeyPatch, home: Path) -> None:
    """An environment and a home without any token, and a PATH without the real client."""
    home.mkdir(parents=True, exist_ok=True)
    patch.setenv("HOME", str(home))
    patch.setenv("PATH", "/usr/bin:/bin")
    for name in ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_CONFIG_DIR", "XDG_CONFIG_HOME"):
        patch.delenv(name, raising=False)


def install(patch: pytest.MonkeyPatch, folder: Path) -> Client:
    """The stand-in as the only client, without a token."""
    without_token(patch, folder / "home")
    client = Client(folder / "client")
    patch.setenv("PATH", f"{client.folder}:/usr/bin:/bin")
    return client
