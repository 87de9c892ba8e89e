"""The head of a decoder where it is not the library's one linear layer, and heads that checkpoints bring along."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from battles.errors import BadInput
from models.transformer.backbone.packing import DECODERS, ENCODERS
from models.transformer.backbone.precision import HEADS
from models.transformer.settings import Transformer

# The name under which a model has the head of `add_names`.
NAMES = "names_head"
Mismatches = Iterable[tuple[str, torch.Size, torch.Size]]


class Mlp(torch.nn.Module):
    """A hidden layer as wide as its input, GELU, dropout, and a linear layer without bias: (…, width) to (…, outputs).

    As RoBERTa's own head, with another activation.
    """

    def __init__(self, width: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.hidden = torch.nn.Linear(width, width)
        self.dropout = torch.nn.Dropout(dropout)
        self.out = torch.nn.Linear(width, outputs, bias=False)

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        """Logits of hidden states."""
        logits: torch.Tensor = self.out(self.dropout(torch.nn.functional.gelu(self.hidden(pooled))))
        return logits


def add_names(model: torch.nn.Module, count: int, seed: int) -> None:
    """Adds a head that guesses which of `count` models stand in the first and the second place, in place.

    `engine.forward` reads it in train mode, (rows, width) to (rows, 2 · count). Raises BadInput for an architecture
    whose hidden states it does not read itself.
    """
    config: Any = model.config
    if config.model_type not in DECODERS + ENCODERS:
        raise BadInput(f"names_weight: not for a {config.model_type}; set it to 0")
    torch.manual_seed(seed)
    head = torch.nn.Linear(config.hidden_size, 2 * count)
    model.add_module(NAMES, head.to(next(model.parameters()).device))


def drop_names(model: torch.nn.Module) -> None:
    """Takes the head of `add_names` away, if there is one, in place."""
    if NAMES in model._modules:
        delattr(model, NAMES)


def install(model: Any, settings: Transformer) -> None:
    """Puts the head that `settings` ask for in the place of a decoder's linear one, in place, drawn at random.

    Raises BadInput for an architecture whose head is another.
    """
    if settings.head == "linear":
        return
    linear = getattr(model, "score", None)
    if not isinstance(linear, torch.nn.Linear):
        raise BadInput(
            f"head: mlp, but {settings.backbone} is a {model.config.model_type}, whose head is no single layer to be "
            "replaced; set it to linear"
        )
    head = Mlp(linear.in_features, settings.outputs, settings.head_dropout)
    model.score = head.to(linear.weight.device, linear.weight.dtype)


def read_mlp(folder: Path) -> dict[str, torch.Tensor]:
    """The state of the `Mlp` that a full fine-tune was saved with in `folder`; empty where there is none.

    Raises BadInput for files that cannot be read.
    """
    state: dict[str, torch.Tensor] = {}
    for path in sorted(folder.glob("model*.safetensors")):
        try:
            with safe_open(path, framework="pt") as weights:
                names = [name for name in weights.keys() if name.startswith(("score.hidden.", "score.out."))]  # noqa: SIM118  # not a dict
                state |= {name.removeprefix("score."): weights.get_tensor(name) for name in names}
        except (OSError, SafetensorError) as error:
            raise BadInput(f"{path}: cannot be read ({str(error).splitlines()[0]})") from None
    return state


def draw_anew(mismatches: Mismatches, settings: Transformer) -> None:
    """Says that a checkpoint's head has other outputs, as a reward model's one, and is drawn anew.

    `mismatches` are names of weights, shapes in the checkpoint and in the model. Raises BadInput where anything but
    the number of a head's outputs differs.
    """
    found = list(mismatches)
    if any(saved[1:] != wanted[1:] or not set(name.split(".")) & {*HEADS} for name, saved, wanted in found):
        raise BadInput(
            f"backbone: {settings.backbone!r} has weights of other shapes than its config.json says; give the model it "
            "was made from"
        )
    if found:
        outputs = found[0][1][0]
        print(
            f"{settings.backbone}: its head has {outputs} output{'s' * (outputs != 1)}; one of {settings.outputs} is "
            "drawn anew",
            flush=True,
        )
