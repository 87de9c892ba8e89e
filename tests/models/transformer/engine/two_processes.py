"""What every process of `test_processes` does: predict, train, predict; the leader writes down what came out."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.transformer.library_warnings import quiet

quiet()

from models.transformer.backbone.heads import add_names  # noqa: E402  # after the libraries are quiet
from models.transformer.data.targets import Targets  # noqa: E402
from models.transformer.data.training_set import TrainingSet  # noqa: E402
from models.transformer.engine import distributed, forward  # noqa: E402
from models.transformer.engine.prediction import predict_logits  # noqa: E402
from models.transformer.settings import Transformer  # noqa: E402
from oof.probabilities import softmax  # noqa: E402
from tests.models.transformer.checkpoints import as_loaded, battles, settings  # noqa: E402
from tests.models.transformer.engine.test_training import Fold  # noqa: E402

# With 59 battles a step the second one of 60 has a single battle: one of two processes has none.
CASES: dict[str, dict[str, Any]] = {
    "roberta": {"batch_size": 8, "tokens_per_batch": 256, "learning_rate": 1e-3},
    "llama": {
        **{"batch_size": 8, "tokens_per_batch": 256, "learning_rate": 1e-3},
        **{"quantization": "nf4", "batching": "packed"},
    },
    "gemma2": {"batch_size": 59, "learning_rate": 1e-3, "gradient_checkpointing": True},
    "names": {"batch_size": 59, "learning_rate": 1e-3, "head": "mlp", "names_weight": 0.5},
}
# The checkpoint of a case that is not named after it.
CHECKPOINTS = {"names": "llama", "out of memory": "gemma2"}
ROOM = 600  # tokens


def work(base: Transformer) -> dict[str, np.ndarray]:
    """Probabilities before and after a training, its losses, and the weights that it ends with."""
    torch.nn.Dropout.forward = lambda self, values: values  # type: ignore[method-assign]  # each process draws its own
    fold = Fold(base)
    if base.names_weight:
        names, count = TrainingSet.of(battles()).names
        fold.targets = Targets.of(fold.targets, names=names)
        add_names(fold.model, count, seed=1)
    if base.lora is not None:
        fold.amplify()  # a full fine-tune of weights so large would blow up every rounding error
    before = softmax(predict_logits(as_loaded(fold.model, base, fold.pad), fold.encoded, True))
    curve = fold.train()
    after = softmax(predict_logits(as_loaded(fold.model, base, fold.pad), fold.encoded, False))
    losses = np.array([row["loss"] for row in curve])
    # A bias of the attention's keys changes nothing, so that its gradient is rounding and Adam makes steps of it.
    trained = [p for name, p in fold.model.named_parameters() if p.requires_grad and not name.endswith("key.bias")]
    weights = torch.cat([parameter.detach().flatten() for parameter in trained]).numpy()
    return {"before": before, "after": after, "losses": losses, "weights": weights}


def little_room(real: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """A forward that runs out of memory in the last process over `ROOM` tokens."""

    def tight(model: Any, encoded: Any, rows: np.ndarray, *others: Any) -> torch.Tensor:
        if distributed.state().is_last_process and encoded.lengths[rows].sum() > ROOM:
            raise torch.OutOfMemoryError("no room")
        return real(model, encoded, rows, *others)

    return tight


def main() -> None:
    checkpoints, out = Path(sys.argv[1]), Path(sys.argv[2])
    distributed.require(2)
    found = {
        name: work(settings(checkpoints / CHECKPOINTS.get(name, name), **changes)) for name, changes in CASES.items()
    }
    forward.forward = little_room(forward.forward)
    found["out of memory"] = work(settings(checkpoints / "gemma2", **CASES["gemma2"]))
    if distributed.state().is_main_process:
        np.savez(out, **{f"{case}/{name}": values for case, parts in found.items() for name, values in parts.items()})
    distributed.state().destroy_process_group()


if __name__ == "__main__":
    main()
