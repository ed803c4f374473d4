"""From recordings to clips: resample the stream and cut it into windows at exact sample positions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from sonogloss.audio.byte_source import BinaryHandle, ByteSource
from sonogloss.audio.channels import CHANNELS, Channels, Mixing
from sonogloss.audio.decode import AudioLimits
from sonogloss.audio.rates import resample_blocks
from sonogloss.audio.recording import Recording
from sonogloss.audio.scans import scan
from sonogloss.errors import ClipError, Code, OptionError
from sonogloss.records import Clip, FloatArray, clip_id

SHORTEST_REMAINDER_S = 0.5  # the least new sound of a further window
SHORT_S = 0.5  # a shorter clip fills its window with many copies of itself: flag SHORT
SILENT_PEAK = 1e-4  # -80 dBFS, 16-bit noise of three steps; with a lower peak there is nothing to caption: flag SILENT
DC_OFFSET = 0.05  # of full scale: sound of a sane recorder has a mean near zero: flag DC
INFORMATIVE_FLAGS = ("RESAMPLED", "MIXED_DOWN")  # nothing is wrong with a clip that has them


@dataclass(frozen=True, kw_only=True)
class WindowPolicy:
    """How recordings are cut.

    Attributes:
        window_s: length of a clip in seconds; at most the CLAP's window.
        hop_s: from the start of one clip to the start of the next. Below `window_s` clips overlap, above it sound is
            skipped.
        max_windows: the largest number of clips of a recording, from its start; all by default. The released captioners
            use the first one only.
        skip_silent: leave windows with the flag SILENT out. Cutting yields them, reading a unit counts them.
        channels: what becomes of several channels: their mean (the loudest one where they cancel each other), the
            first, the loudest, or a clip of each one.

    Raises:
        OptionError: a value is not a number of seconds from 0.01 up, or no window is left.
    """

    window_s: float = 10.0
    hop_s: float = 10.0
    max_windows: int | None = None
    channels: Channels = "mean"
    skip_silent: bool = False

    def __post_init__(self) -> None:
        for option, value in (("--window", self.window_s), ("--hop", self.hop_s)):
            if not (math.isfinite(value) and value >= 0.01):
                raise OptionError(f"{option} {value!r} is not a usable number of seconds.", "Give 0.01 or more.")
        if self.max_windows is not None and self.max_windows < 1:
            raise OptionError(f"--max-windows {self.max_windows} leaves no window.", "Give 1 or more.")
        if self.channels not in CHANNELS:
            raise OptionError(f"--channels {self.channels!r} is not known.", f"Give one of {', '.join(CHANNELS)}.")


@dataclass(frozen=True, kw_only=True)
class Cutting:
    """What is cut, and how.

    Attributes:
        uri: of the file, or of its archive.
        member: its name inside the archive, None for a file.
        policy: how to cut.
        sample_rate: of the clips, in Hz: the CLAP's.
        limits: of what is accepted.
        start_s: where the part to cut begins, in seconds; None for the beginning of the source.
        end_s: where it ends; None for the end of the source.
        part: numbers of the windows to cut, from and to, None for the end. What must be known of the whole recording
            is remembered in this process, so that its other parts need not find it out again.
        version: of the source, where parts of it are cut.
    """

    uri: str
    member: str | None = None
    policy: WindowPolicy
    sample_rate: int
    limits: AudioLimits = field(default_factory=AudioLimits)
    start_s: float | None = None
    end_s: float | None = None
    part: tuple[int, int | None] | None = None
    version: str | None = None


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


def cut_clips(data: bytes | BinaryHandle, cutting: Cutting) -> Iterator[Clip]:
    """Decode a source and cut it into clips, mono float32 at the CLAP's rate.

    Memory is bounded by a few windows, not by the duration or the size of a file that is given as a handle. Samples
    depend only on the source and the policy.

    Flags of all clips of a source: TRUNCATED (it ends early, breaks, or holds bytes that were not understood), JOINED
    (it holds several streams in a row), CLIPPED (samples more than 6 dB over full scale were limited), ANTIPHASE (the
    channels cancel each other, so that the loudest one is heard), MIXED_DOWN (the samples are the mean of several
    channels), RESAMPLED (the source has another rate). Flags of a clip: SILENT (its peak is below -80 dBFS), SHORT (it
    is shorter than half a second), DC (its mean is further than 5 % of full scale from zero).

    Args:
        data: an audio file: its bytes, or a seekable handle that stays open until the last clip is taken.
        cutting: how.

    Yields:
        Clips in the order of time. With `channels="split"` those of the first channel come first, and channel `n` of a
        source with several has `#channel=n` (from 1) behind its member's name.

    Raises:
        ClipError: the source cannot be opened or has no usable sound; raised before the first clip.
    """
    split = cutting.policy.channels == "split"
    mixing: Mixing = "first" if cutting.policy.channels == "split" else cutting.policy.channels
    name_and_version = None if cutting.part is None else (cutting.uri, cutting.member, cutting.version)
    recording, digest = scan(ByteSource(data), cutting.limits, mixing, name_and_version)
    windows = _windows_between(cutting, recording.duration_s)
    windows = windows if cutting.part is None else windows[cutting.part[0] : cutting.part[1]]
    if windows:  # else the header announced more
        for channel in range(recording.channels) if split else (None,):
            yield from _clips_of_channel(recording, channel, windows, cutting, digest)


def _clips_of_channel(
    recording: Recording, channel: int | None, windows: list[tuple[float, float]], cutting: Cutting, digest: str
) -> Iterator[Clip]:
    """The clips of one channel, or of the mix-down."""
    rate, member = cutting.sample_rate, cutting.member
    if channel is not None and recording.channels > 1:
        member = f"{member or ''}#channel={channel + 1}"
    # What is left out is a whole number of seconds, and so of samples at either rate, and the filter gets a second.
    from_s = max(0, int(windows[0][0]) - 1)
    stream = resample_blocks(recording.blocks(channel, from_s=from_s), recording.sample_rate, rate)
    cut = _cut(stream, windows, rate, round(cutting.policy.window_s * rate), origin=from_s * rate)
    for (begin, end), samples in zip(windows, cut, strict=True):
        yield Clip(
            clip_id=clip_id(cutting.uri, member, begin, end),
            uri=cutting.uri,
            member=member,
            start_s=begin,
            end_s=end,
            duration_s=recording.duration_s,
            sample_rate=recording.sample_rate,
            channels=recording.channels,
            samples=samples,
            audio_sha256=digest,
            flags=_source_flags(recording, rate) + _clip_flags(samples, end - begin),
        )


def _windows_between(cutting: Cutting, duration_s: float) -> list[tuple[float, float]]:
    """The windows of the part of a source that is cut."""
    start, end = cutting.start_s or 0.0, duration_s if cutting.end_s is None else min(cutting.end_s, duration_s)
    if end <= start:
        raise ClipError(Code.EMPTY, f"The recording has {duration_s:g} s, and the range begins at {start:g} s.")
    if round(end * cutting.sample_rate) == round(start * cutting.sample_rate):
        raise ClipError(Code.EMPTY, f"The range from {start:g} to {end:g} s is shorter than a sample.")
    return [(start + begin, start + stop) for begin, stop in expected_windows(end - start, cutting.policy)]


def _source_flags(recording: Recording, sample_rate: int) -> tuple[str, ...]:
    flags = {
        "TRUNCATED": recording.truncated,
        "CLIPPED": recording.overdriven,
        "JOINED": recording.joined,
        "ANTIPHASE": recording.antiphase,
        "MIXED_DOWN": recording.mixed_down,
        "RESAMPLED": recording.sample_rate != sample_rate,
    }
    return tuple(flag for flag, is_set in flags.items() if is_set)


def _clip_flags(samples: FloatArray, seconds: float) -> tuple[str, ...]:
    flags = {
        "SILENT": float(np.abs(samples).max()) < SILENT_PEAK,
        "SHORT": seconds < SHORT_S,
        "DC": abs(float(samples.mean(dtype=np.float64))) > DC_OFFSET,
    }
    return tuple(flag for flag, is_set in flags.items() if is_set)


def _cut(
    stream: Iterator[FloatArray],
    windows: Iterable[tuple[float, float]],
    sample_rate: int,
    size: int,
    origin: int = 0,
) -> Iterator[FloatArray]:
    """The samples of each window of a stream that begins at `origin`.

    Memory holds the stream from a window's start to its end only.
    """
    held = np.empty(0, dtype=np.float32)  # its first sample is at `origin`
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
