"""rerank: several captions a clip -> the one nearest to its sound in the space of a CLAP, the reranker (CLAP-Refine).

The reranker is the CLAP that embedded the batch or another one, for example one that knows the order of sounds. Another
one embeds the clips too, while their samples are still there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from sonogloss.audio import resample
from sonogloss.clap import Clap
from sonogloss.records import Clip, FloatArray
from sonogloss.transforms.embed_audio import embed_isolated
from sonogloss.transforms.isolate import check_finite, drop_failures, run_isolated
from sonogloss.transforms.work import NO_VECTORS, Batch

STAGE = "rerank"
EMBED_STAGE = "rerank_audio"


def embed_for_reranking(batch: Batch, reranker: Clap, sample_rate: int) -> Batch:
    """Embed the clips of a batch by the CLAP that will choose among their captions.

    A reranker of another rate gets resampled clips; a higher rate adds nothing above theirs.

    Args:
        batch: clips with samples.
        reranker: the CLAP.
        sample_rate: of the samples, in Hz.

    Returns:
        The batch with `rerank_embeddings`: float32 [clips, dim], unit rows. A clip that the model fails on, or whose
        embedding is not finite, becomes a dead letter.
    """
    longest = int(reranker.window_s * reranker.sample_rate)  # resampling may add a sample

    def embed(clips: Sequence[Clip]) -> list[tuple[FloatArray, ...]]:
        waveforms = [resample(clip.samples, sample_rate, reranker.sample_rate)[:longest] for clip in clips]
        return [(vector,) for vector in reranker.embed_audio(waveforms)]

    left, columns = embed_isolated(batch, embed, stage=EMBED_STAGE)
    return replace(left, rerank_embeddings=columns[0])


def rerank(batch: Batch, reranker: Clap) -> Batch:
    """Choose among the candidates of every clip.

    Args:
        batch: clips with candidates.
        reranker: the CLAP that chooses: the one that :func:`embed_for_reranking` was called with, else the one that
            embedded the batch. The cosines of the latter are kept as `scores`; another's are not comparable.
    """
    own = not batch.rerank_embeddings.size
    outcomes = choose(batch, reranker, batch.embeddings if own else batch.rerank_embeddings)
    left, chosen = drop_failures(batch, outcomes, stage=STAGE)
    return replace(
        left,
        captions=tuple(caption for caption, _ in chosen),
        scores=tuple(score for _, score in chosen) if own else left.scores,
        candidates=(),
        rerank_embeddings=NO_VECTORS,
    )


def choose(batch: Batch, clap: Clap, embeddings: FloatArray) -> list[tuple[str, float] | Exception]:
    """For each clip its best candidate, the first of equals, and its cosine in [-1, 1].

    A candidate that the model fails on, or whose embedding is not finite, is passed over; a clip all of whose
    candidates fail gets the last exception.

    Args:
        batch: clips with candidates.
        clap: embeds the candidates.
        embeddings: [clips, dim] of the clips, by the same CLAP.
    """
    texts = [text for candidates in batch.candidates for text in candidates]
    outcomes = iter(run_isolated(clap.embed_text, texts, stage=STAGE))
    chosen: list[tuple[str, float] | Exception] = []
    for row, candidates in enumerate(batch.candidates):
        best: tuple[str, float] | Exception = RuntimeError("no candidate")
        highest = -np.inf
        for text, outcome in zip(candidates, islice(outcomes, len(candidates)), strict=True):
            failure = outcome if isinstance(outcome, Exception) else check_finite(outcome)
            if isinstance(outcome, Exception) or failure is not None:
                best = failure if isinstance(best, Exception) and failure is not None else best
            elif (cosine := float(np.clip(outcome @ embeddings[row], -1.0, 1.0))) > highest:
                best, highest = (text, cosine), cosine
        chosen.append(best)
    return chosen
