"""Which weights learn, and what they are to lower: the cross-entropy of the answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from sonogloss.decoding.adapter import attach_adapter
from sonogloss.errors import ModelFormatError
from sonogloss.prompts.soft import Mapper, fill_slots
from sonogloss.training.batches import Batch
from sonogloss.training.config import DrcapTrainingConfig


def prepare(language_model: PreTrainedModel, config: DrcapTrainingConfig) -> PreTrainedModel:
    """Choose which weights of the language model learn; with `tune="lora"` it comes back inside a peft model."""
    if language_model.device.type == "cpu":
        language_model.set_attn_implementation("eager")  # short sequences: a fifth faster there than the fused kernel
    language_model.requires_grad_(config.tune == "all")
    if config.tune != "lora":
        return language_model
    adapted = attach_adapter(
        language_model, rank=config.lora_rank, alpha=config.lora_alpha, dropout=config.lora_dropout
    )
    return cast(PreTrainedModel, adapted)  # it answers for the model it wraps


def answer_loss(model: Any, mapper: Mapper, batch: Batch, *, precision: str = "fp32") -> Tensor:
    """Mean cross-entropy of the answers' tokens, in float32.

    The output matrix meets only the positions that predict an answer: prompts are long and vocabularies large.
    """
    with torch.autocast(model.device.type, torch.bfloat16, enabled=precision == "bf16"):
        hidden = _hidden(model, mapper, batch)
        logits = model.get_output_embeddings()(hidden.flatten(0, 1)[batch.positions.to(model.device)])
    return nn.functional.cross_entropy(logits.float(), batch.targets.to(model.device))


def input_vectors(model: Any, mapper: Mapper, batch: Batch) -> Tensor:
    """What the language model reads: word embeddings, and the mapped embeddings at the audio slots [b, t, width]."""
    words: Tensor = model.get_input_embeddings()(batch.ids.to(model.device))
    return fill_slots(words, batch.slots.to(model.device), mapper(batch.embeddings.to(model.device)))


def _hidden(model: Any, mapper: Mapper, batch: Batch) -> Tensor:
    trunk = _causal_model(model).base_model
    # Padding stands behind everything that counts, and nothing looks ahead: no mask is needed.
    hidden: Tensor = trunk(inputs_embeds=input_vectors(model, mapper, batch), use_cache=False).last_hidden_state
    return hidden


def _causal_model(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model


@torch.no_grad()
def check_trunk(model: Any, mapper: Mapper, batch: Batch) -> None:
    """Refuse a model whose own answer is not trunk times output matrix: some scale or cap their logits."""
    model.eval()
    one = replace(batch, ids=batch.ids[:1], slots=batch.slots[:1], embeddings=batch.embeddings[:1])
    ours = model.get_output_embeddings()(_hidden(model, mapper, one))
    theirs = model(inputs_embeds=input_vectors(model, mapper, one), use_cache=False).logits
    model.train()
    if not torch.allclose(ours, theirs, rtol=1e-3, atol=1e-3):
        raise ModelFormatError(
            f"The logits of {type(_causal_model(model)).__name__} are not its last states times its output matrix.",
            "Train with a model of the GPT-2, OPT, Llama, Mistral or Qwen kind.",
        )
