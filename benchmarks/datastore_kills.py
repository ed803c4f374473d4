"""A build that is killed again and again (SIGKILL, at random moments) ends as an undisturbed one, and repeats no unit.

    python -m benchmarks.datastore_kills --captions 12000 --kills 50

Each finished unit is a file below `units/`; what is counted is that none of them is written a second time. Units are
small here, so that a build of seconds has many.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.datastore_build import caption

UNIT = 500
JOB = (
    "import sys; from sonogloss.transforms import embed_text; embed_text.CAPTIONS_A_UNIT = %d; "
    "from sonogloss.pipelines.command_line import main; sys.exit(main(sys.argv[1:]))"
)


def start(dump: Path, output: Path) -> subprocess.Popen[bytes]:
    """The build, in a process of its own, with small units."""
    argv = ["build-datastore", "--captions", str(dump), "--output", str(output), "--json"]
    quiet = subprocess.DEVNULL
    return subprocess.Popen([sys.executable, "-c", JOB % UNIT, *argv], stdout=quiet, stderr=quiet)


def digests(store: Path) -> dict[str, str]:
    """Digests of all files by name."""
    paths = sorted(path for path in store.rglob("*") if path.is_file())
    return {str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def main() -> None:
    """Build once undisturbed, then with kills, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=int, default=12_000)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--output", type=Path, default=Path("bench-output/datastore_kills"))
    parser.add_argument("--short", action="store_true", help="5,000 captions, 2 kills")
    options = parser.parse_args()
    count, kills = (5_000, 2) if options.short else (options.captions, options.kills)
    folder = options.output / str(time.time_ns())
    folder.mkdir(parents=True)
    dump = folder / "captions.txt"
    dump.write_text("\n".join(caption(number) for number in range(count)))
    began = time.monotonic()
    assert start(dump, folder / "whole").wait() == 0
    whole_s = time.monotonic() - began
    rng, killed, seen, repeated, rounds = np.random.default_rng(0), 0, 0, 0, 0
    while killed < kills:
        rounds += 1
        output = folder / f"killed-{rounds}"
        written: dict[str, int] = {}
        began = time.monotonic()
        while not ended(start(dump, output), rng.uniform(0.3, 1.0) * whole_s):
            killed += 1
            for path in (output / "units").glob("*.npy"):
                time_ns = path.stat().st_mtime_ns
                repeated += written.setdefault(path.name, time_ns) != time_ns
            began = time.monotonic()
        whole_s = (
            min(whole_s, time.monotonic() - began) if not written else whole_s
        )  # a busy machine becomes a quiet one
        seen += len(written)
        assert digests(folder / "whole") == digests(output)
    print(f"{count:,} captions in units of about {UNIT}: {killed} kills in {rounds} builds. {seen} units were finished")
    print(f"before a kill, {repeated} of them were embedded again. All files are those of an undisturbed build.")
    assert not repeated


def ended(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Did the process end by itself? If not, it is killed."""
    try:
        assert process.wait(seconds) == 0
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return False
    return True


if __name__ == "__main__":
    main()
