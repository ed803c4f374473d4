"""Reading without a job: file after file in this process, batches that are full, nothing ahead. For benchmarks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from sonogloss.audio import Cutting, WindowPolicy, cut_clips
from sonogloss.records import Clip
from sonogloss.transforms.work import Batch


def bare_batches(paths: Sequence[str], *, policy: WindowPolicy, sample_rate: int, batch_size: int) -> Iterator[Batch]:
    """Batches of the clips of local files, all of one unit."""
    clips = _clips(paths, policy, sample_rate)
    number = 0
    while taken := tuple(islice(clips, batch_size)):
        yield Batch(unit="bare", number=number, last=False, inputs=len(taken), clips=taken)
        number += 1


def _clips(paths: Sequence[str], policy: WindowPolicy, sample_rate: int) -> Iterator[Clip]:
    for path in paths:
        with open(path, "rb") as handle:
            yield from cut_clips(handle, Cutting(uri=path, policy=policy, sample_rate=sample_rate))
