"""write_captions: projected embeddings and contexts -> one sentence a clip, or several to choose from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sonogloss.errors import ClipError, Code
from sonogloss.methods import Captioner
from sonogloss.records import LabelScore
from sonogloss.transforms.isolate import drop_failures, run_isolated
from sonogloss.transforms.work import Batch

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

    def caption(rows: Sequence[int]) -> list[tuple[tuple[str, ...], tuple[LabelScore, ...]]]:
        contexts = [[context.text for context in batch.contexts[row]] for row in rows]
        embeddings = batch.projected[np.asarray(rows)]
        if best:
            found = captioner.candidates(embeddings, contexts, best)
        else:
            searches = [captioner.caption(embeddings, contexts, beams=number) for number in beams]
            found = list(zip(*(searches or [captioner.caption(embeddings, contexts)]), strict=True))
        keywords = captioner.keywords(embeddings) if captioner.has_keywords else [()] * len(rows)
        return [(_distinct(sentences), tuple(labels)) for sentences, labels in zip(found, keywords, strict=True)]

    outcomes = run_isolated(caption, range(len(batch.clips)), stage=STAGE)
    left, found = drop_failures(batch, outcomes, stage=STAGE, check=lambda pair: _check_words(pair[0]))
    if captioner.has_keywords:
        left = replace(left, labels=tuple(labels for _, labels in found))
    if beams or best:
        return replace(left, candidates=tuple(sentences for sentences, _ in found))
    return replace(left, captions=tuple(first for (first, *_), _ in found))


def _distinct(sentences: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(sentence.strip() for sentence in sentences if sentence.strip()))


def _check_words(sentences: tuple[str, ...]) -> ClipError | None:
    return None if sentences else ClipError(Code.EMPTY_CAPTION, "Decoding ended without a word.")
