"""Kill a caption job at random moments, again and again: the rows must be those of a job that nobody disturbed.

    python -m benchmarks.kills --clips 600 --kills 100

Half of the clips are loose files, half lie in tar shards. Every attempt is the same command; SIGKILL goes to its whole
process group after a random time. When an attempt ends by itself, its rows are compared with those of an undisturbed
run byte for byte, the output is removed, and the next round begins, until so many kills were done. The work
repeated is counted in clips that went through the audio tower, which comes first, in all attempts of a round.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

RATE = 16000
JOB = """
import functools, os, sys
from sonogloss.transforms import embed_audio as room
embed = room.embed_audio
@functools.wraps(embed)
def counted(batch, clap):
    with open(os.environ["EMBEDDED"], "a") as file:
        file.write(f"{len(batch.clips)} ")
    return embed(batch, clap)
room.embed_audio = counted
from sonogloss.pipelines.command_line import main
sys.exit(main(sys.argv[1:]))
"""
"""The command, which notes how many clips it embeds."""
A_SHARD = 50


def write_audio(folder: Path, clips: int) -> None:
    """Tones in noise of two seconds, every one another: half as files, half in tar shards."""
    rng = np.random.default_rng(0)
    time_s = np.arange(2 * RATE) / RATE
    loose = clips // 2
    (folder / "loose").mkdir(parents=True)
    encoded = []
    for number in range(clips):
        samples = 0.2 * np.sin(2 * np.pi * (110 + 7 * number) * time_s) + 0.02 * rng.standard_normal(len(time_s))
        target = io.BytesIO()
        soundfile.write(target, samples, RATE, format="WAV")
        encoded.append(target.getvalue())
    for number in range(loose):
        (folder / "loose" / f"{number:04d}.wav").write_bytes(encoded[number])
    for start in range(loose, clips, A_SHARD):
        with tarfile.open(folder / f"shard-{start:04d}.tar", "w") as shard:
            for number in range(start, min(start + A_SHARD, clips)):
                info = tarfile.TarInfo(f"{number:04d}.wav")
                info.size = len(encoded[number])
                shard.addfile(info, io.BytesIO(encoded[number]))


def rows(output: Path) -> pa.Table:
    """All rows, by clip."""
    return pq.read_table(output / "captions").sort_by("clip_id")


def start(command: list[str], folder: Path) -> subprocess.Popen[bytes]:
    """The command in a process group of its own, with a temporary folder of its own."""
    shutil.rmtree(folder / "tmp", ignore_errors=True)
    (folder / "tmp").mkdir()
    environment = {**os.environ, "TMPDIR": str(folder / "tmp"), "EMBEDDED": str(folder / "embedded")}
    with (folder / "log.txt").open("ab") as sink:
        return subprocess.Popen(command, stdout=sink, stderr=sink, start_new_session=True, env=environment)


def embedded(folder: Path) -> int:
    """Clips that went through the audio tower in all attempts so far."""
    return sum(map(int, (folder / "embedded").read_text().split()))


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=600)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("bench-output/kills"))
    parser.add_argument("--short", action="store_true", help="60 clips, 4 kills")
    options = parser.parse_args()
    clips, kills = (60, 4) if options.short else (options.clips, options.kills)
    shutil.rmtree(options.output, ignore_errors=True)
    write_audio(options.output / "audio", clips)
    log = options.output / "log.txt"
    whole, output = options.output / "undisturbed", options.output / "killed"
    base = [sys.executable, "-c", JOB, "caption", "--audio", str(options.output / "audio"), "--captioner"]
    base += ["pocket:soft-hard", "--output"]
    began = time.perf_counter()
    if start([*base, str(whole)], options.output).wait():
        raise SystemExit(log.read_text()[-2000:])
    seconds = time.perf_counter() - began
    expected = rows(whole)
    assert embedded(options.output) == clips
    (options.output / "embedded").unlink()
    chance = np.random.default_rng(options.seed)
    done, rounds, repeated = 0, 0, 0
    while done < kills:
        killed = True
        while killed:
            attempt = start([*base, str(output)], options.output)
            try:
                killed = attempt.wait(None if done >= kills else chance.uniform(0.05, 0.6) * seconds) is None
            except subprocess.TimeoutExpired:
                os.killpg(attempt.pid, signal.SIGKILL)
                attempt.wait()
                done += 1
        if attempt.returncode:
            raise SystemExit(log.read_text()[-2000:])
        found = rows(output)
        assert found.equals(expected), "the rows differ from those of an undisturbed run"
        assert len(set(found["clip_id"].to_pylist())) == found.num_rows == clips
        rounds, repeated = rounds + 1, repeated + embedded(options.output) - clips
        shutil.rmtree(output)
        (options.output / "embedded").unlink()
    print(json.dumps({"kills": done, "rounds": rounds, "clips": clips, "undisturbed_s": round(seconds, 1)}))
    print(f"work repeated: {repeated:,} clips, {repeated / done / clips:.2%} of all of them by a kill")
    print(f"all {rounds} finished outputs equal the undisturbed one byte for byte, no clip_id twice")


if __name__ == "__main__":
    main()
