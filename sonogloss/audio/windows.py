"""From recordings to clips: resample the stream and cut it into windows at exact sample positions."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import soxr

from sonogloss.audio.decode import AudioLimits, read_recording
from sonogloss.errors import OptionError
from sonogloss.records import Clip, FloatArray, clip_id

SHORTEST_REMAINDER_S = 0.5  # the least new sound of a further window
SHORT_S = 0.5  # a shorter clip fills its window with many copies of itself: flag SHORT
SILENT_PEAK = 1e-4  # -80 dBFS, 16-bit noise of three steps; with a lower peak there is nothing to caption: flag SILENT


@dataclass(frozen=True, kw_only=True)
class WindowPolicy:
    """How recordings are cut.

    Attributes:
        window_s: length of a clip in seconds; at most the CLAP's window.
        hop_s: from the start of one clip to the start of the next. Below `window_s` clips overlap, above it sound is
            skipped.
        max_windows: the largest number of clips of a recording, from its start; all by default. The released captioners
            use the first one only.

    Raises:
        OptionError: a value is not a number of seconds from 0.01 up, or no window is left.
    """

    window_s: float = 10.0
    hop_s: float = 10.0
    max_windows: int | None = None

    def __post_init__(self) -> None:
        for option, value in (("--window", self.window_s), ("--hop", self.hop_s)):
            if not (math.isfinite(value) and value >= 0.01):
                raise OptionError(f"{option} {value!r} is not a usable number of seconds.", "Give 0.01 or more.")
        if self.max_windows is not None and self.max_windows < 1:
            raise OptionError(f"--max-windows {self.max_windows} leaves no window.", "Give 1 or more.")


def expected_windows(duration_s: float, policy: WindowPolicy) -> list[tuple[float, float]]:
    """Start and end, in seconds, of every clip of a recording of this duration, in order.

    A recording of any length has a first window. It has a further one if at least half a second of the sound after its
    start is not covered by earlier windows.
    """
    windows: list[tuple[float, float]] = []
    covered = 0.0
    for number in range(math.ceil(duration_s / policy.hop_s)):
        if number == policy.max_windows:
            break
        start = number * policy.hop_s
        if windows and duration_s - max(start, covered) < SHORTEST_REMAINDER_S:
            break
        covered = min(start + policy.window_s, duration_s)
        windows.append((start, covered))
    return windows


def cut_clips(
    data: bytes,
    *,
    uri: str,
    member: str | None,
    policy: WindowPolicy,
    sample_rate: int,
    limits: AudioLimits | None = None,
) -> Iterator[Clip]:
    """Decode a source and cut it into clips, mono float32 at the CLAP's rate.

    Memory is bounded by the encoded source and a few windows, not by the duration. Samples depend only on the source
    and the policy. Flags: TRUNCATED (all clips of a source that ends early or breaks), CLIPPED (all clips of a source
    with samples more than 6 dB over full scale, which are limited), SILENT (the clip's peak is below -80 dBFS), SHORT
    (the clip is shorter than half a second).

    Args:
        data: the bytes of the audio file.
        uri: of the file, or of its archive.
        member: its name inside the archive, None for a file.
        policy: how to cut.
        sample_rate: of the clips, in Hz: the CLAP's.
        limits: of what is accepted.

    Yields:
        Clips in the order of time.

    Raises:
        ClipError: the source cannot be opened or has no usable sound; raised before the first clip.
    """
    recording = read_recording(data, limits)
    digest = hashlib.sha256(data).hexdigest()
    source_flags = ("TRUNCATED",) * recording.truncated + ("CLIPPED",) * recording.overdriven
    windows = expected_windows(recording.duration_s, policy)
    stream = _resample(recording.blocks(), recording.sample_rate, sample_rate)
    size = round(policy.window_s * sample_rate)
    for (start_s, end_s), samples in zip(windows, _cut(stream, windows, sample_rate, size), strict=True):
        yield Clip(
            clip_id=clip_id(uri, member, start_s, end_s),
            uri=uri,
            member=member,
            start_s=start_s,
            end_s=end_s,
            duration_s=recording.duration_s,
            sample_rate=recording.sample_rate,
            channels=recording.channels,
            samples=samples,
            audio_sha256=digest,
            flags=source_flags + _flags(samples, end_s - start_s),
        )


def _flags(samples: FloatArray, seconds: float) -> tuple[str, ...]:
    silent = float(np.abs(samples).max()) < SILENT_PEAK
    return ("SILENT",) * silent + ("SHORT",) * (seconds < SHORT_S)


def _resample(blocks: Iterable[FloatArray], source_rate: int, sample_rate: int) -> Iterator[FloatArray]:
    """The stream at another rate (soxr, HQ), limited to [-1, 1] again because the filter overshoots."""
    if source_rate == sample_rate:
        yield from blocks
        return
    resampler = soxr.ResampleStream(source_rate, sample_rate, 1, dtype="float32", quality="HQ")
    for block in blocks:
        yield np.clip(resampler.resample_chunk(block), -1.0, 1.0)
    yield np.clip(resampler.resample_chunk(np.empty(0, dtype=np.float32), last=True), -1.0, 1.0)


def resample(samples: FloatArray, source_rate: int, sample_rate: int) -> FloatArray:
    """Mono samples in [-1, 1] at another rate, by the same resampler as :func:`cut_clips`.

    Args:
        samples: float32 [samples].
        source_rate: of the samples, in Hz.
        sample_rate: of the result, in Hz.

    Returns:
        float32, as long as the samples to within one sample, limited to [-1, 1]; the samples themselves where the rates
        are equal.
    """
    return np.concatenate([*_resample([samples], source_rate, sample_rate)])


def _cut(
    stream: Iterator[FloatArray], windows: Iterable[tuple[float, float]], sample_rate: int, size: int
) -> Iterator[FloatArray]:
    """The samples of each window; memory holds the stream from a window's start to its end only."""
    held = np.empty(0, dtype=np.float32)
    origin = 0  # position of held[0] in the stream
    for start_s, end_s in windows:
        start = round(start_s * sample_rate)
        stop = min(start + size, round(end_s * sample_rate))
        while origin + len(held) < stop:
            block = next(stream, None)
            if block is None:
                break
            passed = min(max(0, start - origin), len(held))
            held, origin = np.concatenate([held[passed:], block]), origin + passed
        yield held[max(0, start - origin) : stop - origin].copy()
