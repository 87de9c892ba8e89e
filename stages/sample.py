"""Writes the embedded sample as a user's files would be, its corpus and the truth: `python -m stages.sample`."""

from battles.files import atomic, write_table
from battles.paths import RunPaths
from battles.sample import generate
from battles.sample_corpus import corpus
from battles.settings import Sample
from stages.common import guarded, run_argument, section


def main() -> None:
    run = run_argument(
        "Writes the embedded sample's train.csv and test.csv, its corpus, and the true vote probabilities."
    )
    settings, _ = section(run, "sample", Sample)
    data = generate(settings)
    paths = RunPaths(run)
    folder = paths.truth.parent
    for name, table in (("train", data.train), ("test", data.test)):
        with atomic(folder / f"{name}.csv") as temporary:
            table.to_csv(temporary, index=False)
    write_table(paths.corpus, corpus(settings))
    write_table(paths.truth, data.truth)
    print(f"sample: {len(data.train)} voted and {len(data.test)} unvoted battles in {folder}")


if __name__ == "__main__":
    guarded(main)
