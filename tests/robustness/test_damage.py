"""Every file of a finished run cut off, emptied, with a flipped bit or taken from another run, and then the next call.

It must end in the right answer or in one line that names the file; whatever else was there stays as it was. A seeded
part by default, all of it with `make torture`.
"""

import contextlib
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from battles.errors import BadInput
from battles.files import file_hash, read_json, read_table, write_json
from battles.schema import WINNERS
from stages import verify
from tests.robustness.stages_in_process import RUN, STEPS, Outcome, call, check_refusal, finished_run, resolve, snapshot

TORTURE = bool(os.environ.get("TORTURE"))
SETTINGS = (
    "prepare.folds=3 stack.trials=1 stack.rounds=4 stack.bag=1 "
    "stack.trees=10 stack.symmetric=false stack.workers=1 tfidf.bits=12"
)
# The quick part: files of each kind, and flipped bits of each file with all of it.
QUICK, FLIPS = 12, 8

Damage = Callable[[bytes, bytes, random.Random], bytes]


def flip(raw: bytes, _: bytes, rng: random.Random) -> bytes:
    changed = bytearray(raw)
    bit = rng.randrange(len(raw) * 8)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


DAMAGES: dict[str, Damage] = {
    "cut off": lambda raw, other, rng: raw[: len(raw) // 2],
    "emptied": lambda raw, other, rng: b"",
    "of another run": lambda raw, other, rng: other,
    "flipped bit": flip,
}
# Steps that make starts when a file is newer than what was made of it, by what its path begins with. A fold's files are
# read when their base goes on, the journal when the stack is made again.
READERS = {
    f"battles/{RUN}/params/": (),
    f"battles/{RUN}/test": ("features test", "predict", "predict stack", "submit"),
    f"battles/{RUN}/": (
        "features",
        "features test",
        "base",
        "pairs",
        "predict",
        "stack",
        "predict stack",
        "submit",
        "report",
    ),
    f"features/{RUN}/test": ("predict stack", "submit", "report"),
    f"features/{RUN}/train.pairs": ("stack", "predict stack", "submit", "report"),
    f"features/{RUN}/": ("features test", "stack", "predict stack", "submit", "report"),
    f"models/runs/{RUN}/features/": (),
    f"models/runs/{RUN}/tfidf/base.json": ("base",),
    f"models/runs/{RUN}/tfidf/pair-": ("pairs",),
    f"models/runs/{RUN}/tfidf/": ("base", "predict"),
    f"models/runs/{RUN}/stack/study.journal": ("stack", "predict stack", "submit", "report"),
    f"models/runs/{RUN}/stack/": ("report",),
    f"oof/{RUN}/tfidf.test": ("predict stack", "submit"),
    f"oof/{RUN}/tfidf.pairs": ("stack", "predict stack", "submit", "report"),
    f"oof/{RUN}/tfidf": ("predict", "stack", "predict stack", "submit", "report"),
    f"oof/{RUN}/stack.test": ("submit",),
    f"oof/{RUN}/": ("predict stack", "submit", "report"),
    f"submission/{RUN}/": (),
}


def words(ridge: int) -> tuple[str, ...]:
    settings = f"{SETTINGS} tfidf.ridge={ridge}"
    return "--profile", "cpu", "--train", "train.csv", "--test", "test.csv", "--overrides", settings


def make_run(folder: Path, seed: int) -> dict[str, bytes]:
    """The files of a finished run of sample battles."""
    finished_run(folder, f"{SETTINGS} tfidf.ridge=1", seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert call(verify.main).code == 0
        return snapshot(folder)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, bytes]]:
    """A finished run, one of other battles, and one of the same battles whose base has other settings."""
    root = tmp_path_factory.mktemp("runs")
    made = [make_run(root / str(seed), seed) for seed in (1, 2)]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root / "1")
        main, more = STEPS["base"]
        assert (resolve(*words(9), "--again", "1").code, call(main, *more, "--again").code) == (0, 0)
    return [*made, snapshot(root / "1")]


