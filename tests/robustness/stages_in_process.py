"""The steps of a run in this process, as `make` would start them one after the other: no start of Python for each."""

import contextlib
import io
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from battles.sample import generate
from battles.settings import Sample
from stages import base, features, params, predict, predict_stack, prepare, report, stack, submit, table
from stages.common import guarded

ROOT = Path(__file__).parents[2]
RUN = "r"
# The longest that a refusal may be, in characters.
LONGEST = 600


@dataclass(frozen=True)
class Outcome:
    """How a step ended: its exit code, and what it said."""

    code: int
    out: str
    err: str


def call(main: Callable[[], None], *words: str) -> Outcome:
    """Runs a step on the run `r` of the working folder, as `python -m stages.…` would."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["stage", "--run", RUN, *words])
        try:
            guarded(main)
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
            return Outcome(code, out.getvalue(), err.getvalue())
    return Outcome(0, out.getvalue(), err.getvalue())


def check_refusal(outcome: Outcome, *names: str) -> str:
    """What a refused step says: exit code 2, one line of at most 600 characters that has one of the names in it."""
    assert outcome.code == 2, outcome
    assert outcome.err.startswith("error: "), outcome.err
    assert outcome.err.endswith("\n"), outcome.err
    said = outcome.err.removesuffix("\n")
    assert not any(ord(character) < 32 or character in "\x7f\x85\u2028\u2029" for character in said), repr(said)
    assert len(said) <= LONGEST, said
    assert any(name in said for name in names), said
    return said


def resolve(*words: str) -> Outcome:
    """`stages.params` with the repository's params.yaml, which is copied where there is none."""
    if not Path("params.yaml").exists():
        shutil.copy(ROOT / "params.yaml", "params.yaml")
    return call(params.main, *words)


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# The steps after `params`, in their order: name, function, further words.
STEPS: dict[str, tuple[Callable[[], None], tuple[str, ...]]] = {
    "prepare test": (prepare.main, ("--test",)),
    "prepare": (prepare.main, ()),
    "features": (features.main, ()),
    "features test": (features.main, ("--test",)),
    "base": (base.main, ("--name", "tfidf")),
    "pairs": (base.main, ("--name", "tfidf", "--pairs")),
    "predict": (predict.main, ("--name", "tfidf")),
    "stack": (stack.main, ()),
    "predict stack": (predict_stack.main, ()),
    "submit": (submit.main, ()),
    "report": (report.main, ()),
}
TABLE = table.main


def finished_run(folder: Path, settings: str, seed: int, steps: Iterable[str] = STEPS) -> None:
    """Makes the run `r` of 90 sample battles, and 20 to predict, in a folder; `settings` as in SET."""
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        data = generate(Sample(train=90, test=20, seed=seed))
        data.train.to_csv("train.csv", index=False)
        data.test.to_csv("test.csv", index=False)
        words = ("--profile", "cpu", "--train", "train.csv", "--test", "test.csv", "--overrides", settings)
        outcomes = [resolve(*words), *(call(STEPS[name][0], *STEPS[name][1]) for name in steps)]
        assert all(outcome.code == 0 for outcome in outcomes), outcomes
