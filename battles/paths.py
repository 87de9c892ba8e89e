"""Where the files of a run lie: one folder per room, named after the run, and nothing outside of them."""

import re
from dataclasses import dataclass
from pathlib import Path

from battles.errors import BadInput

_LONGEST = 100


@dataclass(frozen=True)
class RunPaths:
    """The folders of the run `name`, relative to `root`: the repository, from where `make` starts every step."""

    name: str
    root: Path = Path()

    @property
    def battles(self) -> Path:
        """Checked battles and the fold table."""
        return self.root / "battles" / self.name

    @property
    def train_battles(self) -> Path:
        """Checked battles with votes."""
        return self.battles / "train.parquet"

    @property
    def test_battles(self) -> Path:
        """Checked battles to predict."""
        return self.battles / "test.parquet"

    @property
    def folds(self) -> Path:
        """The fold and the prompt group of every voted battle."""
        return self.battles / "folds.parquet"

    @property
    def params(self) -> Path:
        """Stamps: the resolved settings of every step."""
        return self.battles / "params"

    def stamp(self, step: str) -> Path:
        """The resolved settings of one step."""
        return self.params / f"{step}.json"

    @property
    def truth(self) -> Path:
        """True vote probabilities of the embedded sample's battles."""
        return self.battles / "source" / "truth.parquet"

    @property
    def corpus(self) -> Path:
        """What backbones are pretrained on that are made for the embedded sample."""
        return self.battles / "source" / "corpus.parquet"

    @property
    def features(self) -> Path:
        """Tables of handcrafted features."""
        return self.root / "features" / self.name

    @property
    def train_features(self) -> Path:
        """Features of the voted battles."""
        return self.features / "train.parquet"

    @property
    def test_features(self) -> Path:
        """Features of the battles to predict."""
        return self.features / "test.parquet"

    @property
    def models(self) -> Path:
        """Models, a folder for each base and one for the stacker. Beside them `models/` holds code."""
        return self.root / "models" / "runs" / self.name

    @property
    def stack(self) -> Path:
        """The fitted stacker and its studies."""
        return self.models / "stack"

    def stack_without(self, fold: int) -> Path:
        """The stacker whose predictions of a fold are its nested ones: it was fitted on all other folds."""
        return self.stack / "nested" / f"without-fold-{fold}"

    @property
    def feature_model(self) -> Path:
        """What makes the features of battles without votes. No base can have this name."""
        return self.models / "features"

    @property
    def oof(self) -> Path:
        """Out-of-fold and test probabilities, and the figures of the stack."""
        return self.root / "oof" / self.name

    @property
    def metrics(self) -> Path:
        """The figures of the stack."""
        return self.oof / "metrics.json"

    @property
    def splits(self) -> Path:
        """Figures over several splits (`stages.splits`)."""
        return self.oof / "splits.json"

    @property
    def submission(self) -> Path:
        """The submission and its manifest."""
        return self.root / "submission" / self.name

    @property
    def submission_file(self) -> Path:
        """Probabilities of the battles to predict, in the competition's format."""
        return self.submission / "submission.csv"

    @property
    def manifest(self) -> Path:
        """What the submission was made from, with the hash of every file."""
        return self.submission / "manifest.json"

    @property
    def report(self) -> Path:
        """The page, its figures and `metrics.json`."""
        return self.root / "report" / self.name

    @property
    def page(self) -> Path:
        """The report."""
        return self.report / "index.html"

    def base(self, name: str) -> Path:
        """The models of one base."""
        return self.models / name

    @property
    def nested_features(self) -> Path:
        """Columns that are learnt from votes, from fits without two folds (`features.table.FittedFeatures`)."""
        return self.features / "train.pairs.parquet"

    def pairs(self, base: str) -> Path:
        """Rows of a base by models without two folds (`oof.nested`), for its clean students and the stacker."""
        return self.oof / f"{base}.pairs.parquet"

    def predictions(self, base: str) -> Path:
        """Out-of-fold table of a base or of the stack."""
        return self.oof / f"{base}.parquet"

    def test_predictions(self, base: str) -> Path:
        """Predictions of the test battles by a base or by the stack."""
        return self.oof / f"{base}.test.parquet"


def check_run(name: str) -> None:
    """Refuses (BadInput) a run's name that is no folder's name or the name of the folder of all models."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise BadInput(f"RUN: {name!r} must be letters, digits, '.', '_' and '-', as it names a folder")
    if len(name) > _LONGEST:
        raise BadInput(f"RUN: a name of {len(name)} letters, {name[:20]}…; give one of at most {_LONGEST}")
    if name == "runs":
        raise BadInput("RUN: 'runs' is the folder in models/ that holds the models of all runs; choose another name")
