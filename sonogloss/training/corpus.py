"""What a run learns from, and whether it can: texts with their embeddings, checked before the first step."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from sonogloss.errors import OptionError
from sonogloss.prompts.composed import ComposedPrompt, compose_examples, keeps_its_prompt
from sonogloss.prompts.soft import Mapper
from sonogloss.records import FloatArray
from sonogloss.training.config import DrcapTrainingConfig


@dataclass(frozen=True, kw_only=True, eq=False)
class TextCorpus:
    """Captions with their embeddings [n, d], and the datastore [m, d] that they are shown captions from."""

    captions: Sequence[str]
    embeddings: FloatArray
    datastore_captions: Sequence[str]
    datastore_embeddings: FloatArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Validation:
    """Held-out captions with their embeddings [n, d], shown datastore captions as in training."""

    captions: Sequence[str]
    embeddings: FloatArray


def check_corpus(
    corpus: TextCorpus,
    validation: Validation | None,
    mapper: Mapper,
    language_model: Any,
    prompt: ComposedPrompt,
) -> None:
    """Do texts, embeddings, mapper, prompt and language model fit together?

    Raises:
        OptionError: they do not, or a text is missing, or an embedding is not finite.
    """
    pairs = [("caption", corpus.captions, corpus.embeddings)]
    pairs.append(("datastore", corpus.datastore_captions, corpus.datastore_embeddings))
    if validation is not None:
        pairs.append(("validation", validation.captions, validation.embeddings))
    for name, texts, embeddings in pairs:
        if len(texts) == 0 and name != "datastore":
            raise OptionError(f"There are no {name} texts.", "Name files that hold captions.")
        if embeddings.shape != (len(texts), mapper.dim):
            raise OptionError(
                f"The {name} embeddings have shape {embeddings.shape}, expected {(len(texts), mapper.dim)}.",
                "Embed all texts with the mapper's CLAP.",
            )
        if not np.isfinite(embeddings).all():
            raise OptionError(f"The {name} embeddings hold values that are not finite.", "Embed the texts again.")
    width = language_model.get_input_embeddings().weight.shape[1]
    if (mapper.width, mapper.slots) != (width, prompt.audio_slots):
        raise OptionError(
            f"The mapper gives {mapper.slots} x {mapper.width} where prompt and language model take "
            f"{prompt.audio_slots} x {width}.",
            "Make the mapper for this language model.",
        )


def usable(
    corpus: TextCorpus, prompt: ComposedPrompt, tokenizer: PreTrainedTokenizerBase, room: int | None
) -> tuple[TextCorpus, int]:
    """The corpus without captions too long for the language model, and how many those were."""
    bare = compose_examples([()] * len(corpus.captions), corpus.captions, prompt, tokenizer)
    kept = [i for i, example in enumerate(bare) if room is None or len(example.ids) <= room]
    if not kept:
        raise OptionError(f"No caption fits into the language model's {room} positions.", "Shorten the captions.")
    captions = [corpus.captions[i] for i in kept]
    changed = sum(not keeps_its_prompt(caption, prompt, tokenizer) for caption in captions[:1000])
    if changed > 0.01 * len(captions[:1000]):
        raise OptionError(
            f"With {changed} of {len(captions[:1000])} captions the prompt's last token changes when one follows.",
            'Let the template end in a mark or letter, and begin the answer with its blank: answer=" {answer}".',
        )
    return replace(corpus, captions=captions, embeddings=corpus.embeddings[kept]), len(bare) - len(kept)


def run_fingerprint(
    corpus: TextCorpus, validation: Validation | None, prompt: ComposedPrompt, config: DrcapTrainingConfig
) -> str:
    """Which run is this? Settings that do not touch the weights are left out."""
    settings = replace(config, checkpoint_every=1, eval_every=config.eval_every if validation else 1)
    running = hashlib.sha256(repr((settings, prompt)).encode())
    parts = [(corpus.captions, corpus.embeddings), (corpus.datastore_captions, corpus.datastore_embeddings)]
    if validation is not None:
        parts.append((validation.captions, validation.embeddings))
    for texts, embeddings in parts:
        running.update("\x00".join(texts).encode("utf-8", "surrogatepass"))
        running.update(np.ascontiguousarray(embeddings, np.float32).tobytes())
    return running.hexdigest()
