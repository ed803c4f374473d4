"""Batches to hand to the steps, without any model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from sonogloss.records import Clip, Context, FloatArray, clip_id
from sonogloss.transforms.work import Batch

MakeBatch = Callable[..., Batch]


def make_clip(number: int, samples: FloatArray | None = None) -> Clip:
    """A clip that differs from its neighbours."""
    uri = f"/audio/{number:03d}.wav"
    return Clip(
        clip_id=clip_id(uri, None, 0.0, 10.0),
        uri=uri,
        member=None,
        start_s=0.0,
        end_s=10.0,
        duration_s=12.5,
        sample_rate=44100,
        channels=2,
        samples=np.zeros(8, np.float32) if samples is None else samples,
        audio_sha256="0" * 64,
        flags=("SHORT",) if number % 2 else (),
    )


@pytest.fixture
def make_batch() -> MakeBatch:
    """A finished batch of some clips of a unit."""

    def _make(count: int, *, unit: str = "u", number: int = 0, last: bool = True, first: int = 0) -> Batch:
        rng = np.random.default_rng(first)
        vectors = rng.standard_normal((count, 4)).astype(np.float32)
        context = Context(id=7, text="rain falls", score=0.5, source="s")
        return Batch(
            unit=unit,
            number=number,
            last=last,
            inputs=count,
            clips=tuple(make_clip(first + row) for row in range(count)),
            embeddings=vectors,
            projected=vectors,
            contexts=((context,),) * count,
            captions=tuple(f"caption {first + row}" for row in range(count)),
            scores=(0.25,) * count,
            seconds={"read_audio": 0.5},
        )

    return _make
