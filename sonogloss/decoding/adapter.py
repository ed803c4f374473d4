"""LoRA adapters through peft: put a new one on a language model, or fold a trained one into it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from sonogloss.errors import ModelFormatError

if TYPE_CHECKING:
    from peft import PeftModel

# peft takes seconds to import and most captioners have no adapter, so it is imported where it is needed.


def attach_adapter(model: PreTrainedModel, *, rank: int, alpha: int, dropout: float) -> PeftModel:
    """Freeze a language model and put a new LoRA adapter on the projections that peft chooses for its architecture.

    For Llama these are the query and value projections, as in DRCap; for GPT-2 the joint one.
    """
    from peft import LoraConfig, PeftModel, get_peft_model

    settings = LoraConfig(
        task_type="CAUSAL_LM",
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        fan_in_fan_out=any(
            isinstance(module, Conv1D) for module in model.modules()
        ),  # GPT-2 keeps its weights transposed
    )
    with _without_deprecations():
        adapted = get_peft_model(model, settings)
    assert isinstance(adapted, PeftModel)
    return adapted


def merge_adapter(model: PreTrainedModel, directory: str) -> PreTrainedModel:
    """Fold the adapter in a local directory into the weights, so that it costs nothing in decoding.

    Raises:
        ModelFormatError: the directory is not an adapter for this model.
    """
    from peft import PeftModel

    for needed in ("adapter_config.json", "adapter_model.safetensors"):
        if not (Path(directory) / needed).is_file():
            raise ModelFormatError(
                f"The adapter {directory!r} has no {needed}.", "Save it again with peft, as safetensors."
            )
    try:
        with _without_deprecations():
            merged: PreTrainedModel = PeftModel.from_pretrained(model, directory).merge_and_unload()
    except (SafetensorError, RuntimeError, ValueError, KeyError, TypeError) as problem:
        raise ModelFormatError(
            f"The adapter {directory!r} does not fit the language model ({str(problem).strip()}).",
            "Use the language model that it was trained on.",
        ) from problem
    return merged


@contextmanager
def _without_deprecations() -> Iterator[None]:
    """Peft reads properties that transformers has renamed; its users can do nothing about it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield
