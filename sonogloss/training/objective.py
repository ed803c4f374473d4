"""What a captioner's training minimizes, the cross-entropy of the answers, and which weights it trains."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from sonogloss.decoding.adapter import attach_adapter
from sonogloss.decoding.sequences import fill_slots
from sonogloss.errors import ModelFormatError, OptionError
from sonogloss.training.batches import Batch, Source
from sonogloss.training.config import TrainingConfig
from sonogloss.training.precision import autocast


def check_fit(source: Source, language_model: Any, mapper: Any, config: TrainingConfig) -> None:
    """Check that examples, mapper, language model and numbers fit together.

    Raises:
        OptionError: the mapper does not fit, or the weights are not in float32 though all of them learn.
        ModelFormatError: the tokenizer is not this language model's.
    """
    rows, width = language_model.get_input_embeddings().weight.shape
    if source.vocabulary > rows:
        raise ModelFormatError(
            f"The tokenizer knows {source.vocabulary} tokens and the language model {rows}.",
            "Use the model's own tokenizer, or resize the model's embeddings to it and save both.",
        )
    if (mapper is None) != (source.slots == 0):
        there = "no mapper" if mapper is None else "a mapper"
        raise OptionError(f"There is {there} for {source.slots} audio slots.", "A mapper fills the prompt's slots.")
    if mapper is not None and mapper.dim != source.dim:
        raise OptionError(
            f"The captions have {source.dim} dimensions and the mapper takes {mapper.dim}.",
            "Embed all texts with the mapper's CLAP.",
        )
    if mapper is not None and (mapper.slots, mapper.width) != (source.slots, width):
        raise OptionError(
            f"The mapper gives {mapper.slots} x {mapper.width} where prompt and language model take "
            f"{source.slots} x {width}.",
            "Make the mapper for this language model.",
        )
    if mapper is None and config.tune == "none":
        raise OptionError("Nothing is trained: no mapper, and tune is 'none'.", "Choose tune all or lora.")
    if config.tune == "all" and language_model.dtype != torch.float32:
        raise OptionError(
            f"tune is 'all', but the weights of the language model are {language_model.dtype}.",
            "Load the model in float32, or tune a lora adapter.",
        )


def prepare(language_model: PreTrainedModel, config: TrainingConfig) -> PreTrainedModel:
    """Choose the trainable weights of the language model; with `tune="lora"` the result is a peft model."""
    if language_model.device.type == "cpu":
        language_model.set_attn_implementation("eager")  # short sequences: a fifth faster than the fused kernel
    language_model.requires_grad_(config.tune == "all")
    if config.tune != "lora":
        return language_model
    adapted = attach_adapter(
        language_model,
        rank=config.lora_rank,
        alpha=config.lora_alpha,
        dropout=config.lora_dropout,
        targets=config.lora_targets,
    )
    return cast(PreTrainedModel, adapted)  # passes attributes of the model on


def answer_losses(model: Any, mapper: nn.Module | None, batch: Batch, *, precision: str = "float32") -> Tensor:
    """The cross-entropy of each token of the answers, in float32.

    Logits are computed only where they predict an answer: prompts are long and vocabularies large.
    """
    with autocast(model.device.type, precision):
        hidden = _hidden(model, mapper, batch)
        logits = model.get_output_embeddings()(hidden.flatten(0, 1)[batch.positions.to(model.device)])
    return nn.functional.cross_entropy(logits.float(), batch.targets.to(model.device), reduction="none")


def input_vectors(model: Any, mapper: nn.Module | None, batch: Batch) -> Tensor:
    """Input of the language model [b, t, width]: word embeddings, and mapped embeddings at the audio slots."""
    words: Tensor = model.get_input_embeddings()(batch.ids.to(model.device))
    if mapper is None:
        return words
    return fill_slots(words, batch.slots.to(model.device), mapper(batch.embeddings.to(model.device)))


def _hidden(model: Any, mapper: nn.Module | None, batch: Batch) -> Tensor:
    trunk = _causal_model(model).base_model
    # Padding follows all that counts and attention is causal: no mask is needed.
    hidden: Tensor = trunk(inputs_embeds=input_vectors(model, mapper, batch), use_cache=False).last_hidden_state
    return hidden


def _causal_model(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model


@torch.no_grad()
def check_trunk(model: Any, mapper: nn.Module | None, batch: Batch) -> None:
    """Refuse a model that scales or caps its logits, which are then not trunk times output matrix.

    Raises:
        ModelFormatError: it does.
    """
    model.eval()
    one = replace(batch, ids=batch.ids[:1], slots=batch.slots[:1], embeddings=batch.embeddings[:1])
    ours = model.get_output_embeddings()(_hidden(model, mapper, one))
    theirs = model(inputs_embeds=input_vectors(model, mapper, one), use_cache=False).logits
    model.train()
    if not torch.allclose(ours.float(), theirs.float(), rtol=1e-3, atol=1e-3):
        raise ModelFormatError(
            f"The logits of {type(_causal_model(model)).__name__} are not its last states times its output matrix.",
            "Train with a model of the GPT-2, OPT, Llama, Mistral or Qwen kind.",
        )
