"""What every stage needs: the run's paths, its params stamps, and refusals with exit code 2."""

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from battles.errors import BadInput
from battles.files import read_json
from battles.paths import RunPaths
from stages import step_times
from stages.endings import Interrupted, raise_on_signals, refusal, say_interrupted

if TYPE_CHECKING:  # pydantic: not for the steps that only start or remove something
    from battles.settings import Section

S = TypeVar("S", bound="Section")

LIBRARIES = ("torch", "transformers", "peft", "bitsandbytes", "lightgbm", "optuna", "scikit-learn", "pandas", "numpy")


def parser(description: str) -> argparse.ArgumentParser:
    """An argument parser with the option that every stage has."""
    result = argparse.ArgumentParser(description=description)
    result.add_argument("--run", required=True, help="name of the run: the sub-folder its files lie in")
    return result


def base_arguments(description: str | None) -> argparse.ArgumentParser:
    """An argument parser with the options of every stage of one base."""
    result = parser((description or "").splitlines()[0])
    result.add_argument("--name", required=True, help="name of the base, a section of params.yaml")
    result.add_argument("--processes", type=int, default=1, help="processes that were started for this base")
    return result


def run_argument(description: str) -> str:
    """The run's name, for a stage that takes nothing else."""
    run: str = parser(description).parse_args().run
    return run


def stamp(run: str, name: str) -> dict[str, Any]:
    """A params stamp, `battles/<run>/params/<name>.json`, as `stages.params` wrote it."""
    return read_json(RunPaths(run).stamp(name), sealed=True, fix="start the step through `make`, which writes it")


def section(run: str, name: str, cls: type[S]) -> tuple[S, str]:
    """The settings of one params section of a run and their hash."""
    value = stamp(run, name)
    return cls.model_validate(value["settings"]), value["hash"]


def guarded(main: Callable[[], None]) -> None:
    """Runs a stage; what the user can mend ends as one line and exit code 2, without a traceback.

    So does what the machine refuses: a full disk, a missing right, no memory. A signal ends it as Ctrl-C does, with
    128 + its number; a bug keeps its traceback.
    """
    raise_on_signals()
    try:
        main()
        sys.stdout.flush()
        step_times.note()
    except BadInput as error:
        _fail(str(error))
    except KeyboardInterrupt as interrupt:
        say_interrupted()
        sys.exit(128 + (interrupt.number if isinstance(interrupt, Interrupted) else signal.SIGINT))
    except BrokenPipeError:
        # Who read the output wants no more of it. What is still buffered must not raise again at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except MemoryError as error:
        _fail(f"memory: not enough ({error or 'none left'}); set fewer processes (WORKERS, run.jobs) or fewer rows")
    except Exception as error:
        reason = refusal(error)
        if reason is None:
            raise
        _fail(reason)


def _fail(reason: str) -> NoReturn:
    print(f"error: {reason}", file=sys.stderr)
    sys.exit(2)


def has_test(run: str) -> bool:
    """Whether the run has test battles."""
    return stamp(run, "test")["test"] is not None


def code_version() -> str:
    """The commit that runs, marked `-dirty` when tracked files differ from it; `unknown` outside a checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (FileNotFoundError, subprocess.CalledProcessError):
        return "unknown"


def library_versions() -> dict[str, str]:
    """Versions of the libraries that a prediction can depend on."""
    return {name: version(name) for name in LIBRARIES}
