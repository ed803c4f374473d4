"""Embeddings of recordings that are few enough for the process that starts a job: of the first window of each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sonogloss import files
from sonogloss.audio import WindowPolicy
from sonogloss.clap import Clap
from sonogloss.errors import ClipError, FormatError
from sonogloss.indexes.train import spread
from sonogloss.indexes.vectors import check_queries
from sonogloss.pipelines.running.inputs import list_audio
from sonogloss.pipelines.running.terminal import note
from sonogloss.records import FloatArray
from sonogloss.sources import Source
from sonogloss.transforms.embed_audio import embed_audio
from sonogloss.transforms.models import ClapReference
from sonogloss.transforms.read_audio import read_unit
from sonogloss.transforms.work import make_unit

_QUERIES = 500


def embed_first_windows(sources: Sequence[Source], clap: Clap) -> tuple[list[str], FloatArray, int]:
    """Embed the first ten seconds, or as much as the CLAP takes at once.

    Returns:
        The uris of the recordings that can be read, their embeddings [recordings, dim], and how many cannot.
    """
    policy = WindowPolicy(window_s=min(10.0, clap.window_s), max_windows=1)
    uris, vectors, failed = list[str](), [np.zeros((0, clap.dim), np.float32)], 0
    for batch in read_unit(make_unit(sources), policy=policy, sample_rate=clap.sample_rate):
        batch = embed_audio(batch, clap)
        failed += len(batch.dead)
        if batch.clips:
            uris += [clip.uri for clip in batch.clips]
            vectors.append(batch.embeddings)
    return uris, np.concatenate(vectors), failed


def embed_queries(patterns: Sequence[str], clap: ClapReference) -> FloatArray:
    """What recall is measured with: rows of .npy files, and up to 500 recordings at equal distances.

    Raises:
        InputError: there is nothing of the kind, or embeddings are not those of this CLAP.
    """
    arrays = [pattern for pattern in patterns if pattern.endswith(".npy")]
    recordings = [pattern for pattern in patterns if pattern not in arrays]
    found = [_read_array(path, clap.outline.dim) for path in files.expand(arrays, option="--recall-audio")]
    if recordings:
        sources, _ = list_audio(recordings)
        chosen = list(sources.take(spread(len(sources), _QUERIES)))
        _, vectors, failed = embed_first_windows(chosen, clap.load())
        if not len(vectors):
            raise FormatError(
                f"No recording of --recall-audio can be read; {chosen[0].uri!r}, for one.", "Name others."
            )
        if failed:
            note(f"{failed:,} of {len(chosen):,} recordings of --recall-audio cannot be read and are left out.")
        found.append(vectors)
    return np.concatenate(found)


def _read_array(path: str, dim: int) -> FloatArray:
    try:
        with files.open_read(path) as handle:
            return check_queries(np.lib.format.read_array(handle, allow_pickle=False), dim)
    except (OSError, ValueError, EOFError, ClipError) as error:
        raise FormatError(
            f"--recall-audio {path!r} cannot be used: {error}.", "Give a .npy file of embeddings, float [n, dim]."
        ) from error
