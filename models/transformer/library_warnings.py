"""Silences what the language-model libraries repeat at every import, load or step. Imports none of them."""

import logging
import os
import warnings

# A message of bitsandbytes on the CPU, once per layer and step, about the cast of inputs to half precision; and one
# at import about a faster kernel that only a hub download could bring. And the hub's word on each attempt
# without a network: what comes of them is said once, by the refusal.
_REPEATED = ("will be cast", "kernels-community", "thrown while requesting", "Retrying in")
_LOGGERS = (
    "bitsandbytes",
    "bitsandbytes.autograd._functions",
    "bitsandbytes.backends.cpu.ops",
    "huggingface_hub.utils._http",
)


def quiet() -> None:
    """To be called before torch and transformers are imported: some of it is said at import.

    And lets CUDA's allocator extend its segments, unless its configuration is set: batches of unlike lengths leave
    holes between fixed ones. It reads this when it is first used.
    """
    if not {"PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"} & os.environ.keys():
        os.environ["PYTORCH_ALLOC_CONF"] = "expandable_segments:True"
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_worth_saying)
    warnings.filterwarnings("ignore", message="MatMul8bitLt: inputs will be cast")
    # peft and accelerate read an attribute that transformers renamed.
    warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")


def _worth_saying(record: logging.LogRecord) -> bool:
    return not any(text in record.getMessage() for text in _REPEATED)
