"""Draws a run's report: `report/<run>/index.html`, `metrics.json` and `figures/`."""

from battles.paths import RunPaths
from report.build import build
from report.inputs import read
from stages.common import guarded, run_argument, stamp


def main() -> None:
    run = run_argument(__doc__)
    paths = RunPaths(run)
    findings = build(read(paths, stamp(run, "run")["bases"]), paths.report)
    print(f"report: {paths.report / 'index.html'} on {findings.scored:,} of {findings.battles:,} voted battles")


if __name__ == "__main__":
    guarded(main)
