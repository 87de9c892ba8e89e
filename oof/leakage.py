"""Detects bases that were trained on the rows they predict.

Predictions of a model's own training rows look too good, and a stacker believes them: its own log loss becomes
worthless, and on new rows it relies on a model that is not that good. A base is suspected on one of three signs:

- *Negative weight.* It is ahead of all others together, and a multinomial regression of the votes on it and on the
  others gives the others a negative weight. What an honest base knows is of the same kind as what the others know: they
  get a positive weight, or none where the base knows it all. A remembered vote is added to what the base knows; taking
  away what all know leaves the memory, and that predicts the votes. No temperature hides this, as the regression scales
  the base itself.
- *Far too unsure.* It is very far ahead, and its log-probabilities must be doubled at least to fit the votes: a
  remembered vote moves a prediction towards it, but leaves it less sure than it is right.
- *One fold.* Its lead is much larger in one fold than in any other: it was trained on the rows of that fold.

Limits (`python -m benchmarks.suspects` has the cases): one base alone cannot be judged; a memory of a few per cent
passes beside bases that are much better or much worse, and so does much of it on few battles. An honest base that is
ahead of all others together and contains one of them may be refused, unless the user lets it in.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from battles.errors import BadInput
from oof.metrics import log_loss, paired_standard_error, row_losses
from oof.probabilities import class_count, log_probabilities, softmax

# Of all signs: distance from chance, in standard errors.
STANDARD_ERRORS = 3.0
# Negative weight: nats by which a suspect is ahead of all others together, and the weight that it gives them.
AHEAD, NEGATIVE = 0.03, -0.15
# Far too unsure: nats, and the factor on its log-probabilities that fits the votes best. Of two fine-tuned language
# models one is ahead by 0.01, and by 0.13 of TF-IDF and a model of embeddings; language models need 0.75 to 1.05.
FAR_AHEAD, UNSURE = 0.2, 2.0
# One fold: nats by which the lead exceeds that in any other fold, and standard errors.
AHEAD_IN_A_FOLD, STANDARD_ERRORS_OF_A_FOLD = 0.04, 5.0
# Fewer battles are no proof.
LEAST_BATTLES = 30
# Newton's method ends at so small a gain in nats: of votes that are all but separated the weights grow for ever.
_NEWTON_STEPS, _LEAST_GAIN, _LEAST_STEP, _RIDGE = 50, 1e-10, 1e-9, 1e-6


def suspects(probabilities: Mapping[str, np.ndarray], labels: np.ndarray, folds: np.ndarray) -> dict[str, str]:
    """Base → why it is suspected; {} for one base.

    probabilities: base → (n, 3) on the same rows, with votes (n,) and fold numbers (n,).
    """
    if len(probabilities) < 2 or len(labels) < LEAST_BATTLES:
        return {}
    logs = {name: _logs(values) for name, values in probabilities.items()}
    found = {name: _reason(name, logs, labels, folds) for name in probabilities}
    return {name: reason for name, reason in found.items() if reason is not None}


def refuse_suspects(probabilities: Mapping[str, np.ndarray], labels: np.ndarray, folds: np.ndarray) -> None:
    """Raises BadInput for the first of `suspects`.

    Only for predictions made elsewhere: a run's own bases are out-of-fold by construction.
    """
    for name, reason in suspects(probabilities, labels, folds).items():
        raise BadInput(
            f"base {name}: {reason}: as predictions of rows that it was trained on; leave it out of BASES, or, if its "
            "predictions are out-of-fold, give ALLOW_SUSPECT=1"
        )


def _logs(probabilities: np.ndarray) -> np.ndarray:
    """Log-probabilities (n, classes) of the classes that have any."""
    return log_probabilities(probabilities)[:, : class_count(probabilities)]


def _reason(name: str, logs: Mapping[str, np.ndarray], labels: np.ndarray, folds: np.ndarray) -> str | None:
    others = [values for other, values in logs.items() if other != name]
    pool = _Regression.fit(others, labels).logits(others)
    # Scaled to fit the votes best, so that neither a temperature makes a lead nor hides one.
    alone = _Regression.fit([logs[name]], labels)
    together = _Regression.fit([pool, logs[name]], labels)
    losses = row_losses(softmax(alone.logits([logs[name]])), labels)
    lead = row_losses(softmax(pool), labels) - losses
    ahead, weight, factor = float(lead.mean()), float(together.weights[0]), float(alone.weights[0])
    said = f"it is {ahead:.2f} nats ahead of all others together, and the votes fit best with"
    if ahead >= AHEAD and weight <= NEGATIVE and _is_certain(losses.mean() - together.loss, len(labels)):
        return f"{said} a weight of {weight:.2f} for them beside it"
    # Of the factor 1 itself: what the intercepts bring is not counted.
    unscaled = log_loss(softmax(logs[name] + alone.intercepts), labels)
    if ahead >= FAR_AHEAD and factor >= UNSURE and _is_certain(unscaled - losses.mean(), len(labels)):
        return f"{said} its log-probabilities multiplied by {factor:.1f}"
    return _in_one_fold(lead, folds)


def _in_one_fold(lead: np.ndarray, folds: np.ndarray) -> str | None:
    """Whether the lead (n,) over all others is much larger in one fold than in the one that comes next."""
    parts = sorted((lead[folds == fold].mean(), fold) for fold in np.unique(folds))[-2:]
    if len(parts) < 2:
        return None
    (next_ahead, following), (ahead, fold) = parts
    rows = [lead[folds == number] for number in (fold, following)]
    errors = [paired_standard_error(values, np.zeros(len(values))) for values in rows]
    noise = float(np.hypot(errors[0], errors[1]))
    more = float(ahead - next_ahead)
    enough = min(len(values) for values in rows) >= LEAST_BATTLES
    if enough and more > AHEAD_IN_A_FOLD and more > STANDARD_ERRORS_OF_A_FOLD * noise:
        return f"in fold {fold} it is {more:.2f} nats further ahead of all others together than in any other fold"
    return None


def _is_certain(gain: float, rows: int) -> bool:
    """Whether a parameter that lowers the log loss by `gain` is not there by chance.

    Twice the gain in log-likelihood is the square of its distance from chance in standard errors (Wilks 1938); unlike
    its standard error, it holds where a base all but separates the votes.
    """
    return 2 * rows * gain >= STANDARD_ERRORS**2


@dataclass(frozen=True)
class _Regression:
    """Multinomial regression with one weight for each input (n, classes) and an intercept for each class.

    weights (inputs,); intercepts (classes,), the last one 0; loss: the log loss of the fitted rows.
    """

    weights: np.ndarray
    intercepts: np.ndarray
    loss: float

    def logits(self, inputs: list[np.ndarray]) -> np.ndarray:
        """The logits (n, classes) of inputs like those of the fit."""
        weighted: np.ndarray = np.tensordot(self.weights, np.stack(inputs), axes=1)
        return weighted + self.intercepts

    @classmethod
    def fit(cls, inputs: list[np.ndarray], labels: np.ndarray) -> "_Regression":
        """Newton's method from equal weights, each step halved until the loss falls."""
        rows, classes = inputs[0].shape
        count = len(inputs)
        # (n, classes, parameters): what each parameter adds to the logit of a class.
        columns = np.zeros((rows, classes, count + classes - 1))
        columns[:, :, :count] = np.stack(inputs, axis=2)
        columns[:, np.arange(classes - 1), count + np.arange(classes - 1)] = 1.0
        chosen = columns[np.arange(rows), labels].sum(axis=0)
        params = np.zeros(columns.shape[2])
        params[:count] = 1 / count
        before = log_loss(softmax(columns @ params), labels)
        for _ in range(_NEWTON_STEPS):
            step = _newton_step(columns, params, chosen)
            while (after := log_loss(softmax(columns @ (params + step)), labels)) > before:
                step /= 2
                if np.abs(step).max() < _LEAST_STEP:
                    return cls(params[:count], np.append(params[count:], 0.0), before)
            gained, params, before = before - after, params + step, after
            if gained < _LEAST_GAIN:
                break
        return cls(params[:count], np.append(params[count:], 0.0), before)


def _newton_step(columns: np.ndarray, params: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """The step of Newton's method to a higher likelihood; `chosen` is the sum of the voted classes' columns."""
    chance = softmax(columns @ params)
    mean = np.einsum("nc,ncp->np", chance, columns)
    second = np.einsum("nc,ncp,ncq->pq", chance, columns, columns, optimize=True)
    hessian = second - mean.T @ mean + _RIDGE * np.eye(len(params))
    return np.asarray(np.linalg.solve(hessian, chosen - mean.sum(axis=0)))
