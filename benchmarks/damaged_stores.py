"""Flip single bits of a datastore: what do verify, a full check and the default check of `caption` find?

    python -m benchmarks.damaged_stores --flips 200

Each flip is one bit at a random place of the vectors, of the captions or of the manifest, in turn, and is undone. The
commands are called by their Python name in this process. A full check and `verify` must find every one.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from benchmarks.datastore_build import caption
from sonogloss.pipelines.command_line import main as command

_KINDS = {"vectors": "shards/*/vectors.npy", "captions": "shards/*/captions.parquet", "manifest": "manifest.json"}


def run(*argv: object) -> tuple[int, str]:
    """Exit code of a command, and what it wrote on standard output."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        code = command([str(word) for word in argv])
    return code, out.getvalue()


def prepare(folder: Path, captions: int) -> tuple[Path, Path]:
    """A datastore of two shards, and a recording."""
    store, sound = folder / "store", folder / "sound.wav"
    (folder / "captions.txt").write_text("".join(f"{caption(number)}\n" for number in range(captions)))
    code, _ = run("build-datastore", "--captions", folder / "captions.txt", "--output", store, "--shards", 2)
    assert code == 0
    soundfile.write(sound, 0.1 * np.random.default_rng(0).standard_normal(48_000), 48_000)
    return store, sound


def look(store: Path, sound: Path, output: Path, check: Sequence[str]) -> int:
    """The exit code of `caption` with a check; one that captions says how far it looked."""
    code, out = run("caption", "--audio", sound, "--datastore", store, "--output", output, "--json", *check)
    assert code or json.loads(out)["datastore_checked"]
    shutil.rmtree(output, ignore_errors=True)
    return code


def main() -> None:
    """Flip and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=int, default=8_000)
    parser.add_argument("--flips", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("bench-output/damaged_stores"))
    parser.add_argument("--short", action="store_true", help="2,000 captions, 6 flips")
    options = parser.parse_args()
    captions, flips = (2_000, 6) if options.short else (options.captions, options.flips)
    folder: Path = options.output
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    store, sound = prepare(folder, captions)
    assert look(store, sound, folder / "whole", ["--check", "full"]) == 0
    random = np.random.default_rng(options.seed)
    found: dict[str, Counter[str]] = {kind: Counter() for kind in _KINDS}
    for number in range(flips):
        kind = [*_KINDS][number % len(_KINDS)]
        path = random.choice(sorted(map(str, store.glob(_KINDS[kind]))))
        content: Any = np.memmap(path, np.uint8, "r+")
        place, bit = random.integers(len(content)), np.uint8(1 << random.integers(8))
        content[place] ^= bit
        found[kind]["flips"] += 1
        found[kind]["verify"] += run("verify", store)[0] == 1
        for name, check in (("full", ["--check", "full"]), ("default", [])):
            found[kind][name] += look(store, sound, folder / "out", check) == 2
        content[place] ^= bit
    assert run("verify", store)[0] == 0
    print(
        "| bits flipped in | flips | verify | caption --check full refuses | caption refuses |\n|---|---|---|---|---|"
    )
    for kind, counts in found.items():
        print(f"| {kind} | {counts['flips']} | {counts['verify']} | {counts['full']} | {counts['default']} |")


if __name__ == "__main__":
    main()
