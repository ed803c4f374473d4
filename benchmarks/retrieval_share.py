"""What retrieval costs in a caption job, beside the other steps: now, and as the first release did it.

    python -m benchmarks.retrieval_share [--count 1000000] [--clips 64]

The pocket models caption clips of ten seconds of noise, 32 at a time, with a store of random captions of the same
width. Each step runs in this process, on its own; CPU seconds a clip count. The first release's way is FAISS's flat
index for the contexts and then float64 products for the projection, over the same vectors; contexts have to be equal,
and projected embeddings equal to 1e-6.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import soundfile

from benchmarks.datastore_search import clustered
from sonogloss import bridge
from sonogloss.clap import Clap, load_clap
from sonogloss.indexes import commit_datastore, write_shard
from sonogloss.pipelines.config.captioning import CaptionConfig
from sonogloss.pipelines.running.audio_job import BATCH_SIZE
from sonogloss.pipelines.running.caption_job import prepare
from sonogloss.pipelines.running.inputs import list_audio
from sonogloss.transforms.read_audio import read_unit
from sonogloss.transforms.work import Batch, make_unit

MARGIN = 8


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--output", type=Path, default=Path("bench-output/retrieval-share"))
    parser.add_argument("--short", action="store_true", help="20,000 captions, 4 clips")
    options = parser.parse_args()
    if options.short:
        options.count, options.clips = 20_000, 4
    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.output) as folder:
        clap = load_clap("pocket")
        vectors = clustered(Path(folder) / "vectors.npy", options.count, clap.dim)
        _write_store(f"{folder}/store", vectors, clap)
        _write_audio(Path(folder) / "audio", options.clips, clap.sample_rate)
        report = measure(folder, vectors)
    (options.output / "report.json").write_text(json.dumps(report, indent=2))
    print(json.dumps(report, indent=2))


def _write_store(store: str, vectors: Any, clap: Clap) -> None:
    rows = np.arange(len(vectors))
    captions = pa.table({"id": rows, "text": [f"sound {row}" for row in rows.tolist()], "source": ["s"] * len(rows)})
    made_with = {"name": clap.name, "fingerprint": clap.fingerprint, "dim": clap.dim}
    shards = [write_shard(store, 0, captions, vectors)]
    commit_datastore(store, shards=shards, support=None, clap=made_with, options={})


def _write_audio(folder: Path, clips: int, rate: int) -> None:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(clips):
        soundfile.write(folder / f"{number:03d}.wav", 0.1 * rng.standard_normal(10 * rate), rate)


def measure(folder: str, vectors: Any) -> dict[str, Any]:
    """CPU seconds a clip of every step, and of the first release's retrieval."""
    config = CaptionConfig(audio=f"{folder}/audio", datastore=f"{folder}/store", output=f"{folder}/results")
    job = prepare(config)
    sources, _ = list_audio([f"{folder}/audio"])
    seconds: dict[str, float] = {}
    start = time.process_time()
    batches = list(
        read_unit(make_unit(sources), policy=config.policy, sample_rate=job.sample_rate, batch_size=BATCH_SIZE)
    )
    seconds["ReadAudio"] = time.process_time() - start
    clips = sum(len(batch.clips) for batch in batches)
    before = 0.0
    for label, step in job.steps().items():
        warm = list(step.run_here(batches[:1]))  # libraries and pages are there
        assert warm
        start = time.process_time()
        done = list(step.run_here(batches))
        seconds[label] = time.process_time() - start
        if label == "Retrieve":
            before = _first_release(batches, done, vectors, job)
        batches = done
    now = {label: round(1000 * taken / clips, 2) for label, taken in seconds.items()}
    total, others = sum(now.values()), sum(now.values()) - now["Retrieve"]
    then = round(1000 * before / clips, 2)
    return {
        "clips": clips,
        "cpu_ms_a_clip": now,
        "retrieve_first_release": then,
        "share_now": round(now["Retrieve"] / total, 3),
        "share_first_release": round(then / (others + then), 3),
    }


def _first_release(batches: list[Batch], done: list[Batch], vectors: Any, job: Any) -> float:
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(np.asarray(vectors))
    settings, taken = job.projection, 0.0
    for batch, now in zip(batches, done, strict=True):
        start = time.process_time()
        _, rows = index.search(batch.embeddings, job.contexts + MARGIN)
        projected = bridge.project(
            batch.embeddings, vectors, temperature=settings.tau, renormalise=settings.renormalise
        )
        taken += time.process_time() - start
        assert np.abs(projected - now.projected).max() <= 1e-6
        assert [[context.id for context in row] for row in now.contexts] == rows[:, : job.contexts].tolist()
    return taken


if __name__ == "__main__":
    main()
