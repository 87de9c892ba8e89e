"""Predictions of battles from the saved models of a run alone: no training data, no fold table, no out-of-fold rows.

    from submission.predict import Predictor
    Predictor("models/runs/name").predict(frame)

Of the same battles they are those of `make submission`, to the last digit on the same kind of CPU: the same functions
compute them, one after the other instead of step by step.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from battles.errors import BadInput
from battles.files import content_hash, read_json
from battles.reading import battles_of
from battles.schema import ID
from battles.settings import Section
from features.table import FEATURES, FeatureModel
from models.base_kinds import base_settings, open_saved
from models.stacking import inputs, serialization
from oof.model_store import Variants
from oof.probabilities import softmax, without_ties
from oof.saved_models import RECORD, SavedBase, made_again, read_record
from submission.table import build
from submission.threads import limited_threads


class Predictor:
    """The saved models of a run, ready to predict.

    folder: `models/runs/<run>`, or a copy of it. backbones: base → hub name or folder, of backbones that lie elsewhere
    than when the base was trained. Raises BadInput where something is missing, damaged or of another stage of the run:
    the stacker names the models that it was fitted on.
    """

    def __init__(self, folder: str | Path, backbones: Mapping[str, str] | None = None) -> None:
        self.folder = Path(folder)
        self._backbones = dict(backbones or {})
        if not self.folder.is_dir():
            raise BadInput(f"{self.folder}: no such folder; give that of a run's models, models/runs/<run>")
        self._manifest = self.folder / "stack" / serialization.MANIFEST
        about = read_json(self._manifest, sealed=True, fix=_fix(self._manifest))
        if "saved" not in about:
            raise BadInput(
                f"{self.folder}: its stack names no models: it is one of predictions made elsewhere (TABLE), or of an "
                "earlier version of the project, where `make stack` writes it anew"
            )
        self.threads: int = about["threads"]
        self.names: list[str] = about["bases"]
        self.ties: bool = about.get("ties", True)
        self.bases: dict[str, SavedBase] = {}
        for name in self.names:
            record = self.folder / name / RECORD
            self._check_same(about["saved"][name], record)
            self.bases[name] = read_record(self.folder / name, _fix(record))
            self.bases[name].check(_fix(record))
        record = self.folder / "features" / FEATURES
        self._check_same(about["saved"]["features"], record)
        self.features = FeatureModel.load(record.parent, _fix(record))
        self.stack = serialization.load(self.folder / "stack")

    def predict(self, battles: pd.DataFrame) -> pd.DataFrame:
        """The submission's table: `id`, `winner_model_a`, `winner_model_b`, `winner_tie`, in the order of the battles.

        `battles` has the columns `id`, `prompt`, `response_a`, `response_b`, the texts as lists of turns or their JSON
        text, or those of another format that files may have (`battles.formats`). Raises BadInput for what is no battle.
        """
        checked = battles_of(_rows(battles), "battles")
        return build(checked[ID].tolist(), self.probabilities(checked))

    def probabilities(self, battles: pd.DataFrame) -> np.ndarray:
        """Probabilities of A wins, B wins, tie, (battles, 3), of a battles table that was checked already."""
        with limited_threads(self.threads, bool(self.language_models)):
            columns, swap = self.features.columns(battles)
            variants = {name: self.variants(name, battles) for name in self.names}
            meta = inputs.predicted_inputs(variants, columns.drop(columns=ID), swap)
            return softmax(self.stack.logits(meta))

    def variants(self, name: str, battles: pd.DataFrame) -> Variants:
        """The predictions of one base, (battles, 3) by variant."""
        base = self.bases[name]
        first = base.folder / next(iter(base.models))
        return self.possible(base.predict(open_saved(name, self.settings(name), battles, first)))

    def possible(self, variants: Variants) -> Variants:
        """Predictions without ties where the run has none."""
        return variants if self.ties else {variant: without_ties(values) for variant, values in variants.items()}

    def settings(self, name: str) -> Section:
        """The settings of a base, its backbone where it is now."""
        values = dict(self.bases[name].settings)
        if name in self.language_models:
            values["backbone"] = self.backbone(name)
        return base_settings(values)

    def backbone(self, name: str) -> str:
        """Hub name or folder of a base's backbone: as it was given here, beside the models, or as it was trained."""
        stated: str = self.bases[name].settings["backbone"]
        beside = [self.folder / "backbones" / name]
        if stated.startswith("models/runs/"):  # one that the run made for itself
            beside.append(self.folder.joinpath(*Path(stated).parts[3:]))
        return self._backbones.get(name) or next((str(place) for place in beside if place.is_dir()), stated)

    @property
    def language_models(self) -> list[str]:
        """The bases that use torch."""
        return [name for name, base in self.bases.items() if base.settings["kind"] == "transformer"]

    def _check_same(self, stated: str, record: Path) -> None:
        if content_hash(read_json(record, sealed=True, fix=_fix(record))) != stated:
            raise BadInput(f"{record}: not what the stack was fitted on; {_fix(self._manifest)}")


def _fix(record: Path) -> str:
    return f"{made_again(record)}, or copy the run's folder in models/runs/ whole"


def _rows(frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The rows of a table, with lists where Parquet and Arrow give arrays."""
    names = [str(name) for name in frame.columns]
    for cells in zip(*(frame[name].tolist() for name in frame.columns), strict=True):
        plain = (cell.tolist() if isinstance(cell, np.ndarray) else cell for cell in cells)
        yield dict(zip(names, plain, strict=True))


def describe(bases: Mapping[str, SavedBase]) -> str:
    """Which models predict, in words."""
    return "; ".join(f"{name}: {base.test_of}" for name, base in bases.items())
