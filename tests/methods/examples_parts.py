"""A small corpus on the axes of an eight-dimensional space, for the examples of both methods that learn."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from recipes.caption_arrays import CaptionArrays
from sonogloss.decoding.settings import DecodeSettings
from sonogloss.methods.examples import CaptionExamples
from sonogloss.methods.labels import LabelBank
from sonogloss.methods.plan import MapperSettings, TrainingData, TrainingPlan
from sonogloss.records import FloatArray
from sonogloss.training.config import TrainingConfig
from tests.language_models import SENTENCES, tiny_tokenizer

TOKENIZER = tiny_tokenizer()
E = TypeVar("E", bound=CaptionExamples)


def axes(count: int, shift: int) -> FloatArray:
    """Unit vectors, one axis after the other."""
    return np.eye(8, dtype=np.float32)[(np.arange(count) + shift) % 8]


CAPTIONS = CaptionArrays(SENTENCES[:6], axes(6, 0))
STORE = CaptionArrays(SENTENCES[20:30], axes(10, 3))
HELD_OUT = CaptionArrays(SENTENCES[40:43], axes(3, 1))
BANK = LabelBank(labels=("dog", "rain", "bell"), embeddings=axes(3, 2), clap="")
COMMON: dict[str, Any] = {
    "captions": CAPTIONS,
    "tokenizer": TOKENIZER,
    "batch_size": 4,
    "seed": 3,
    "max_tokens": 64,
    "validation": HELD_OUT,
}


def make_examples(kind: type[E], *, settings: Any, prompt: Any, batch_size: int, seed: int, **data: Any) -> E:
    """The examples of a plan with these settings, and of these parts of the data."""
    plan = TrainingPlan(
        training=TrainingConfig(steps=1, batch_size=batch_size, learning_rate=1.0, seed=seed),
        settings=settings,
        prompt=prompt,
        mapper=MapperSettings(kind="relu"),
        projection=None,
        decode=DecodeSettings(),
    )
    return kind(plan, TrainingData(**({"datastore": data["captions"]} | data)))
