"""Kill a caption job at random moments, again and again: the rows must be those of a job that nobody disturbed.

    python -m benchmarks.kills --clips 600 --kills 100

Half of the clips are loose files, half lie in tar shards. Every attempt is the same command; SIGKILL goes to its whole
process group after a random time. When an attempt ends by itself, its rows are compared with those of an undisturbed
run byte for byte, the output is removed, and the next round begins, until so many kills were done. The work
repeated is counted in clips that went through the audio tower, which comes first, in all attempts of a round.
"""

from __future__ import annotations

import argparse
import functools
import io
import json
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

from benchmarks.killing import Killer
from sonogloss.clap import Clap, transformers_clap  # noqa: F401  # imported before attempts are forked
from sonogloss.pipelines import caption_audio, command_line  # noqa: F401  # likewise
from sonogloss.pipelines.running import caption_job
from sonogloss.transforms import embed_audio
from sonogloss.transforms.work import Batch

RATE = 16000
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


def job(arguments: Sequence[str], notes: Path) -> int:
    """The command, which notes how many clips it embeds."""
    embed = embed_audio.embed_audio

    @functools.wraps(embed)
    def counted(batch: Batch, clap: Clap) -> Batch:
        with notes.open("a") as file:
            file.write(f"{len(batch.clips)} ")
        return embed(batch, clap)

    embed_audio.embed_audio = caption_job.embed_audio = counted  # Beam pickles it by its name
    return command_line.main(arguments)


def embedded(killer: Killer) -> int:
    """Clips that went through the audio tower in all attempts since this was last asked."""
    count = sum(map(int, killer.notes.read_text().split()))
    killer.notes.unlink()
    return count


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
    whole, output = options.output / "undisturbed", options.output / "killed"
    base = ["caption", "--audio", str(options.output / "audio"), "--captioner", "pocket:soft-hard", "--output"]
    killer = Killer(options.output, job, kills=kills, seed=options.seed)
    seconds = killer.undisturbed([*base, str(whole)])
    expected = rows(whole)
    assert embedded(killer) == clips
    rounds, repeated = 0, 0
    while killer.goes_on:
        killer.until_done([*base, str(output)], (0.05 * seconds, 0.6 * seconds))
        found = rows(output)
        assert found.equals(expected), "the rows differ from those of an undisturbed run"
        assert len(set(found["clip_id"].to_pylist())) == found.num_rows == clips
        rounds, repeated = rounds + 1, repeated + embedded(killer) - clips
        shutil.rmtree(output)
    print(json.dumps({"kills": killer.done, "rounds": rounds, "clips": clips, "undisturbed_s": round(seconds, 1)}))
    print(f"work repeated: {repeated:,} clips, {repeated / killer.done / clips:.2%} of all of them by a kill")
    print(f"all {rounds} finished outputs equal the undisturbed one byte for byte, no clip_id twice")


if __name__ == "__main__":
    main()
