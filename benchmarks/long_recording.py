"""Memory and time of cutting a recording of a day, as FLAC and as MP3, into clips.

    python benchmarks/long_recording.py --hours 24

The recording is never held: its encoder writes to a temporary file, and the clips are dropped as they come. Printed
are the size of the file, the speed (seconds of sound a second), and the peak memory above that of an empty process.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RATE = 16000
MINUTE = 60 * RATE


def write(path: Path, hours: float) -> None:
    """A day of quiet noise and a tone that changes by the minute."""
    import numpy as np
    import soundfile

    chance = np.random.default_rng(0)
    time_s = np.arange(MINUTE) / RATE
    with soundfile.SoundFile(path, "w", RATE, 1, format=path.suffix[1:].upper()) as file:
        for minute in range(round(hours * 60)):
            tone = 0.2 * np.sin(2 * np.pi * (200 + minute) * time_s)
            file.write((tone + 0.01 * chance.standard_normal(MINUTE)).astype(np.float32))


def cut(path: Path) -> None:
    """Cut a file into clips, in this process, and print what it took."""
    from sonogloss.audio import AudioLimits, WindowPolicy, cut_clips

    empty = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    clips, seconds, flags = 0, 0.0, set()
    with path.open("rb") as handle:
        policy, limits = WindowPolicy(), AudioLimits(max_seconds=48 * 3600)
        for clip in cut_clips(handle, uri=path.name, member=None, policy=policy, sample_rate=48000, limits=limits):
            clips, seconds = clips + 1, clip.end_s
            flags.update(clip.flags)
    elapsed = time.perf_counter() - start
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - empty) / 1024
    print(
        f"{path.suffix[1:]:5} {path.stat().st_size / 1e6:8.1f} MB  {clips} clips, {seconds / 3600:.2f} h in "
        f"{elapsed:.0f} s ({seconds / elapsed:.0f} times real time), {peak:.0f} MiB above empty, {sorted(flags)}"
    )


def main() -> None:
    """Write each file, then cut it in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--cut", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.cut is not None:
        cut(options.cut)
        return
    with tempfile.TemporaryDirectory() as folder:
        for suffix in ("flac", "mp3"):
            path = Path(folder) / f"day.{suffix}"
            write(path, options.hours)
            subprocess.run([sys.executable, __file__, "--cut", str(path)], check=True)
            path.unlink()


if __name__ == "__main__":
    main()
