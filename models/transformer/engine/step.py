"""One optimizer step's gradients: its rows cut into micro-batches that fit the memory, over one process or several."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator

from battles.errors import BadInput
from models.transformer.backbone.loading import LoadedBase
from models.transformer.backbone.packing import pack_multiple
from models.transformer.data.batching import batches, computed_tokens
from models.transformer.data.targets import Targets
from models.transformer.data.tokenization import Encoded
from models.transformer.engine import distributed, out_of_memory
from models.transformer.engine.forward import Scorer
from models.transformer.engine.fsdp import Sharded
from models.transformer.engine.loss import loss_sum
from models.transformer.engine.optimizer import reserve_moments
from models.transformer.settings import Transformer


@dataclass
class GradientStep:
    """Accumulates the gradients of optimizer steps through `scorer`, a module as accelerate has prepared it.

    `targets` are in the original order. `budget` is the most tokens of a micro-batch; it halves where
    the memory runs out, and stays so. `multiple` is `backbone.packing.pack_multiple`'s.
    """

    accelerator: Accelerator
    scorer: torch.nn.Module
    encoded: Encoded
    targets: Targets
    settings: Transformer
    pad: int
    multiple: int
    budget: int

    @classmethod
    def of(
        cls,
        accelerator: Accelerator,
        scorer: torch.nn.Module,
        base: LoadedBase,
        encoded: Encoded,
        targets: Targets | np.ndarray,
    ) -> "GradientStep":
        """With the packing of the base's model and the token budget of its settings."""
        settings = base.settings
        multiple = pack_multiple(base.model, settings)
        wanted = targets if isinstance(targets, Targets) else Targets.of(targets)
        return cls(accelerator, scorer, encoded, wanted, settings, base.pad, multiple, settings.tokens_per_batch)

    def run(self, rows: np.ndarray, swapped: np.ndarray, number: int, clear: Callable[[], None]) -> tuple[float, float]:
        """Gradients of step `number`; its loss and the tokens computed, each the mean over processes.

        Where the memory runs out, the whole step is done again with half of the budget, so that its gradients are those
        of any budget; `clear` resets them. One of several processes cannot: the others wait for it (BadInput).
        """
        while True:
            try:
                loss, computed = distributed.mean(self.accumulate(rows, swapped))
                return loss, computed
            except torch.OutOfMemoryError:
                if self.accelerator.num_processes > 1:
                    raise BadInput(
                        f"tokens_per_batch: {self.budget} was too much for process {self.accelerator.process_index} at "
                        f"step {number}; set a smaller one: the fold goes on from its checkpoint"
                    ) from None
                clear()
            # Outside of the except block, which keeps what the failed attempt left.
            self._halve(rows)

    def try_longest(
        self, scorer: Scorer, optimizer: torch.optim.Optimizer, steps: list[tuple[np.ndarray, np.ndarray]]
    ) -> None:
        """Halves the budget until the step of the most tokens fits every process; its gradients are left behind.

        To be called before training in several processes: one that runs out of memory later leaves the others waiting.
        `scorer` is the module before it was prepared, as the prepared one's processes wait for each other. It is tried
        as it will train: in train mode, as transformers checkpoints in no other, and beside the optimizer's moments,
        which are made only by its first step.
        """
        rows, swapped = max(steps, key=lambda step: self.encoded.lengths[step[0]].sum())
        prepared, self.scorer = self.scorer, scorer
        scorer.train()
        moments = reserve_moments(optimizer, self.settings, self.accelerator.device)
        while distributed.any_of(failed := self._runs_out_of_memory(rows, swapped)):
            if failed:
                self._halve(rows[_own_part(len(rows))])
        del moments
        self.scorer = prepared

    def accumulate(self, rows: np.ndarray, swapped: np.ndarray) -> tuple[float, int]:
        """Loss and computed tokens of this process's part of a step, whose gradients are added up in micro-batches.

        The last micro-batch exchanges the gradients. Sharded weights exchange theirs in every micro-batch, and a
        process that has fewer repeats its last one at no weight.
        """
        wanted = self.targets.rows(rows).shown(torch.from_numpy(swapped))
        own = _own_part(len(rows))
        weight = self.accelerator.num_processes / len(rows)  # gradients are averaged over processes
        if not len(own):
            own, weight = np.arange(1), 0.0  # fewer rows than processes: all must take part in the exchange
        parts = [own[at] for at in batches(self.encoded.lengths[rows[own]], self.budget, self.multiple)]
        weighted = [(part, weight) for part in parts]
        sharded = isinstance(self.scorer, Sharded)
        if sharded:
            weighted += [(parts[-1], 0.0)] * (distributed.all_reduce_max(len(parts)) - len(parts))
        losses, computed = [], 0
        for number, (part, part_weight) in enumerate(weighted):
            exchanges = sharded or number == len(parts) - 1
            with nullcontext() if exchanges else self.accelerator.no_sync(self.scorer):
                logits = self.scorer(self.encoded, rows[part], swapped[part], self.pad, self.multiple)
                part_loss = loss_sum(logits, wanted.rows(part), self.settings) * part_weight
                self.accelerator.backward(part_loss)
            losses.append(part_loss.detach())
            computed += computed_tokens(self.encoded.lengths[rows[part]], self.multiple)
        # Read together: a GPU would stand still if each were waited for before the next micro-batch is on its way.
        return sum(torch.stack(losses).tolist()), computed

    def _halve(self, rows: np.ndarray) -> None:
        lengths = self.encoded.lengths[rows]
        self.budget = out_of_memory.halve_token_budget(self.budget, lengths, self.multiple, self.settings)

    def _runs_out_of_memory(self, rows: np.ndarray, swapped: np.ndarray) -> bool:
        try:
            self.accumulate(rows, swapped)
        except torch.OutOfMemoryError:
            return True
        return False


def _own_part(rows: int) -> np.ndarray:
    """This process's numbers of a step's rows."""
    return distributed.shard_indices(rows)
