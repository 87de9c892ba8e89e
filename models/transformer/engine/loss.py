"""Losses: of vote probabilities, of the preference of a scalar head, of a teacher's probabilities."""

import torch
from torch.nn.functional import cosine_similarity, cross_entropy, kl_div

from models.transformer.data.targets import Targets
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
    """
    targets = targets.to(logits.device)
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


def preference(votes: torch.Tensor) -> torch.Tensor:
    """The probability that A is preferred (rows,), a tie counting half."""
    return votes[:, 0] + votes[:, 2] / 2
