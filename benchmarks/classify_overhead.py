"""What does Beam cost in tagging? The classify job against a bare loop over the same functions, on the same clips.

    python -m benchmarks.classify_overhead [--clips 600] [--rounds 3] [--label-prompts DIR]

Job and loop alternate in one process; each round prints both times and the loop's share of the job's (1 would cost
nothing). The loop reads file after file in this process, in batches that are full, embeds and scores, but isolates
nothing, writes nothing and notes no progress. Models load, and
labels are embedded, before.
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
from sonogloss.methods.labels import read_labels
from sonogloss.pipelines.classify_audio import TagJob, classify, prepare
from sonogloss.pipelines.config.captioning import ClassifyConfig
from sonogloss.pipelines.running.audio_job import BATCH_SIZE
from sonogloss.soundscapes import RATE, render_scene, sample_scene
from sonogloss.transforms.embed_audio import embed_audio
from sonogloss.transforms.tag_clips import tag_clips

DISTINCT = 48  # scenes rendered; files beyond that repeat them, which no step can tell


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--label-prompts", default=None, help="made by tune-labels: frames are compared too")
    parser.add_argument("--output", type=Path, default=Path("bench-output/classify-overhead"))
    parser.add_argument("--short", action="store_true", help="96 clips, 2 rounds")
    options = parser.parse_args()
    clips, rounds = (96, 2) if options.short else (options.clips, options.rounds)
    audio = _material(options.output, clips)
    config = ClassifyConfig(
        audio=str(audio),
        labels="pocket",
        output=str(options.output / "results"),
        label_prompts=options.label_prompts,
        device="cpu",
    )
    job = prepare(config, tuple(read_labels("pocket")))
    sources = sorted(str(path.resolve()) for path in audio.glob("*.wav"))
    # Warm both: first calls import, compile and allocate.
    bare_loop(job, sources[:BATCH_SIZE])
    run_job(sources[:BATCH_SIZE], options.output / "warm", options.label_prompts)
    shares = []
    for number in range(rounds):
        begun = time.perf_counter()
        tagged = run_job(str(audio), options.output / "results", options.label_prompts)
        middle = time.perf_counter()
        named = bare_loop(job, sources)
        ended = time.perf_counter()
        if tagged != len(named):
            raise SystemExit(f"the job tagged {tagged} clips, the loop {len(named)}")
        shares.append((ended - middle) / (middle - begun))
        print(
            f"round {number + 1}: job {middle - begun:.1f} s, loop {ended - middle:.1f} s, share {shares[-1]:.3f}",
            flush=True,
        )
    summary = {
        "clips": clips,
        "label_prompts": options.label_prompts,
        "shares": shares,
        "median": statistics.median(shares),
        "min": min(shares),
        "max": max(shares),
    }
    (options.output / "report.json").write_text(json.dumps(summary, indent=2))
    print(json.dumps(summary, indent=2))


def run_job(audio: str | list[str], output: Path, label_prompts: str | None) -> int:
    """The command, into an empty directory; how many clips it tagged."""
    shutil.rmtree(output, ignore_errors=True)
    report = classify(audio=audio, labels="pocket", output=str(output), label_prompts=label_prompts, device="cpu")
    return int(report["counts"]["labels"])


def bare_loop(job: TagJob, sources: list[str]) -> list[str]:
    """The same functions, without Beam and without output."""
    named: list[str] = []
    clap = job.clap.load()
    for batch in bare_batches(sources, policy=WindowPolicy(), sample_rate=clap.sample_rate, batch_size=BATCH_SIZE):
        batch = embed_audio(batch, clap, frames=job.tagger.needs_frames)
        named += [row[0].label for row in tag_clips(batch, job.tagger, job.selection).labels]
    return named


def _material(directory: Path, clips: int) -> Path:
    audio = directory / f"audio-{clips}"
    if not audio.exists():
        audio.mkdir(parents=True)
        sounds = [render_scene(sample_scene(3_000_000 + number))[: 10 * RATE] for number in range(min(DISTINCT, clips))]
        for number in range(clips):
            samples = sounds[number % DISTINCT] * np.float32(1 - 1e-3 * (number // DISTINCT))
            soundfile.write(audio / f"{number:05d}.wav", samples, RATE)
    return audio


if __name__ == "__main__":
    main()