@pytest.fixture
def folder(runs: list[dict[str, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    restore(tmp_path, runs[0])
    return tmp_path


def restore(folder: Path, files: dict[str, bytes]) -> None:
    """Makes the folder hold just these files."""
    for name, raw in files.items():
        path = folder / name
        if not path.is_file() or path.read_bytes() != raw:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(raw)
    for name in snapshot(folder).keys() - files.keys():
        (folder / name).unlink()


def readers(name: str) -> tuple[str, ...]:
    return next(steps for start, steps in READERS.items() if name.startswith(start))


def next_call(name: str) -> Outcome:
    """What the next call of make does: the steps that read the file and, when they change theirs, what follows."""
    before = predictions()
    outcome = resolve(*words(1))
    for step in readers(name):
        if outcome.code == 0:
            main, more = STEPS[step]
            outcome = call(main, *more)
        if step == "predict" and outcome.code == 0 and name.startswith("models/"):
            assert predictions() == before  # trained again or not: the same, so that nothing follows from it
            break
    return call(verify.main, "--files") if outcome.code == 0 and "models/" not in name else outcome


def predictions() -> list[bytes]:
    """The base's out-of-fold and test rows; empty where a table cannot be read."""
    found = []
    for path in (Path("oof", RUN, "tfidf.parquet"), Path("oof", RUN, "tfidf.test.parquet")):
        with contextlib.suppress(BadInput):
            found.append(read_table(path, columns=list(WINNERS)).to_numpy().tobytes())
    return found


def check(name: str, files: dict[str, bytes]) -> str:
    """Asserts how the call after the damage of a file ends; `noticed`, `made again` or `harmless`."""
    damaged = Path(name).read_bytes()
    outcome = next_call(name)
    after = snapshot(Path())
    submission = f"submission/{RUN}/submission.csv"
    if outcome.code:
        # Of two tables that do not go together, either may be named.
        check_refusal(outcome, name, str(Path(name).parent), "finished models", "holds other battles")
        kept = {other: raw for other, raw in files.items() if other != name}
        assert {other: after.get(other) for other in kept} == kept
        return "noticed"
    assert after[submission] == files[submission]
    return "harmless" if after.get(name) == damaged else "made again"


def artefacts(files: dict[str, bytes]) -> list[str]:
    """Files that steps wrote; nothing reads a report, nor, until battles are predicted anew, a fold's model."""
    return sorted(name for name in files if "/" in name and not name.startswith("report/") and "/model/" not in name)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_ends_in_the_right_answer_or_in_a_line_that_names_it(
    runs: list[dict[str, bytes]], folder: Path, damage: str
) -> None:
    files, rng, counts = runs[0], random.Random(damage), dict.fromkeys(("noticed", "made again", "harmless"), 0)
    names = artefacts(files)
    if not TORTURE:
        # The journal's damage has a test of its own, quick ones of the studies.
        names = rng.sample([name for name in names if "journal" not in name], QUICK)
    for name in names:
        others = [run[name] for run in runs[1:] if run.get(name, files[name]) != files[name]]
        tries = FLIPS if TORTURE and damage == "flipped bit" else 1
        for other in others if damage == "of another run" else [b""] * tries:
            (folder / name).write_bytes(DAMAGES[damage](files[name], other, rng))
            counts[check(name, files)] += 1
            restore(folder, files)
    print(f"{damage}: {counts}")


@pytest.mark.parametrize("damage", DAMAGES)
def test_verify_names_every_changed_file(runs: list[dict[str, bytes]], folder: Path, damage: str) -> None:
    files, rng = runs[0], random.Random(damage)
    listed = [f"submission/{RUN}/submission.csv", f"submission/{RUN}/manifest.json"]
    listed += [
        name
        for name in artefacts(files)
        # What explains the nested predictions is no part of the submission.
        if name.startswith(("oof/", "features/")) or (name.endswith(".txt") and "/nested/" not in name)
    ]
    listed += [f"battles/{RUN}/{kind}.parquet" for kind in ("train", "test", "folds")]
    listed += [f"models/runs/{RUN}/stack/stack.json"]
    for name in listed:
        other = next((run[name] for run in runs[1:] if run.get(name, files[name]) != files[name]), b"")
        (folder / name).write_bytes(DAMAGES[damage](files[name], other, rng))
        for more in ((), ("--files",)):
            check_refusal(call(verify.main, *more), name)
        restore(folder, files)
    assert call(verify.main).code == 0


def test_verify_sees_figures_and_rows_that_do_not_follow_from_the_files(
    runs: list[dict[str, bytes]], folder: Path
) -> None:
    """Edits whose hashes were put into the manifest as well."""
    place = folder / "submission" / RUN / "manifest.json"
    manifest = read_json(place, sealed=True)
    submission = folder / "submission" / RUN / "submission.csv"
    rows = [line.split(",") for line in submission.read_text().splitlines()]
    changed = next(at for at, (_, a, _, tie) in enumerate(rows) if at and a != tie)
    identity, a, b, tie = rows[changed]
    rows[changed] = [identity, tie, b, a]
    submission.write_text("".join(f"{','.join(row)}\n" for row in rows))
    metrics = read_json(folder / "oof" / RUN / "metrics.json", sealed=True)
    metrics["candidates"]["stack"]["log_loss"] -= 0.01
    write_json(folder / "oof" / RUN / "metrics.json", metrics, sealed=True)
    manifest["submission"]["sha256"] = file_hash(submission)
    manifest["artefacts"][f"oof/{RUN}/metrics.json"] = file_hash(folder / "oof" / RUN / "metrics.json")
    write_json(place, manifest, sealed=True)
    assert call(verify.main, "--files").code == 0
    outcome = call(verify.main)
    said = check_refusal(outcome, "3 of ")
    for name in ("holds the stack's test table", "the saved stacker predicts", "the nested log loss follows"):
        assert name in said
    assert f"row {changed} is '{identity}," in outcome.out
    assert "its out-of-fold rows give" in outcome.out


def test_a_good_submission_outlives_a_broken_file(runs: list[dict[str, bytes]], folder: Path) -> None:
    for name in ("metrics.json", "stack.parquet", "tfidf.test.parquet"):
        (folder / "oof" / RUN / name).write_bytes(b"")
        main, more = STEPS["submit"]
        check_refusal(call(main, *more), name)
        assert (folder / "submission" / RUN / "submission.csv").read_bytes() == runs[0][
            f"submission/{RUN}/submission.csv"
        ]
        restore(folder, runs[0])


def test_a_damaged_fold_is_trained_again_and_says_so(runs: list[dict[str, bytes]], folder: Path) -> None:
    fold = folder / "models" / "runs" / RUN / "tfidf" / "fold-1"
    main, more = STEPS["base"]
    for name in ("fold.json", "oof.parquet", "model/weights.npz"):
        (fold / name).write_bytes((fold / name).read_bytes()[:100])
        outcome = call(main, *more)
        assert outcome.code == 0, outcome
        said = [line for line in outcome.out.splitlines() if "damaged" in line]
        assert len(said) == 1
        assert f"fold-1/{name}: damaged (" in said[0]
        assert said[0].endswith("; it is trained again")
        for kept in ("oof.parquet", "test.parquet"):
            assert (fold / kept).read_bytes() == runs[0][(fold / kept).relative_to(folder).as_posix()]
    shutil.rmtree(fold)
