"""Other sample rates, by soxr."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import soxr

from sonogloss.records import FloatArray


def resample_blocks(blocks: Iterable[FloatArray], source_rate: int, sample_rate: int) -> Iterator[FloatArray]:
    """The stream at another rate (soxr, HQ), limited to [-1, 1] again because the filter overshoots."""
    if source_rate == sample_rate:
        yield from blocks
        return
    resampler = soxr.ResampleStream(source_rate, sample_rate, 1, dtype="float32", quality="HQ")
    for block in blocks:
        yield np.clip(resampler.resample_chunk(block), -1.0, 1.0)
    yield np.clip(resampler.resample_chunk(np.empty(0, dtype=np.float32), last=True), -1.0, 1.0)


def resample(samples: FloatArray, source_rate: int, sample_rate: int) -> FloatArray:
    """Mono samples in [-1, 1] at another rate, by the same resampler as :func:`sonogloss.audio.cut_clips`.

    Args:
        samples: float32 [samples].
        source_rate: of the samples, in Hz.
        sample_rate: of the result, in Hz.

    Returns:
        float32, as long as the samples to within one sample, limited to [-1, 1]; the samples themselves where the rates
        are equal.
    """
    return np.concatenate([*resample_blocks([samples], source_rate, sample_rate)])
