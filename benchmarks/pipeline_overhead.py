"""What does Beam cost? The caption job against a bare loop over the same functions, on the same clips, in one process.

    python -m benchmarks.pipeline_overhead [--clips 256] [--rounds 3]

Job and loop alternate; each round prints both times and their ratio. The loop reads file after file in this process, in
full batches, embeds, retrieves, decodes and scores, but isolates nothing, writes nothing and notes no progress. Models
load before.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import time
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.bare_reading import bare_batches
from sonogloss.audio import WindowPolicy
from sonogloss.pipelines.build_datastore import build_datastore
from sonogloss.pipelines.caption_audio import caption
from sonogloss.pipelines.config.captioning import CaptionConfig
from sonogloss.pipelines.running.audio_job import BATCH_SIZE
from sonogloss.pipelines.running.caption_job import CaptionJob, prepare
from sonogloss.soundscapes import RATE, caption_dump, render_scene, sample_scene
from sonogloss.transforms.embed_audio import embed_audio
from sonogloss.transforms.models import CaptionerWithClap
from sonogloss.transforms.retrieve import retrieve
from sonogloss.transforms.score import score
from sonogloss.transforms.write_captions import write_captions

DISTINCT = 48  # scenes rendered; files beyond that repeat them, which no step can tell


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("bench-output/pipeline-overhead"))
    parser.add_argument("--short", action="store_true", help="96 clips, 2 rounds")
    options = parser.parse_args()
    clips, rounds = (96, 2) if options.short else (options.clips, options.rounds)
    audio, store = _material(options.output, clips)
    job = prepare(CaptionConfig(audio=audio, datastore=store, output=str(options.output / "results"), device="cpu"))
    sources = sorted(str(path.resolve()) for path in Path(audio).glob("*.wav"))
    # Warm both: first calls import, compile and allocate.
    bare_loop(job, sources[:BATCH_SIZE])
    warm = options.output / "warm"
    shutil.rmtree(warm, ignore_errors=True)
    caption(audio=sources[:BATCH_SIZE], datastore=store, output=str(warm), device="cpu")
    ratios = []
    for number in range(rounds):
        results = options.output / "results"
        shutil.rmtree(results, ignore_errors=True)
        begun = time.perf_counter()
        report = caption(audio=audio, datastore=store, output=str(results), device="cpu")
        middle = time.perf_counter()
        said = bare_loop(job, sources)
        ended = time.perf_counter()
        if report["counts"]["captions"] != len(said):
            raise SystemExit(f"the job wrote {report['counts']['captions']} captions, the loop {len(said)}")
        ratios.append((middle - begun) / (ended - middle))
        print(
            f"round {number + 1}: job {middle - begun:.1f} s, loop {ended - middle:.1f} s, ratio {ratios[-1]:.3f}",
            flush=True,
        )
    summary = {
        "clips": clips,
        "ratios": ratios,
        "median": statistics.median(ratios),
        "min": min(ratios),
        "max": max(ratios),
    }
    (options.output / "report.json").write_text(json.dumps(summary, indent=2))
    print(json.dumps(summary, indent=2))


def bare_loop(job: CaptionJob, sources: list[str]) -> list[str]:
    """The same functions, without Beam and without output."""
    said: list[str] = []
    clap, datastore = job.clap.load(), job.datastore.load() if job.datastore else None
    captioner = CaptionerWithClap(captioner=job.captioner, clap=job.clap).load()
    policy = WindowPolicy()
    for batch in bare_batches(sources, policy=policy, sample_rate=job.sample_rate, batch_size=BATCH_SIZE):
        batch = retrieve(embed_audio(batch, clap), datastore, contexts=job.contexts, projection=job.projection)
        said += score(write_captions(batch, captioner), clap).captions
    return said


def _material(directory: Path, clips: int) -> tuple[str, str]:
    audio = directory / f"audio-{clips}"
    if not audio.exists():
        audio.mkdir(parents=True)
        sounds = [render_scene(sample_scene(3_000_000 + number))[: 10 * RATE] for number in range(min(DISTINCT, clips))]
        for number in range(clips):
            samples = sounds[number % DISTINCT] * np.float32(1 - 1e-3 * (number // DISTINCT))
            soundfile.write(audio / f"{number:05d}.wav", samples, RATE)
    dump = directory / "captions.txt"
    dump.write_text("\n".join(caption_dump(5_000, 78)) + "\n")
    build_datastore(captions=[str(dump)], output=str(directory / "datastore"), overwrite=True)
    return str(audio), str(directory / "datastore")


if __name__ == "__main__":
    main()
