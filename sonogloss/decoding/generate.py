"""Let a language model continue prompts that hold soft vectors: beam search in batches that do not show in results.

Prompts of like length are decoded together and padded on the *left*. The released DRCap pads on the right, so that the
first new token of every shorter prompt is predicted from a padding position: captions change with their neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import GenerationConfig

from sonogloss.decoding.language_model import LanguageModel
from sonogloss.decoding.settings import DecodeSettings
from sonogloss.prompts.composed import AUDIO_SLOT
from sonogloss.prompts.soft import fill_slots


@torch.inference_mode()
def generate(
    language_model: LanguageModel, prompts: Sequence[Sequence[int]], soft: Tensor, settings: DecodeSettings
) -> list[list[int]]:
    """The best continuation of every prompt.

    A prompt's result is what decoding it alone gives, up to the rounding of matrix products (which differ by about 1e-6
    between batch shapes and matter only where two beams are that close).

    Args:
        language_model: the model and its tokenizer's special ids.
        prompts: n lists of ids, with :data:`~sonogloss.prompts.composed.AUDIO_SLOT` where soft vectors go.
        soft: [n, slots, width] the vectors; every prompt has that many slots.
        settings: of the search.

    Returns:
        New ids only, without the end-of-text token; in the order of the prompts.
    """
    results: list[list[int]] = [[] for _ in prompts]
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    search = _search(language_model, settings)
    for start in range(0, len(order), settings.batch_size):
        rows = order[start : start + settings.batch_size]
        vectors, mask = _left_padded(language_model, [prompts[i] for i in rows], soft[rows])
        # Positions count from a row's first real token: transformers derives them from the mask.
        output = language_model.model.generate(inputs_embeds=vectors, attention_mask=mask, generation_config=search)
        for i, ids in zip(rows, output.tolist(), strict=True):
            results[i] = ids[: ids.index(language_model.eos_id)] if language_model.eos_id in ids else ids
    return results


def _left_padded(
    language_model: LanguageModel, prompts: Sequence[Sequence[int]], soft: Tensor
) -> tuple[Tensor, Tensor]:
    """Input vectors [b, t, width] and mask [b, t]."""
    device, longest = language_model.model.device, max(map(len, prompts))
    ids = torch.tensor([[language_model.pad_id] * (longest - len(prompt)) + list(prompt) for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    ids, mask = ids.to(device), mask.to(device)
    slots = ids == AUDIO_SLOT
    words: Tensor = language_model.model.get_input_embeddings()(ids.masked_fill(slots, language_model.pad_id))
    return fill_slots(words, slots, soft.to(device)), mask


def _search(language_model: LanguageModel, settings: DecodeSettings) -> GenerationConfig:
    return GenerationConfig(
        num_beams=settings.num_beams,
        do_sample=False,
        max_new_tokens=settings.max_new_tokens,
        pad_token_id=language_model.pad_id,
        bos_token_id=language_model.bos_id,
        eos_token_id=language_model.eos_id,
    )
