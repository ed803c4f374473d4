"""LoRA adapters through peft: add a new one to a language model, or merge a trained one into it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from sonogloss.errors import ModelFormatError, OptionError

if TYPE_CHECKING:
    from peft import PeftModel

# peft takes seconds to import and most captioners have no adapter, so it is imported where it is used.


# Names of the query and value projections by family; the first entry that a model has is adapted.
_QUERY_AND_VALUE = (
    ("q_proj", "v_proj"),  # Llama, Mistral, Qwen, OPT, Gemma, Phi
    ("query", "value"),  # BERT-like decoders
    ("c_attn",),  # GPT-2: queries, keys and values in one projection
    ("query_key_value",),  # GPT-NeoX, Pythia, Falcon, BLOOM
    ("qkv_proj",),  # Phi-3
    ("Wqkv",),  # MPT
)


def attach_adapter(
    model: PreTrainedModel, *, rank: int, alpha: int, dropout: float, targets: Sequence[str] = ()
) -> PeftModel:
    """Freeze a language model and add a new LoRA adapter to some of its linear layers.

    Args:
        model: the language model.
        rank: of the adapter's matrices.
        alpha: the adapter's output is scaled by alpha / rank.
        dropout: on the adapter's input.
        targets: names of the modules, by their last part; by default the query and value projections, as in DRCap.
            Models with one projection for queries, keys and values, such as GPT-2, have the adapter on all three.

    Raises:
        OptionError: the model has no linear layer of such a name.
    """
    from peft import LoraConfig, PeftModel, get_peft_model

    settings = LoraConfig(
        task_type="CAUSAL_LM",
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=list(_targets(model, targets)),
        fan_in_fan_out=any(
            isinstance(module, Conv1D) for module in model.modules()
        ),  # GPT-2 keeps its weights transposed
    )
    with _without_deprecations():
        adapted = get_peft_model(model, settings)
    assert isinstance(adapted, PeftModel)
    return adapted


def _targets(model: PreTrainedModel, named: Sequence[str]) -> Sequence[str]:
    layers = (torch.nn.Linear, Conv1D)
    tied = model.get_input_embeddings().weight
    adaptable = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, layers) and module.weight is not tied  # merging would change the input embeddings too
    }
    if named:
        if missing := [name for name in named if name not in adaptable]:
            raise OptionError(
                f"{type(model).__name__} has nothing called {', '.join(missing)} to adapt.",
                f"Choose among {', '.join(sorted(adaptable))}.",
            )
        return named
    for names in _QUERY_AND_VALUE:
        if adaptable.issuperset(names):
            return names
    raise OptionError(
        f"The query and value projections of {type(model).__name__} have unknown names.",
        f"Name the modules to adapt, among {', '.join(sorted(adaptable))}.",
    )


def merge_adapter(model: PreTrainedModel, directory: str) -> PreTrainedModel:
    """Merge the adapter in a local directory into the weights, so that it costs nothing in decoding.

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
    """Peft reads properties that transformers has renamed; users can do nothing about that warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield
