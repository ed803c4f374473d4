"""The rows of a set of clips are those of its parts, byte for byte, with every captioning method."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from sonogloss.clap import load_clap
from sonogloss.methods import CaptionerSpec, load_captioner
from sonogloss.records import Context
from sonogloss.transforms.embed_audio import embed_audio
from sonogloss.transforms.score import score
from sonogloss.transforms.work import Batch
from sonogloss.transforms.write_captions import write_captions

from .conftest import make_clip

CLIPS = 5
CUTS = ([0, 5], [0, 1, 3, 5])
TEXTS = ["a dog barks while rain falls", "a siren wails", "birds sing and a man speaks far away", "water drips"]


def batches(cuts: list[int]) -> list[Batch]:
    """Tones and noise of different lengths, cut into batches."""
    rng = np.random.default_rng(0)
    clips = []
    for row in range(CLIPS):
        noise = 0.05 * rng.standard_normal(4000 * (1 + row))
        tone = 0.2 * np.sin(np.arange(len(noise)) * 0.02 * (1 + row))
        clips.append(make_clip(row, (tone + noise).astype(np.float32)))
    return [
        Batch(unit="u", number=0, last=True, inputs=stop - start, clips=tuple(clips[start:stop]))
        for start, stop in pairwise(cuts)
    ]


@pytest.mark.parametrize(
    "name", ["pocket", "pocket:soft-hard", pytest.param("pocket:zeraucap", marks=pytest.mark.slow)]
)
def test_rows_do_not_depend_on_the_batch(name: str) -> None:
    clap = load_clap("pocket")
    captioner = load_captioner(CaptionerSpec(name=name))
    captioner.read_text_with(clap)

    def caption(batch: Batch) -> list[Any]:
        batch = embed_audio(batch, clap)
        contexts = tuple(
            tuple(Context(id=1, text=text, score=0.5, source="s") for text in TEXTS[: captioner.contexts])
            for _ in batch.clips
        )
        done = score(write_captions(replace(batch, projected=batch.embeddings, contexts=contexts), captioner), clap)
        assert not done.dead
        labels = done.labels or ((),) * len(done.clips)
        embeddings = [vector.tobytes() for vector in done.embeddings]
        return list(zip(embeddings, done.captions, done.scores, labels, strict=True))

    whole, parts = ([row for batch in batches(cuts) for row in caption(batch)] for cuts in CUTS)
    assert len(whole) == CLIPS
    assert parts == whole
