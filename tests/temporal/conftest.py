"""A few measured clips that differ by class, without any sound."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from sonogloss.temporal.clips import LabelledClip
from sonogloss.temporal.features import ClipPowers, MeasuredClips

LABELS = ("dog", "rain", "siren", "clock")


def labelled(label: str, number: int) -> LabelledClip:
    """A clip that is never read."""
    own = hashlib.sha256(f"{label}/{number}".encode()).hexdigest()[:32]
    return LabelledClip(id=own, uri=f"{label}/{number}.wav", label=label, source=own)


@pytest.fixture(autouse=True)
def few_validation_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough for tests, and seconds faster."""
    monkeypatch.setattr("sonogloss.temporal.objective.VALIDATION_GROUPS", 9)


@pytest.fixture(scope="session")
def powers() -> ClipPowers:
    """Twenty-four clips of four classes, each of noise in its class's band."""
    rng = np.random.default_rng(0)
    clips, blocks = [], []
    for place, label in enumerate(LABELS):
        for number in range(6):
            clips.append(labelled(label, number))
            power = 1e-4 * rng.gamma(1.0, 1.0, (100 + 20 * number, 64))
            power[:, 16 * place : 16 * place + 16] *= 1e4
            blocks.append(power.astype(np.float32))
    frames = tuple(len(block) for block in blocks)
    return ClipPowers([MeasuredClips(clips=tuple(clips), frames=frames, power=np.concatenate(blocks))])
