"""Training targets and losses: vote probabilities, the preference of a scalar head, a teacher's probabilities."""

import torch
from torch.nn.functional import cross_entropy, kl_div

from battles.swap import SWAPPED_CLASSES
from models.transformer.settings import Transformer

# A teacher's probability of 0 would have no logarithm; its out-of-fold tables hold none below 1e-6.
TEACHER_FLOOR = 1e-12


def as_shown(targets: torch.Tensor, swapped: torch.Tensor) -> torch.Tensor:
    """A copy of targets (rows, …, 3) with A and B exchanged where `swapped` (rows,) says that the responses are."""
    shown = targets.clone()
    shown[swapped] = shown[swapped][..., SWAPPED_CLASSES]
    return shown


def loss_sum(logits: torch.Tensor, targets: torch.Tensor, settings: Transformer) -> torch.Tensor:
    """The loss, summed over rows, of fp32 logits (rows, outputs).

    Targets are vote probabilities (rows, 3): their cross-entropy, or with `objective: mse` the squared error of
    the one output against the probability that A is preferred, a tie counting half. With a teacher they are
    (rows, 2, 3), votes and teacher: (1 - w) · cross-entropy + w · T² · KL(teacher ‖ model), both softened by the
    temperature T (Hinton et al. 2015, arXiv:1503.02531, section 2). A row whose teacher is NaN is a vote only.
    """
    targets = targets.to(logits.device)
    if settings.objective == "mse":
        return (logits[:, 0] - preference(targets)).square().sum()
    if targets.ndim == 2:
        return cross_entropy(logits, targets, reduction="sum")
    assert settings.teacher is not None
    weight, temperature = settings.teacher.weight, settings.teacher.temperature
    votes, teacher = targets[:, 0], targets[:, 1]
    has_teacher = teacher.isfinite().all(dim=1)
    soft_weight = weight * has_teacher
    hard = cross_entropy(logits, votes, reduction="none")
    softened = (teacher.nan_to_num(1.0).clamp_min(TEACHER_FLOOR).log() / temperature).softmax(dim=1)
    soft = kl_div((logits / temperature).log_softmax(dim=1), softened, reduction="none").sum(dim=1)
    return ((1 - soft_weight) * hard + soft_weight * temperature**2 * soft).sum()


def preference(targets: torch.Tensor) -> torch.Tensor:
    """The probability that A is preferred (rows,), a tie counting half."""
    return targets[:, 0] + targets[:, 2] / 2
