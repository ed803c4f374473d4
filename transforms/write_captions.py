"""write_captions: projected embeddings and contexts -> one sentence a clip."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import apache_beam as beam
import numpy as np
from apache_beam.pvalue import PCollection

from sonogloss.captioners import Captioner
from sonogloss.errors import Code
from sonogloss.records import DeadLetter
from transforms.isolate import dead_letter, failure, run_isolated
from transforms.models import CaptionerReference
from transforms.work import Batch, timed

STAGE = "write_captions"


def write_captions(batch: Batch, captioner: Captioner) -> Batch:
    """Caption the clips of a batch; a clip the decoder fails on, or has no word for, becomes a dead letter."""

    def caption(rows: Sequence[int]) -> list[str]:
        contexts = [[context.text for context in batch.contexts[row]] for row in rows]
        return captioner.caption(batch.projected[np.asarray(rows)], contexts)

    outcomes = run_isolated(caption, range(len(batch.clips)))
    failures: dict[int, DeadLetter] = {}
    captions: list[str] = []
    for row, (clip, outcome) in enumerate(zip(batch.clips, outcomes, strict=True)):
        if isinstance(outcome, Exception):
            failures[row] = failure(clip, STAGE, outcome)
        elif not outcome.strip():
            failures[row] = dead_letter(clip, STAGE, Code.EMPTY_CAPTION, "Decoding ended without a word.")
        else:
            captions.append(outcome.strip())
    return replace(batch.without(failures), captions=tuple(captions))


class _WriteCaptionsFn(beam.DoFn):
    def __init__(self, captioner: CaptionerReference) -> None:
        self._reference = captioner

    def setup(self) -> None:
        self._captioner = self._reference.load()

    def process(self, batch: Batch) -> Iterator[Batch]:
        yield timed(STAGE, write_captions, batch, self._captioner)


class WriteCaptions(beam.PTransform[PCollection[Batch], PCollection[Batch]]):
    """Batches -> batches with captions, see :func:`write_captions`."""

    def __init__(self, captioner: CaptionerReference) -> None:
        super().__init__()
        self._captioner = captioner

    def expand(self, pcoll: PCollection[Batch]) -> PCollection[Batch]:
        return pcoll | beam.ParDo(_WriteCaptionsFn(self._captioner))
