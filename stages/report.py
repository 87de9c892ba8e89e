"""Draws a run's report: `report/<run>/index.html`, `metrics.json` and `figures/`."""

from pathlib import Path

from report.build import build
from report.inputs import read
from stages.common import guarded, run_argument, stamp


def main() -> None:
    run = run_argument(__doc__)
    folder = Path("report", run)
    findings = build(read(run, stamp(run, "run")["bases"]), folder)
    print(f"report: {folder / 'index.html'} on {findings.scored:,} of {findings.battles:,} voted battles")


if __name__ == "__main__":
    guarded(main)
