"""The tables of the study of two domains, and what may be said of the papers' claims."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.domain_methods import METHODS
from benchmarks.pocket_scenes import bootstrap

DIRECTIONS = (("A", "A"), ("B", "B"), ("A", "B"), ("B", "A"))
METRICS = {"cider_d": "CIDEr-D", "event_f1": "event F1", "clap_sim": "clap_sim"}
Array = npt.NDArray[np.float64]
Key = tuple[str, str, str, str]  # method, condition, train, test


class Rows:
    """All rows of a study, by method, condition, domain trained on and domain tested on."""

    def __init__(self, output: Path) -> None:
        self._rows: dict[Key, dict[int, dict[str, Any]]] = defaultdict(dict)
        for path in sorted((output / "rows").glob("*.json")):
            for row in json.loads(path.read_text()):
                self._rows[row["method"], row["condition"], row["train"], row["test"]][row["seed"]] = row

    def asked(self) -> Iterator[tuple[str, str]]:
        """(method, condition) pairs in the order in which they were asked."""
        order = {name: i for i, name in enumerate(METHODS)}
        yield from dict.fromkeys((m, c) for m, c, _, _ in sorted(self._rows, key=lambda key: order[key[0]]))

    def corpus(self, key: Key, metric: str) -> Array:
        """A metric over the whole test set, one value a seed."""
        return np.array([row[metric] for row in self._rows.get(key, {}).values()])

    def scenes(self, method: str, condition: str, cross: bool, metric: str, seed: int) -> Array | None:
        """A metric of all scenes of both domains, A's first, by decoders of the same or of the other domain."""
        parts = []
        for test in ("A", "B"):
            train = test if not cross else "BA"["AB".index(test)]
            row = self._rows.get((method, condition, train, test), {}).get(seed)
            if row is None:
                return None
            parts.append(np.array(row["scenes"][metric]))
        return np.concatenate(parts)

    @property
    def seeds(self) -> list[int]:
        """Every seed there is."""
        return sorted({seed for by_seed in self._rows.values() for seed in by_seed})


Term = tuple[int, str, str, bool]  # sign, method, condition, across domains?


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A sentence, and the sum of scores that would be above zero if it were so here."""

    text: str
    terms: tuple[Term, ...]


def _more(text: str, better: tuple[str, str], worse: tuple[str, str]) -> list[Claim]:
    """That one is better than the other, inside a domain and across."""
    return [
        Claim(text=f"{text}, {where}", terms=((1, *better, cross), (-1, *worse, cross)))
        for cross, where in ((False, "in-domain"), (True, "cross-domain"))
    ]


def _mostly_across(text: str, better: tuple[str, str], worse: tuple[str, str]) -> Claim:
    """That the gain is larger across domains than inside one."""
    return Claim(text=text, terms=((1, *better, True), (-1, *worse, True), (-1, *better, False), (1, *worse, False)))


LORA, FROZEN, FULL, NOISY = "drcap-lora", "drcap-frozen", "drcap-full", "drcap-lora-noise"
CLAIMS = [
    *_more("projection narrows the gap (projection − raw)", (LORA, "projection"), (LORA, "raw")),
    *_more("contexts help the raw embedding (contexts − raw)", (LORA, "contexts"), (LORA, "raw")),
    *_more("contexts help on top of projection (both − projection)", (LORA, "both"), (LORA, "projection")),
    _mostly_across("contexts help most cross-domain (both − projection)", (LORA, "both"), (LORA, "projection")),
    *_more("LoRA raises quality (LoRA − frozen, both)", (LORA, "both"), (FROZEN, "both")),
    *_more("all weights are better than LoRA (both)", (FULL, "both"), (LORA, "both")),
    *_more("noise helps DRCap (both)", (NOISY, "both"), (LORA, "both")),
    *_more("noise helps DRCap on the raw embedding", (NOISY, "raw"), (LORA, "raw")),
    *_more("noise helps soft and hard prompts (raw)", ("soft-hard-noise", "raw"), ("soft-hard", "raw")),
    *_more("the hard prompt helps (soft and hard − soft, raw)", ("soft-hard", "raw"), ("soft", "raw")),
    _mostly_across("the hard prompt helps most cross-domain", ("soft-hard", "raw"), ("soft", "raw")),
    *_more("the soft prompt helps (soft and hard − hard, raw)", ("soft-hard", "raw"), ("hard", "raw")),
    *_more("projection helps soft and hard prompts", ("soft-hard", "projection"), ("soft-hard", "raw")),
    *_more("DRCap is better than soft and hard prompts as published", (LORA, "both"), ("soft-hard-noise", "raw")),
    *(
        Claim(text=f"swapping both is better than {other}", terms=((1, LORA, "both", True), (-1, LORA, other, True)))
        for other in ("nothing swapped", "only contexts swapped", "only support swapped")
    ),
]


def verdict(per_seed: list[float], low: float, high: float) -> str:
    """Does a claim hold? Its sign must be the same for every seed, and the interval over scenes must leave zero out."""
    if low > 0 and min(per_seed) > 0:
        return "holds"
    return "the reverse holds" if high < 0 and max(per_seed) < 0 else "not shown"


def print_tables(output: Path) -> None:
    """All tables in Markdown."""
    rows = Rows(output)
    _print_facts(output)
    for metric, title in METRICS.items():
        print(f"\n| {title} | asked with | " + " | ".join(f"{a} → {b}" for a, b in DIRECTIONS) + " |")
        print("|---|---|" + "---|" * len(DIRECTIONS))
        for method, condition in rows.asked():
            values = [rows.corpus((method, condition, *direction), metric) for direction in DIRECTIONS]
            print(f"| {METHODS[method].title} | {condition} | " + " | ".join(map(_mean_and_spread, values)) + " |")
    print(f"\nMean over {len(rows.seeds)} seeds ± standard deviation.\n")
    print("| claim | CIDEr-D [95 %] | | event F1 a scene [95 %] | |\n|---|---|---|---|---|")
    for claim in CLAIMS:
        cells = [_cells(rows, claim, metric) for metric in ("cider_d", "event_f1")]
        known = [cell for cell in cells if cell is not None]
        if len(known) == len(cells):
            print(f"| {claim.text} | " + " | ".join(f"{value} | {found}" for value, found in known) + " |")


def _cells(rows: Rows, claim: Claim, metric: str) -> tuple[str, str] | None:
    """Mean difference with its interval, and the verdict; None when rows are missing."""
    by_seed = []
    for seed in rows.seeds:
        found = [rows.scenes(m, c, cross, metric, seed) for _, m, c, cross in claim.terms]
        if any(part is None for part in found):
            return None
        by_seed.append(sum(sign * part for (sign, *_), part in zip(claim.terms, found, strict=True)))
    mean, low, high = bootstrap(np.mean(by_seed, axis=0))
    said = verdict([float(difference.mean()) for difference in by_seed], low, high)
    return f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]", said


def _mean_and_spread(values: Array) -> str:
    if len(values) == 0:
        return ""
    return f"{values.mean():.3f}" + (f" ± {values.std(ddof=1):.3f}" if len(values) > 1 else "")


def _print_facts(output: Path) -> None:
    found = {name: json.loads((output / f"facts-{name}.json").read_text()) for name in ("A", "B")}
    print("\n| what the CLAP knows of each domain | A | B |\n|---|---|---|")
    for name in found["A"]:
        print(
            f"| {name} | " + " | ".join(f"{found[domain][name]:.3f}".rstrip("0").rstrip(".") for domain in found) + " |"
        )
