"""What a battle is answered with, and the loss: votes as probabilities, one neuron's preference, a teacher's rows."""

import torch
from torch.nn.functional import cross_entropy, kl_div

from battles.swap import SWAPPED_CLASSES
from models.transformer.settings import Transformer

SMALLEST = 1e-12


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
    votes, guide = targets[:, 0], targets[:, 1]
    guided = guide.isfinite().all(dim=1)
    share = weight * guided
    hard = cross_entropy(logits, votes, reduction="none")
    softened = (guide.nan_to_num(1.0).clamp_min(SMALLEST).log() / temperature).softmax(dim=1)
    soft = kl_div((logits / temperature).log_softmax(dim=1), softened, reduction="none").sum(dim=1)
    return ((1 - share) * hard + share * temperature**2 * soft).sum()


def preference(targets: torch.Tensor) -> torch.Tensor:
    """The probability that A is preferred (rows,), a tie counting half."""
    return targets[:, 0] + targets[:, 2] / 2
