"""Do 95 % intervals hold the true value in 95 % of all corpora? Corpora are drawn from a population that is known.

    python -m benchmarks.interval_coverage --draws 1000

Each population gives many corpora; each corpus its interval by the bootstrap of `evaluate`, and between percentiles.
The values are those of a metric that is a mean over clips: bell-shaped, skewed like CIDEr-D with many zeros, and of
BLEU-1, a ratio of counts, with captions of 5 to 15 words.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from sonogloss.metrics.bootstrap import Numbers, bootstrap_interval, interval, resample

Sample = Callable[[np.random.Generator, int], Numbers]
CLIPS = (17, 32, 50, 100, 200, 1000)


def means(values: npt.NDArray[np.float64]) -> Numbers:
    """Statistics of a mean: the value, and one clip."""
    return np.stack([values, np.ones(len(values))], axis=1)


def bell(rng: np.random.Generator, clips: int) -> Numbers:
    """Values around a half."""
    return means(rng.normal(0.5, 0.15, clips))


def skewed(rng: np.random.Generator, clips: int) -> Numbers:
    """Half of the clips score nothing, the others little or much."""
    return means(np.where(rng.random(clips) < 0.5, 0.0, rng.gamma(0.7, 1.2, clips)))


def ratio(rng: np.random.Generator, clips: int) -> Numbers:
    """Words that match, of the words of a caption."""
    words = rng.integers(5, 16, clips)
    return np.stack([rng.binomial(words, rng.beta(2, 3, clips)), words], axis=1).astype(np.float64)


def value(numbers: Numbers) -> Numbers:
    """Of all three."""
    return np.asarray(numbers[..., 0] / numbers[..., 1])


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--short", action="store_true", help="50 draws, 200 resamples")
    options = parser.parse_args()
    draws, resamples = (50, 200) if options.short else (options.draws, options.resamples)
    print("| population | clips | hold the true value | median width | percentiles hold it | median width |")
    print("|---|---|---|---|---|---|")
    for sample in (bell, skewed, ratio):
        truth = float(value(sample(np.random.default_rng(99), 4_000_000).sum(axis=0)))
        for clips in CLIPS:
            rng = np.random.default_rng(clips)
            found = []
            for draw in range(draws):
                some = sample(rng, clips)
                plain = interval(value(resample(some, np.full(resamples, clips), draw)))
                found.append((bootstrap_interval(some, value, resamples=resamples, seed=draw), plain))
            cells = []
            for kind in zip(*found, strict=True):
                held = np.mean([one.low <= truth <= one.high for one in kind])
                cells.append(f"{held:.1%} | {np.median([one.high - one.low for one in kind]):.3f}")
            print(f"| {sample.__name__} | {clips:,} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
