"""Serves the run's Optuna study on 127.0.0.1:8080 with optuna-dashboard, until interrupted."""

import os
from pathlib import Path

from battles.errors import BadInput
from battles.paths import RunPaths
from stages.common import guarded, parser


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--storage", default="", help="database URL of the studies; the run's journal without")
    arguments.add_argument("--port", type=int, default=8080)
    given = arguments.parse_args()
    study = given.storage or str(RunPaths(given.run).stack / "study.journal")
    if not given.storage and not Path(study).exists():
        raise BadInput(f"{study}: no study yet; run `make stack RUN={given.run}` first")
    command = Path(".venv", "bin", "optuna-dashboard")
    words = [str(command), study, "--host", "127.0.0.1", "--port", str(given.port)]
    print(f"dashboard: http://127.0.0.1:{given.port} (Ctrl-C ends it)", flush=True)
    os.execv(command, words)


if __name__ == "__main__":
    guarded(main)
