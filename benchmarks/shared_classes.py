"""Two questions that the study of two domains left open, on its decoders; three seeds.

    python -m benchmarks.shared_classes [--seeds 0 1 2] [--questions hard contexts]

`hard`: do hard prompts carry anything to a domain of which half of the classes are known? Decoders that learned on A
(:mod:`benchmarks.domains`) caption scenes of every second class of A and every second one of B.

`contexts`: do contexts help DRCap inside its domain once it has learned to read its embedding? All weights are tuned on
A, for three times as many steps as in the study.

What is there is not done again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.base_language_model import base_language_model
from benchmarks.catalogue_style import catalogue_caption
from benchmarks.domain_methods import METHODS, SHORT, Sizes, train_method
from benchmarks.domains import DOMAINS, Domain, Store, Test
from benchmarks.pocket_scenes import bootstrap
from benchmarks.two_domains import ask
from sonogloss.clap import load_clap
from sonogloss.soundscapes import CLASSES
from sonogloss.soundscapes.classes import mentioned

NAMES = tuple(CLASSES)
SHARED = frozenset(NAMES[0::4])
HALF = Domain(name="half", classes=(*NAMES[0::4], *NAMES[1::4]), style=catalogue_caption, seed=3_200_000)
FACTOR = 3
QUESTIONS = {"hard": ("soft-hard", "soft"), "contexts": ("drcap-full",)}


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--questions", nargs="+", choices=list(QUESTIONS), default=list(QUESTIONS))
    parser.add_argument("--output", type=Path, default=Path("bench-output/shared-classes"))
    parser.add_argument("--short", action="store_true", help="one seed and toy sizes: shows that it runs, not more")
    options = parser.parse_args()
    sizes = Sizes()
    if options.short:
        sizes, options.seeds, options.output = SHORT, [0], options.output.with_name("shared-classes-short")
    options.output.mkdir(parents=True, exist_ok=True)
    bench = _Bench(options.output, sizes)
    if "hard" in options.questions:
        _print_hard(
            {name: [bench.rows(name, s, sizes.steps, HALF)["raw"] for s in options.seeds] for name in QUESTIONS["hard"]}
        )
    if "contexts" in options.questions:
        steps = FACTOR * sizes.steps
        _print_contexts(steps, [bench.rows("drcap-full", s, steps, DOMAINS["A"]) for s in options.seeds])


class _Bench:
    """The CLAP, tests and stores, and the rows that are there."""

    def __init__(self, output: Path, sizes: Sizes) -> None:
        self._output, self._sizes, self._clap = output, sizes, load_clap("pocket")
        self._store = Store.make(DOMAINS["A"], self._clap, sizes.store)
        domains = {domain.name: domain for domain in (DOMAINS["A"], HALF)}
        stores = {"A": self._store, "half": Store.make(HALF, self._clap, sizes.store)}
        tests = {name: Test.make(domain, self._clap, output, sizes.scenes) for name, domain in domains.items()}
        self._known = {"clap": self._clap, "stores": stores, "tests": tests}

    def rows(self, name: str, seed: int, steps: int, target: Domain) -> dict[str, dict[str, Any]]:
        """The rows of one decoder by condition."""
        path = self._output / f"{name}-{steps}-{target.name}-{seed}.json"
        if not path.exists():
            sizes = replace(self._sizes, steps=steps)
            base = base_language_model(self._output, seed, sizes.base_steps)
            captioners = self._output / f"captioners-{steps}"
            method = METHODS[name]
            directory = train_method(method, DOMAINS["A"], self._store, self._clap, base, seed, sizes, captioners)
            rows = ask(directory, method, self._known, "A", target.name)
            truth = [list(names) for names in self._known["tests"][target.name].scenes.names]
            path.write_text(json.dumps([row | {"truth": truth} for row in rows]))
        return {row["condition"]: row for row in json.loads(path.read_text())}


def f1(row: dict[str, Any], classes: Set[str]) -> float:
    """Micro-averaged event F1 over some classes only."""
    counts = np.zeros(3)
    for caption, names in zip(row["said"], row["truth"], strict=True):
        found, true = mentioned(caption) & classes, classes & set(names)
        counts += len(found & true), len(found - true), len(true - found)
    right, wrong, missed = counts
    return float(2 * right / max(1, 2 * right + wrong + missed))


def _print_hard(rows: dict[str, list[dict[str, Any]]]) -> None:
    print("\n| learned on A, asked about half of A and half of B | event F1, all | of A's classes | of B's |")
    print("|---|---|---|---|")
    for name, some in rows.items():
        cells = [_cell([f1(row, part) for row in some]) for part in (set(NAMES), SHARED, set(NAMES) - SHARED)]
        print(f"| {METHODS[name].title} | {' | '.join(cells)} |")
    print(f"soft and hard - soft: {_difference(rows['soft-hard'], rows['soft'], 'event_f1')}")


def _print_contexts(steps: int, rows: Sequence[dict[str, dict[str, Any]]]) -> None:
    print(f"\n| DRCap, all weights, {steps} steps | CIDEr-D | event F1 |")
    print("|---|---|---|")
    for condition in ("raw", "projection", "contexts", "both", "oracle"):
        cells = [_cell([row[condition][metric] for row in rows]) for metric in ("cider_d", "event_f1")]
        print(f"| {condition} | {' | '.join(cells)} |")
    for better, worse in (("contexts", "raw"), ("both", "projection")):
        pair = [row[better] for row in rows], [row[worse] for row in rows]
        print(f"| {better} - {worse} | {_difference(*pair, 'cider_d')} | {_difference(*pair, 'event_f1')} |")


def _difference(better: Sequence[dict[str, Any]], worse: Sequence[dict[str, Any]], metric: str) -> str:
    """The mean over seeds of the scenes' differences, with its 95 % interval over scenes."""
    values = np.mean(list(_scenes(better, metric)), axis=0) - np.mean(list(_scenes(worse, metric)), axis=0)
    mean, low, high = bootstrap(values)
    return f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]"


def _scenes(rows: Sequence[dict[str, Any]], metric: str) -> Iterator[list[float]]:
    return (row["scenes"][metric] for row in rows)


def _cell(values: Sequence[float]) -> str:
    return f"{np.mean(values):.3f} ({', '.join(f'{value:.3f}' for value in values)})"


if __name__ == "__main__":
    main()
