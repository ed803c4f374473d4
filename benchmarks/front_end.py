"""In front of the models: decoding beside bare soundfile with soxr, log-mel beside transformers' ClapFeatureExtractor.

    python -m benchmarks.front_end --rounds 7

Both sides of a pair alternate in one process and one thread; the table has the best of the rounds. Decoding means: open
the bytes of a file of ten seconds in stereo, mix, resample from 44.1 to 32 kHz, cut the window. Ours also digests the
file, counts its frames, and looks for damage, clipping, offset and cancelling channels.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import soundfile
import soxr
import torch
from transformers import ClapFeatureExtractor

from sonogloss.audio import Cutting, WindowPolicy, cut_clips
from sonogloss.audio.mel import LogMel, MelSettings

RATE, CLAP_RATE, SECONDS = 44100, 32000, 10
FORMATS = {"WAV": "PCM_16", "FLAC": None, "OGG": "VORBIS", "OPUS": None, "MP3": None, "AIFF": None}
FILES = 12
UNFUSED = {  # the values of laion/clap-htsat-unfused, but for the rate, which is the pocket CLAP's too
    "sampling_rate": CLAP_RATE, "max_length_s": 10, "fft_window_size": 1024, "hop_length": 320, "feature_size": 64,
    "frequency_min": 50, "frequency_max": 14000, "truncation": "rand_trunc", "padding": "repeatpad",
}  # fmt: skip


def recordings(container: str, subtype: str | None) -> list[bytes]:
    """Tones in noise, in stereo."""
    rng = np.random.default_rng(0)
    seconds = np.arange(SECONDS * RATE) / RATE
    found = []
    for number in range(FILES):
        tone = 0.2 * np.sin(2 * np.pi * (200 + 31 * number) * seconds)[:, None]
        samples = tone + 0.05 * rng.standard_normal((len(seconds), 2))
        target = io.BytesIO()
        if container == "OPUS":
            soundfile.write(target, soxr.resample(samples, RATE, 48000), 48000, format="OGG", subtype="OPUS")
        else:
            soundfile.write(target, samples, RATE, format=container, subtype=subtype)
        found.append(target.getvalue())
    return found


def bare(data: bytes) -> int:
    """What a script does."""
    samples, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    return len(soxr.resample(samples.mean(axis=1), rate, CLAP_RATE)[: SECONDS * CLAP_RATE])


def ours(data: bytes) -> int:
    """What the job does."""
    clips = cut_clips(io.BytesIO(data), Cutting(uri="a", policy=WindowPolicy(), sample_rate=CLAP_RATE))
    return sum(len(clip.samples) for clip in clips)


def each(function: Callable[[bytes], int], files: list[bytes]) -> list[int]:
    """What a function says of every file."""
    return [function(data) for data in files]


def best(rounds: int, *functions: Callable[[], object]) -> list[float]:
    """The least seconds of each, alternating."""
    least = [float("inf")] * len(functions)
    for _ in range(rounds):
        for number, function in enumerate(functions):
            start = time.perf_counter()
            function()
            least[number] = min(least[number], time.perf_counter() - start)
    return least


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--short", action="store_true", help="2 rounds")
    options = parser.parse_args()
    rounds = 2 if options.short else options.rounds
    torch.set_num_threads(1)
    print("| format | bare ms a file | ours ms a file | speed of ours, as a share |\n|---|---|---|---|")
    for container, subtype in FORMATS.items():
        files = recordings(container, subtype)
        both = partial(each, bare, files), partial(each, ours, files)
        plain, full = best(rounds, *both)
        print(
            f"| {container} | {plain / FILES * 1000:.1f} | {full / FILES * 1000:.1f} | {plain / full:.2f} |", flush=True
        )
    extractor = ClapFeatureExtractor(**UNFUSED)
    settings = MelSettings.from_preprocessor(UNFUSED)
    rng = np.random.default_rng(0)
    waves = [rng.standard_normal(10 * settings.sample_rate).astype(np.float32) * 0.1 for _ in range(8)]
    mel = LogMel(settings)
    theirs, own = best(
        rounds,
        lambda: extractor(waves, sampling_rate=settings.sample_rate, return_tensors="np"),
        lambda: mel(waves),
    )
    print(
        f"\nlog-mel of 10 s: transformers {theirs / 8 * 1000:.1f} ms, ours {own / 8 * 1000:.1f} ms: {theirs / own:.1f}x"
    )


if __name__ == "__main__":
    main()
