"""How much faster are CLAP towers and captions by oneDNN's products than by torch's own?

    python -m benchmarks.onednn_products [--models pocket laion] [--captioners pocket DIR]

Both alternate in one process with one thread; milliseconds of processor time for a caption, a sound of ten seconds and
a decoded caption are printed, the lowest of the rounds. A text and a sound must have the same bytes alone and among
others. `laion` has the shape of LAION's CLAP (HTSAT-tiny, RoBERTa-base) and random weights. Captioners are DRCap's.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.datastore_build import caption
from benchmarks.decoding_speed import prepare
from benchmarks.text_padding import write_clap
from sonogloss import onednn_linear
from sonogloss.clap import Clap, load_clap


def compare(what: str, run: Callable[[], Any], count: int, rounds: int) -> tuple[Any, Any]:
    """Print a row of the table; gives the results of torch's own products and of oneDNN's."""
    seconds: dict[bool, list[float]] = {False: [], True: []}
    results = {}
    for _ in range(rounds + 1):  # the first one warms up
        for other in (False, True):
            with patch.object(onednn_linear, "_LINEAR", onednn_linear._LINEAR if other else None):
                start = time.process_time()
                results[other] = run()
                seconds[other].append(time.process_time() - start)
    plain, other = (1e3 * min(seconds[kind][1:]) / count for kind in (False, True))
    print(f"| {what} | {plain:.2f} | {other:.2f} | {plain / other:.2f} |", flush=True)
    return results[False], results[True]


def compare_towers(name: str, clap: Clap, texts: list[str], sounds: int, rounds: int) -> None:
    """Rows for both towers of a CLAP."""
    samples = int(10 * clap.sample_rate)
    waves = list(np.random.default_rng(0).standard_normal((sounds, samples), np.float32) / 10)
    for what, embed, material in (("caption", clap.embed_text, texts), ("sound", clap.embed_audio, waves)):
        plain, other = compare(f"{name}: embed a {what}", lambda e=embed, m=material: e(m), len(material), rounds)
        assert np.abs(plain - other).max() < 1e-6, "the embeddings differ"
        for row in (0, len(material) // 2, len(material) - 1):
            assert np.array_equal(embed([material[row]])[0], other[row]), "neighbors count"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["pocket", "laion"], help="CLAPs")
    parser.add_argument("--captioners", nargs="+", default=["pocket"])
    parser.add_argument("--prompts", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("bench-output/onednn_products"))
    parser.add_argument("--short", action="store_true", help="few of each, two layers")
    options = parser.parse_args()
    torch.set_num_threads(1)
    prompts, rounds = (8, 1) if options.short else (options.prompts, options.rounds)
    print("| | torch's own, ms | oneDNN, ms | times faster |\n|---|---|---|---|")
    for name in options.models:
        texts, sounds = [caption(number) for number in range(64 if options.short else 2_000)], 32
        if name == "laion":
            clap: Clap = write_clap(options.output, texts, 2 if options.short else 12)
            texts, sounds = texts[:256], 8
        else:
            clap = load_clap(name)
        compare_towers(name, clap, texts, 4 if options.short else sounds, rounds)
    for name in options.captioners:
        work = prepare(name, prompts, 32, "cpu", 4)
        plain, other = compare(f"{name}: decode a caption", work.ours, prompts, rounds)
        same = sum(one == another for one, another in zip(plain, other, strict=True))
        print(f"\n{name}: {same} of {prompts} captions equal\n")


if __name__ == "__main__":
    main()
