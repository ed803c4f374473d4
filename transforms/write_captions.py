"""write_captions: projected embeddings and contexts -> one sentence a clip, or several to choose from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import apache_beam as beam
import numpy as np
from apache_beam.pvalue import PCollection

from sonogloss.errors import Code
from sonogloss.methods import Captioner
from sonogloss.records import DeadLetter
from sonogloss.transforms.isolate import dead_letter, failure, run_isolated
from sonogloss.transforms.models import CaptionerReference, ClapReference
from sonogloss.transforms.work import Batch, timed

STAGE = "write_captions"


def write_captions(batch: Batch, captioner: Captioner, beams: Sequence[int] = (), best: int = 0) -> Batch:
    """Caption the clips of a batch; a clip the decoder fails on, or has no word for, becomes a dead letter.

    Args:
        batch: clips with projected embeddings and contexts.
        captioner: the decoder.
        beams: numbers of beams, ascending, to search with one after the other.
        best: or how many captions of one search. With either the batch gets distinct captions as `candidates`, in this
            order, in place of one a clip.

    Returns:
        The batch with captions or candidates, and with `labels` where the captioner's prompts name some.
    """

    def caption(rows: Sequence[int]) -> list[tuple[str, ...]]:
        contexts = [[context.text for context in batch.contexts[row]] for row in rows]
        embeddings = batch.projected[np.asarray(rows)]
        if best:
            return captioner.candidates(embeddings, contexts, best)
        if not beams:
            return [(sentence,) for sentence in captioner.caption(embeddings, contexts)]
        searches = [captioner.caption(embeddings, contexts, beams=number) for number in beams]
        return list(zip(*searches, strict=True))

    outcomes = run_isolated(caption, range(len(batch.clips)))
    failures: dict[int, DeadLetter] = {}
    said: list[tuple[str, ...]] = []
    for row, (clip, outcome) in enumerate(zip(batch.clips, outcomes, strict=True)):
        if isinstance(outcome, Exception):
            failures[row] = failure(clip, STAGE, outcome)
        elif sentences := tuple(dict.fromkeys(sentence.strip() for sentence in outcome if sentence.strip())):
            said.append(sentences)
        else:
            failures[row] = dead_letter(clip, STAGE, Code.EMPTY_CAPTION, "Decoding ended without a word.")
    left = batch.without(failures)
    if captioner.has_keywords and left.clips:
        left = replace(left, labels=tuple(captioner.keywords(left.projected)))
    if beams or best:
        return replace(left, candidates=tuple(said))
    return replace(left, captions=tuple(sentences[0] for sentences in said))


class _WriteCaptionsFn(beam.DoFn):
    def __init__(self, captioner: CaptionerReference, clap: ClapReference, beams: Sequence[int], best: int) -> None:
        self._reference = captioner
        self._clap = clap
        self._beams = tuple(beams)
        self._best = best

    def setup(self) -> None:
        self._captioner = self._reference.load_with(self._clap)

    def process(self, batch: Batch) -> Iterator[Batch]:
        yield timed(STAGE, write_captions, batch, self._captioner, self._beams, self._best)


class WriteCaptions(beam.PTransform[PCollection[Batch], PCollection[Batch]]):
    """Batches -> batches with captions, see :func:`write_captions`; `clap` is the one that embedded the sound."""

    def __init__(
        self, captioner: CaptionerReference, clap: ClapReference, beams: Sequence[int] = (), best: int = 0
    ) -> None:
        super().__init__()
        self._fn = _WriteCaptionsFn(captioner, clap, beams, best)

    def expand(self, pcoll: PCollection[Batch]) -> PCollection[Batch]:
        return pcoll | beam.ParDo(self._fn)
