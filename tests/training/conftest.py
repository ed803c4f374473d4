"""A corpus, a datastore and labels in eight dimensions, and short runs of both methods on them."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from recipes.caption_arrays import CaptionArrays
from sonogloss.methods.drcap.examples import DrcapExamples
from sonogloss.methods.drcap.method import DrcapSettings
from sonogloss.methods.drcap.prompt import ComposedPrompt
from sonogloss.methods.labels import LabelBank
from sonogloss.methods.mapper import Mapper, TanhMapper
from sonogloss.methods.soft_hard.examples import SoftHardExamples
from sonogloss.methods.soft_hard.method import SoftHardSettings
from sonogloss.methods.soft_hard.prompt import SoftHardPrompt
from sonogloss.records import FloatArray
from sonogloss.training.config import TrainingConfig
from sonogloss.training.loop import TrainingRecord, train
from sonogloss.training.objective import answer_losses
from tests.language_models import SENTENCES, tiny_gpt2, tiny_tokenizer
from tests.methods.examples_parts import make_examples

POCKET = ComposedPrompt(template="{prompt}", prompt="describe the audio you hear.", answer=" {answer}")
NAMES = SoftHardPrompt(labels=2, soft_slots=2)
TOKENIZER = tiny_tokenizer()
CAPTIONS = SENTENCES[::13][:8]
SHORT = TrainingConfig(
    steps=6,
    batch_size=4,
    learning_rate=1e-3,
    warmup_steps=2,
    grad_clip=1.0,
    checkpoint_every=3,
    lora_dropout=0.1,
    precision="float32",
)


def unit(rows: int, seed: int, dim: int = 8) -> FloatArray:
    vectors = np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


EMBEDDINGS = unit(8, 1)
BANK = LabelBank(labels=("dog", "cat", "rain", "engine, idling", "bell"), embeddings=unit(5, 4), clap="")


def drcap(config: TrainingConfig = SHORT, **changes: Any) -> DrcapExamples:
    options: dict[str, Any] = {
        "captions": CaptionArrays(CAPTIONS, EMBEDDINGS),
        "datastore": CaptionArrays(SENTENCES[:20], unit(20, 2)),
        "prompt": POCKET,
        "tokenizer": TOKENIZER,
        "settings": DrcapSettings(band=(-0.9, 0.9), context_dropout=0.25, noise_std_max=0.1, redraw=True),
        "batch_size": config.batch_size,
        "seed": config.seed,
        "max_tokens": 256,
    }
    return make_examples(DrcapExamples, **(options | changes))


def soft_hard(config: TrainingConfig = SHORT, **changes: Any) -> SoftHardExamples:
    options: dict[str, Any] = {
        "captions": CaptionArrays(CAPTIONS, EMBEDDINGS),
        "labels": BANK,
        "prompt": NAMES,
        "tokenizer": TOKENIZER,
        "settings": SoftHardSettings(neighbours=3, noise_variance=0.01),
        "batch_size": config.batch_size,
        "seed": config.seed,
        "max_tokens": 256,
    }
    return make_examples(SoftHardExamples, **(options | changes))


def run(
    directory: Path, config: TrainingConfig = SHORT, source: Any = None, **changes: Any
) -> tuple[TrainingRecord, nn.Module | None]:
    """Train a tiny GPT-2 and a mapper that fits the source; the DRCap examples by default."""
    source = drcap(config) if source is None else source
    torch.manual_seed(11)
    mapper: nn.Module | None = None
    if source.slots:
        mapper = TanhMapper(8, 32, slots=2) if source.slots == 2 else Mapper(8, 32, hidden=64)
    options: dict[str, Any] = {"language_model": tiny_gpt2(), "mapper": mapper, "log": lambda line: None}
    options |= changes
    return train(source, config=config, directory=str(directory), **options), options["mapper"]


def weights(record: TrainingRecord, mapper: nn.Module | None) -> dict[str, torch.Tensor]:
    mapped = {} if mapper is None else mapper.state_dict()
    return dict(record.language_model.state_dict()) | {f"mapper.{k}": v for k, v in mapped.items()}


def curve(directory: Path) -> list[dict[str, str]]:
    with (directory / "loss.csv").open(encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


class PowerCutError(Exception):
    """The lights went out."""


@pytest.fixture
def power_cut(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let training stop dead after so many steps."""

    def _cut(steps: int) -> None:
        left = iter(range(steps))

        def losses(*args: Any, **options: Any) -> torch.Tensor:
            if next(left, None) is None:
                raise PowerCutError
            return answer_losses(*args, **options)

        monkeypatch.setattr("sonogloss.training.loop.answer_losses", losses)

    return _cut
