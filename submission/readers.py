"""The saved language models of a run as a prediction under a clock reads them."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from battles.swap import swap_probabilities
from models.transformer.library_warnings import quiet
from models.transformer.settings import Transformer
from submission.predict import Predictor

if TYPE_CHECKING:
    from models.transformer.fold import TestContext

# Bytes of weights that are read in a second, at the least: a data set that is mounted for the first time is slow.
SLOWEST_DISK = 50e6
# Seconds beside that: building the model, the first kernels.
_BESIDE = 10.0


class SavedReader:
    """A saved model of a transformer base; the battles are tokenised once for all models of the base."""

    def __init__(self, context: "TestContext", folder: Path, backbone: str) -> None:
        self._context, self._folder = context, folder
        self.tokens: np.ndarray = context.tokens.lengths
        self._base: Any = None
        self._readout: Callable[[np.ndarray], np.ndarray] | None = None
        weights = [*(folder / "model").rglob("*"), *(Path(backbone).rglob("*") if Path(backbone).is_dir() else ())]
        size = sum(path.stat().st_size for path in weights if path.is_file())
        self.load_seconds = _BESIDE + size / SLOWEST_DISK

    def load(self) -> None:
        from models.transformer import fold

        context = self._context
        self._base, self._readout = fold.restore(context.settings, self._folder, context.pad, context.device)

    def read(
        self, rows: np.ndarray, swapped: bool, advance: Callable[[int], None], stop: Callable[[], bool]
    ) -> np.ndarray:
        from models.transformer.engine.prediction import predict_logits

        assert self._readout is not None
        logits = predict_logits(self._base, self._context.tokens.rows(rows), swapped, advance, stop)
        values = np.full((len(rows), 3), np.nan)
        there = ~np.isnan(logits).any(axis=1)
        shown = self._readout(logits[there])
        values[there] = swap_probabilities(shown) if swapped else shown
        return values

    def close(self) -> None:
        from models.transformer import fold

        self._base = self._readout = None
        fold.free(self._context.device)


def open_readers(
    predictor: Predictor, battles: pd.DataFrame, failed: Callable[[str, Exception], None]
) -> dict[str, list[SavedReader]]:
    """Base → its saved models, of every language model of a run; the battles are tokenised now.

    `failed` is called with a base that cannot be opened, and why: it is left out, as the others can still be read.
    """
    quiet()
    readers = {}
    for name in predictor.language_models:
        try:
            readers[name] = _open(predictor, name, battles)
        except Exception as error:
            failed(name, error)
    return readers


def _open(predictor: Predictor, name: str, battles: pd.DataFrame) -> list[SavedReader]:
    from models.transformer.base_model import open_saved

    base, settings = predictor.bases[name], predictor.settings(name)
    assert isinstance(settings, Transformer)
    folders = [base.folder / model for model in base.models]
    context = open_saved(name, settings, battles, folders[0])
    return [SavedReader(context, folder, settings.backbone) for folder in folders]


def with_second_order(predictor: Predictor) -> frozenset[str]:
    """The language models that read both orders when there is time."""
    return frozenset(name for name in predictor.language_models if predictor.bases[name].settings["tta"] != "none")
