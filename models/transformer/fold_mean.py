"""One model in place of those of all folds, by the mean of their adapters, and whether it says what they say."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.transformer import fold
from models.transformer.backbone.adapter_mean import write_adapter_mean
from models.transformer.data.tokenization import Encoded
from models.transformer.engine import distributed
from models.transformer.engine.prediction import predict_logits
from models.transformer.fold import FoldContext
from oof.metrics import log_loss
from oof.model_store import TAKEN, FoldResult
from oof.table import MEAN

# Battles that both are compared on, of each kind, and nats by which the one model may be worse on any of them.
COMPARED, TOLERANCE = 512, 0.002


@dataclass(frozen=True)
class Comparison:
    """The mean of adapters against the mean of the folds' predictions, in nats.

    losses: of voted battles, by the folds and by the one model. Both have learnt from nearly all of these battles, in
    the same measure, so the figures are too good but their difference is fair. divergences: kind of battles → mean
    Kullback-Leibler divergence of the one model from the folds: what it loses if the folds' probabilities are right.
    """

    losses: tuple[float, float]
    divergences: Mapping[str, float]

    @property
    def taken(self) -> bool:
        """Whether the one model may stand for the folds."""
        return max(self.losses[1] - self.losses[0], *self.divergences.values()) <= TOLERANCE

    def __str__(self) -> str:
        apart = ", ".join(f"{value:.4f} on {kind} battles" for kind, value in self.divergences.items())
        return (
            f"the mean of the adapters is {apart} nats from the mean of the predictions; on voted ones, most of which "
            f"each has learnt from, log loss {self.losses[1]:.4f} against {self.losses[0]:.4f}: "
            + ("it predicts" if self.taken else f"over {TOLERANCE}, so all folds predict")
        )


def average(
    context: FoldContext,
    folds: Sequence[int],
    number: int,
    train_rows: np.ndarray,
    valid_rows: np.ndarray,
    folder: Path,
) -> FoldResult:
    """Writes the model to `folder`, beside those of the `folds`, compares it with them and notes what came of it.

    A `FitModel` that learns from no battle and scores none. Of several processes all call it at the same time.
    """
    began, process = time.perf_counter(), distributed.state()
    folders = [folder.parent / f"fold-{fold_number}" for fold_number in folds]
    if process.is_main_process:
        write_adapter_mean([place / "model" for place in folders], folder / "model")
    process.wait_for_everyone()
    draw = np.random.default_rng(context.settings.seed + number)
    votes = context.training_set.labels
    rows = draw.permutation(len(votes))[:COMPARED]
    compared = {"voted": context.scored_tokens.rows(rows)}
    if context.test_tokens is not None:
        compared["test"] = context.test_tokens.rows(draw.permutation(len(context.test_tokens))[:COMPARED])
    *of_folds, one = [_predict(context, place, compared) for place in (*folders, folder)]
    many = {kind: np.mean([predicted[kind] for predicted in of_folds], axis=0) for kind in compared}
    found = Comparison(
        (log_loss(many["voted"], votes[rows]), log_loss(one["voted"], votes[rows])),
        {kind: divergence(many[kind], one[kind]) for kind in compared},
    )
    if process.is_main_process:
        print(f"{context.name}: {found}", flush=True)
    details = {TAKEN: found.taken, "losses": list(found.losses), "divergences": dict(found.divergences)}
    nothing = {MEAN: np.empty((0, 3))}
    return FoldResult(nothing, None, 0.0, time.perf_counter() - began, details=details)


def divergence(of: np.ndarray, by: np.ndarray) -> float:
    """Mean Kullback-Leibler divergence, in nats, of probabilities `by` (rows, 3) from `of`, which may hold zeros."""
    ratios = np.log(np.maximum(of, 1e-15)) - np.log(np.maximum(by, 1e-15))
    return float((of * ratios).sum(axis=1).mean())


def _predict(context: FoldContext, folder: Path, compared: Mapping[str, Encoded]) -> dict[str, np.ndarray]:
    """Probabilities (battles, 3) of the battles in the order that they have, by the model saved in `folder`."""
    base, readout = fold.restore(context.settings, folder, context.tokenizer.pad_token_id, context.device)
    predicted = {kind: readout(predict_logits(base, tokens, False)) for kind, tokens in compared.items()}
    del base
    fold.free(context.device)
    return predicted
