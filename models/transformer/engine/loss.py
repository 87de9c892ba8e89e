"""Losses: of vote probabilities, of the preference of a scalar head, of a teacher's probabilities."""

from dataclasses import replace

import torch
from torch.nn.functional import cosine_similarity, cross_entropy, kl_div

from models.transformer.data.targets import UNKNOWN, Targets
from models.transformer.settings import Transformer
from models.transformer.settings_parts import Teacher

# A teacher's probability of 0 would have no logarithm; its out-of-fold tables hold none below 1e-6.
TEACHER_FLOOR = 1e-12


def loss_sum(logits: torch.Tensor, targets: Targets, settings: Transformer) -> torch.Tensor:
    """The loss, summed over rows by their weights, of fp32 logits (rows, outputs).

    Of votes the cross-entropy, or with `objective: mse` the squared error of the one output against the probability
    that A is preferred, a tie counting half. With a teacher, of weight w and temperature T: (1 - w) · cross-entropy +
    w · (T² · KL(teacher ‖ model) + c · (1 - cos(teacher, model))), probabilities of both softened by T (Hinton et al.
    2015, arXiv:1503.02531, section 2) and the cosine taken of their vectors, with c = `teacher.cosine`. A row whose
    teacher is NaN is a vote only.

    With `names_weight` the logits of the two models' names stand behind the outputs, (rows, outputs + 2 · names), and
    so many times the mean of the two cross-entropies is added; an unknown name adds nothing.
    """
    targets = targets.to(logits.device)
    if targets.names is not None:
        outputs, guesses = logits[:, : settings.outputs], logits[:, settings.outputs :]
        losses = settings.names_weight * _guessed(guesses, targets.names)
        weighted = losses if targets.weights is None else targets.weights * losses
        return loss_sum(outputs, replace(targets, names=None), settings) + weighted.sum()
    if settings.objective == "mse":
        losses = (logits[:, 0] - preference(targets.votes)).square()
    elif targets.teacher is not None:
        assert settings.teacher is not None
        losses = _taught(logits, targets.votes, targets.teacher, settings.teacher)
    elif targets.weights is None:
        return cross_entropy(logits, targets.votes, reduction="sum")
    else:
        losses = cross_entropy(logits, targets.votes, reduction="none")
    return (losses if targets.weights is None else targets.weights * losses).sum()


def _taught(logits: torch.Tensor, votes: torch.Tensor, teacher: torch.Tensor, settings: Teacher) -> torch.Tensor:
    """The loss (rows,) against votes and a teacher's probabilities."""
    temperature = settings.temperature
    soft_weight = settings.weight * teacher.isfinite().all(dim=1)
    hard = cross_entropy(logits, votes, reduction="none")
    softened = (teacher.nan_to_num(1.0).clamp_min(TEACHER_FLOOR).log() / temperature).softmax(dim=1)
    soft = temperature**2 * kl_div((logits / temperature).log_softmax(dim=1), softened, reduction="none").sum(dim=1)
    if settings.cosine:
        soft = soft + settings.cosine * (1 - cosine_similarity((logits / temperature).softmax(dim=1), softened, dim=1))
    return (1 - soft_weight) * hard + soft_weight * soft


def _guessed(logits: torch.Tensor, names: torch.Tensor) -> torch.Tensor:
    """The mean cross-entropy (rows,) of the names of both models, (rows, 2), of logits (rows, 2 · names)."""
    rows = len(names)
    losses = cross_entropy(logits.reshape(2 * rows, -1), names.reshape(-1), ignore_index=UNKNOWN, reduction="none")
    return losses.reshape(rows, 2).mean(dim=1)


def preference(votes: torch.Tensor) -> torch.Tensor:
    """The probability that A is preferred (rows,), a tie counting half."""
    return votes[:, 0] + votes[:, 2] / 2
