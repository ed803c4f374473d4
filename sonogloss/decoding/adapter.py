"""LoRA adapters through peft: put a new one on a language model, or fold a trained one into it."""

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

# peft takes seconds to import and most captioners have no adapter, so it is imported where it is needed.


# How families name what makes queries and values; the first pair or joint projection that a model has is adapted.
_QUERY_AND_VALUE = (
    ("q_proj", "v_proj"),  # Llama, Mistral, Qwen, OPT, Gemma, Phi
    ("query", "value"),  # BERT-like decoders
    ("c_attn",),  # GPT-2 and its kin make queries, keys and values in one product
    ("query_key_value",),  # GPT-NeoX, Pythia, Falcon, BLOOM
    ("qkv_proj",),  # Phi-3
    ("Wqkv",),  # MPT
)


def attach_adapter(
    model: PreTrainedModel, *, rank: int, alpha: int, dropout: float, targets: Sequence[str] = ()
) -> PeftModel:
    """Freeze a language model and put a new LoRA adapter on some of its linear maps.

    Args:
        model: the language model.
        rank: of the adapter's matrices.
        alpha: what they add is scaled by alpha / rank.
        dropout: on what they read.
        targets: names of the modules, by their last part; by default the query and value projections, as in DRCap.
            Models that make queries, keys and values in one product, as GPT-2 does, have the adapter on all three.

    Raises:
        OptionError: the model has no module of such a name that can be adapted.
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


def _targets(model: PreTrainedModel, asked: Sequence[str]) -> Sequence[str]:
    maps = (torch.nn.Linear, Conv1D)
    tied = model.get_input_embeddings().weight
    able = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, maps) and module.weight is not tied  # words in and words out: merging would change both
    }
    if asked:
        if missing := [name for name in asked if name not in able]:
            raise OptionError(
                f"{type(model).__name__} has nothing called {', '.join(missing)} that an adapter could be put on.",
                f"Choose among {', '.join(sorted(able))}.",
            )
        return asked
    for names in _QUERY_AND_VALUE:
        if able.issuperset(names):
            return names
    raise OptionError(
        f"The query and value projections of {type(model).__name__} are not known here.",
        f"Name the modules to adapt, among {', '.join(sorted(able))}.",
    )


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
