"""The saved language models of a run as a prediction under a clock reads them."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from battles.swap import swap_probabilities
from models.transformer.library_warnings import quiet
from models.transformer.settings import Transformer
from submission.forecast import load_seconds
from submission.predict import Predictor
from submission.replicas import Engine

if TYPE_CHECKING:
    from models.transformer.fold import TestContext


class SavedReader:
    """A saved model of a transformer base; the battles are tokenised once for all models of the base."""

    def __init__(self, context: "TestContext", folder: Path, backbone: str, engine: Engine) -> None:
        self._context, self._folder, self._engine = context, folder, engine
        self.tokens: np.ndarray = context.tokens.lengths
        self.at_once = engine.at_once
        self._readout: Callable[[np.ndarray], np.ndarray] | None = None
        weights = [*(folder / "model").rglob("*"), *(Path(backbone).rglob("*") if Path(backbone).is_dir() else ())]
        self.load_seconds = load_seconds(sum(path.stat().st_size for path in weights if path.is_file()))

    def load(self) -> None:
        from models.transformer import fold

        context = self._context
        self._readout = fold.saved_readout(context.settings, self._folder)
        self._engine.load(context.settings, self._folder, context.pad)

    def read(
        self, rows: np.ndarray, swapped: bool, advance: Callable[[int], None], stop: Callable[[], bool]
    ) -> np.ndarray:
        assert self._readout is not None
        logits = self._engine.logits(self._context.tokens.rows(rows), swapped, advance, stop)
        values = np.full((len(rows), 3), np.nan)
        there = ~np.isnan(logits).any(axis=1)
        shown = self._readout(logits[there])
        values[there] = swap_probabilities(shown) if swapped else shown
        return values

    def close(self) -> None:
        self._engine.unload()


def open_readers(
    predictor: Predictor, battles: pd.DataFrame, engine: Engine, failed: Callable[[str, Exception], None]
) -> dict[str, list[SavedReader]]:
    """Base → its saved models, of every language model of a run, which `engine` will read with; the battles are
    tokenised now.

    `failed` is called with a base that cannot be opened, and why: it is left out, as the others can still be read.
    """
    quiet()
    readers = {}
    for name in predictor.language_models:
        try:
            readers[name] = _open(predictor, name, battles, engine)
        except Exception as error:
            failed(name, error)
    return readers


def _open(predictor: Predictor, name: str, battles: pd.DataFrame, engine: Engine) -> list[SavedReader]:
    from models.transformer.base_model import open_saved

    base, settings = predictor.bases[name], predictor.settings(name)
    assert isinstance(settings, Transformer)
    folders = [base.folder / model for model in base.models]
    context = open_saved(name, settings, battles, folders[0])
    return [SavedReader(context, folder, settings.backbone, engine) for folder in folders]


def with_second_order(predictor: Predictor) -> frozenset[str]:
    """The language models that read both orders when there is time."""
    return frozenset(name for name in predictor.language_models if predictor.bases[name].settings["tta"] != "none")
