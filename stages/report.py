"""Draws a run's report: `report/<run>/index.html`, `metrics.json`, `MODEL_CARD.md` and `figures/`."""

from datetime import UTC, datetime

from battles.paths import RunPaths
from battles.progress import Progress
from battles.schema import labels
from report.browser import choose
from report.build import build
from report.inputs import Extras, read
from stages import report_extras
from stages.common import guarded, run_argument, stamp
from stages.learning import measured, plans
from stages.variables import given

# What takes its time, in percent of a run of a few thousand battles.
READ, WHY, LEARNING, DRIFT, DRAWN = 5, 10, 45, 10, 30


def main() -> None:
    run = run_argument(__doc__)
    paths = RunPaths(run)
    names: list[str] = stamp(run, "run")["bases"]
    with Progress(f"report of {run}", READ + WHY + LEARNING + DRIFT + DRAWN, weights=True) as progress:
        inputs = read(paths, names)
        progress.advance(READ, "why: contributions of the stacker's inputs")
        training = report_extras.training_inputs(inputs, names)
        why = report_extras.explanation(inputs, training, choose(inputs))
        progress.advance(WHY, "learning curves")
        curves = [*measured(plans(run, training, names), LEARNING, progress.advance)]
        progress.advance(0, "studies; test battles against training battles")
        studies = report_extras.studies(run, given("STORAGE"))
        drift, test_battles = report_extras.test_drift(paths)
        progress.advance(DRIFT, "intervals, ratings, figures")
        settings = report_extras.settings(run, names)
        bases = {name: settings.get(name, {}) for name in names}
        extras = Extras(
            rows=report_extras.table_rows(paths),
            made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            facts=report_extras.facts(run, inputs.stack.metadata),
            settings=settings,
            squared=frozenset(name for name, base in bases.items() if base.get("objective") == "mse"),
            dots={name: base["eval_battles"] for name, base in bases.items() if "eval_battles" in base},
            explanation=why,
            studies=studies,
            learning=curves,
            splits=report_extras.splits(paths, inputs.scores),
            reached=report_extras.of_the_truth(paths, names, labels(inputs.battles)),
            drift=drift,
            test_battles=test_battles,
            with_texts=stamp(run, "report")["texts"],
        )
        findings = build(inputs, paths.report, extras)
        progress.advance(DRAWN, "written")
    print(f"report: {paths.page} on {findings.scored:,} of {findings.battles:,} voted battles; model card beside it")


if __name__ == "__main__":
    guarded(main)
