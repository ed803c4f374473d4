"""What a training is made of: a language model that fits, the neighbours of captions, and the texts."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files as package_files
from typing import Any

import apache_beam as beam
import numpy as np
import torch

from sonogloss import files
from sonogloss.decoding.language_model import LanguageModel
from sonogloss.errors import OptionError
from sonogloss.indexes import Datastore
from sonogloss.methods.plan import TrainingPlan
from sonogloss.pipelines.running.beam_options import beam_options
from sonogloss.pipelines.running.progress import progress_file, run_pipeline
from sonogloss.records import IntArray
from sonogloss.training.parallel import ProcessGroup
from sonogloss.training.precision import choose_precision
from sonogloss.transforms.draw_contexts import Draw, DrawContexts, draw_folder, plan_parts, read_parts
from sonogloss.transforms.models import DatastoreReference


def pocket_language_model() -> str:
    """The directory of the pocket captioner's language model."""
    return str(package_files("sonogloss").joinpath("pocket", "weights", "drcap", "language_model"))


def cast_weights(language_model: LanguageModel, plan: TrainingPlan) -> None:
    """Weights that learn are float32; those that do not are as small as what is computed with them."""
    training, model = plan.training, language_model.model
    precision = choose_precision(training.precision, model.device.type)
    if training.tune == "all" or precision == "float32" or model.device.type == "cpu":
        model.float()
    else:
        model.to(getattr(torch, precision))


def mine_neighbours(
    plan: TrainingPlan,
    corpus: Datastore,
    datastore: Datastore,
    *,
    output: str,
    group: ProcessGroup,
    beam_args: Sequence[str],
) -> IntArray | None:
    """The captions that belong with each, by row [count, k]: some of the datastore, or neighbours in the corpus.

    They are looked up on as many workers as Beam is given, and kept below `output`: a second run finds them there.
    """
    wanted = plan.settings.mining(plan.training.seed)
    if wanted is None:
        return None
    draw = Draw(count=wanted.count, band=wanted.band, seed=wanted.seed)
    references = DatastoreReference.of(corpus.path), DatastoreReference.of((datastore if draw.band else corpus).path)
    parts = plan_parts(corpus.count, files.join(output, draw_folder(*references, draw)))
    if group.is_main_process:
        options = beam_options(beam_args)
        with progress_file(options):
            pipeline = beam.Pipeline(options=options)
            _ = pipeline | "ListParts" >> beam.Create(parts) | "DrawContexts" >> DrawContexts(*references, draw)
            run_pipeline(pipeline, noun="captions", quiet=True)
    group.barrier()
    return read_parts(parts)


def read_column(corpus: Datastore, column: str) -> list[str]:
    """The text of every caption in one language.

    Raises:
        OptionError: some have none.
    """
    texts: list[Any] = corpus.texts(np.arange(corpus.count), column)
    missing = sum(not isinstance(text, str) or not text.strip() for text in texts)
    if missing:
        raise OptionError(
            f"{missing} of {len(texts)} captions have no text in the column {column!r} of --languages.",
            "Leave captions without a translation out.",
        )
    return texts
