"""What a training is made of: a language model that fits, the captions that belong together, a source, a mapper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import torch

from sonogloss import files
from sonogloss.decoding.language_model import LanguageModel
from sonogloss.errors import OptionError
from sonogloss.indexes import Datastore
from sonogloss.methods.drcap.examples import DrcapExamples, how_many_to_draw
from sonogloss.methods.drcap.prompt import ComposedPrompt, compose_prompts
from sonogloss.methods.labels import LabelBank
from sonogloss.methods.mapper import AnyMapper, Mapper, TanhMapper, TransformerMapper
from sonogloss.methods.soft_hard.examples import SoftHardExamples
from sonogloss.methods.soft_hard.prompt import SoftHardPrompt, compose_soft_hard_prompts
from sonogloss.pipelines.running.beam_options import beam_options
from sonogloss.pipelines.running.progress import progress_file, run_pipeline
from sonogloss.pipelines.train_settings import Plan, leave_room
from sonogloss.training.batches import Source
from sonogloss.training.config import DrcapSettings
from sonogloss.training.corpus import IntArray
from sonogloss.training.parallel import ProcessGroup
from sonogloss.training.precision import choose_precision
from sonogloss.transforms.draw_contexts import Draw, DrawContexts, draw_folder, plan_parts, read_parts
from sonogloss.transforms.models import DatastoreReference


def pocket_language_model() -> Path:
    """The directory of the pocket captioner's language model."""
    return Path(str(package_files("sonogloss"))) / "pocket" / "weights" / "drcap" / "language_model"


def keep_as_small_as_may_be(decoder: LanguageModel, plan: Plan) -> None:
    """Weights that learn are kept in float32; those that do not may be as small as what is computed with them."""
    training, model = plan.preset.training, decoder.model
    precision = choose_precision(training.precision, model.device.type)
    if training.tune == "all" or precision == "float32" or model.device.type == "cpu":
        model.float()
    else:
        model.to(getattr(torch, precision))


def with_room(plan: Plan, decoder: LanguageModel) -> Plan:
    """The plan with captions short enough for the language model's positions.

    Raises:
        OptionError: the prompt has no room even so.
    """
    decode = leave_room(plan.decode, decoder.max_positions)
    room = None if decoder.max_positions is None else decoder.max_positions - decode.max_new_tokens
    prompt = plan.preset.prompt
    if isinstance(prompt, ComposedPrompt):
        compose_prompts([[]], prompt, decoder.tokenizer, max_tokens=room)
    else:
        compose_soft_hard_prompts([[]], prompt, decoder.tokenizer, max_tokens=room)
    return Plan(preset=plan.preset, projection=plan.projection, decode=decode)


def _what_to_draw(plan: Plan) -> Draw | None:
    settings, seed = plan.preset.settings, plan.preset.training.seed
    if isinstance(settings, DrcapSettings):
        return Draw(count=how_many_to_draw(settings), band=settings.band, seed=seed) if settings.contexts else None
    return Draw(count=settings.neighbours) if settings.neighbours > 1 else None


def draw_what_belongs(
    plan: Plan, corpus: Datastore, store: Datastore, *, output: str, group: ProcessGroup, beam_args: Sequence[str]
) -> IntArray | None:
    """Which captions belong with each, by row: contexts of the store, or neighbours in the corpus.

    They are looked up on as many workers as Beam is given, and kept below `output`: a second run finds them there.
    """
    draw = _what_to_draw(plan)
    if draw is None:
        return None
    among = corpus if draw.band is None else store
    references = DatastoreReference.of(corpus.path), DatastoreReference.of(among.path)
    parts = plan_parts(corpus.count, files.join(output, draw_folder(*references, draw)))
    if group.is_main_process:
        options = beam_options(beam_args)
        with progress_file(options):
            pipeline = beam.Pipeline(options=options)
            _ = pipeline | "ListParts" >> beam.Create(parts) | "DrawContexts" >> DrawContexts(*references, draw)
            run_pipeline(pipeline, noun="captions", quiet=True)
    group.barrier()
    return read_parts(parts)


def make_source(
    plan: Plan,
    corpus: Datastore,
    store: Datastore,
    decoder: LanguageModel,
    *,
    labels: LabelBank | None,
    languages: Mapping[str, str],
    drawn: IntArray | None,
    validation: Datastore | None,
) -> Source:
    """What each step learns from; `languages` are columns of the corpus by tag."""
    preset = plan.preset
    common: dict[str, Any] = {
        "captions": corpus,
        "validation": validation,
        "tokenizer": decoder.tokenizer,
        "batch_size": preset.training.batch_size,
        "seed": preset.training.seed,
        "room": decoder.max_positions,
    }
    if isinstance(preset.settings, DrcapSettings):
        assert isinstance(preset.prompt, ComposedPrompt)
        return DrcapExamples(**common, datastore=store, prompt=preset.prompt, settings=preset.settings, drawn=drawn)
    assert isinstance(preset.prompt, SoftHardPrompt)
    targets = {tag: _column(corpus, column) for tag, column in languages.items()}
    return SoftHardExamples(
        **common,
        labels=labels,
        prompt=preset.prompt,
        settings=preset.settings,
        neighbours=drawn,
        targets=targets or None,
    )


def _column(corpus: Datastore, column: str) -> list[str]:
    texts: list[Any] = corpus.texts(np.arange(corpus.count), column)
    missing = sum(not isinstance(text, str) or not text.strip() for text in texts)
    if missing:
        raise OptionError(
            f"{missing} of {len(texts)} captions have no text in the column {column!r} of --languages.",
            "Leave captions without a translation out.",
        )
    return texts


def make_mapper(plan: Plan, dim: int, width: int) -> AnyMapper | None:
    """A new mapper from embeddings of width `dim` to vectors of width `width`; None where the prompt has no slots."""
    sizes, slots = plan.preset.mapper, plan.preset.prompt.audio_slots
    if slots == 0:
        return None
    if sizes.kind == "relu":
        return Mapper(dim, width, hidden=sizes.hidden, slots=slots)
    if sizes.kind == "mlp":
        return TanhMapper(dim, width, slots=slots)
    return TransformerMapper(dim, width, slots=slots, layers=sizes.layers, heads=sizes.heads)
