"""What do keywords bring, and what does guidance? ZerAuCap's ablations on held-out synthetic scenes.

    python -m benchmarks.zeraucap_ablation [--captioner pocket:zeraucap] [--scenes 600] [--short]

Keywords and guidance on and off, the number of keywords l from 0 to 4, and the weight of the guidance beta from 0 to 2;
CIDEr-D (five references) and event F1. Nothing is chosen here: prompt, vocabulary and all other numbers are the
captioner's own. Beside each value stands the published one (AudioCaps test, CIDEr x 100, from the paper's figures),
which only the shape can be compared with: other sounds, other models. Writes bench-output/zeraucap-ablation/.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.pocket_scenes import TEST_SEED, Scores, bootstrap, score
from recipes.pocket.held_out import HeldOutScenes
from sonogloss.clap import Clap, load_clap
from sonogloss.methods import load_captioner
from sonogloss.methods.guided_text import TextMemo
from sonogloss.methods.zeraucap.captioner import ZerAuCapCaptioner
from sonogloss.records import FloatArray

COMPONENTS = {  # (keywords, guidance): the published CIDEr
    "neither": ((0, False), 0.1),
    "guidance alone": ((0, True), 2.5),
    "keywords alone": ((2, False), 28.1),
    "keywords and guidance": ((2, True), 28.1),
}
KEYWORDS = {0: 2.5, 1: 24.0, 2: 28.1, 3: 27.7, 4: 25.1}
BETAS = {0.0: 28.1, 0.1: 28.2, 0.2: 27.6, 0.5: 28.1, 1.0: 28.2, 1.4: 26.8, 2.0: 27.8}


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captioner", default="pocket:zeraucap")
    parser.add_argument("--scenes", type=int, default=600)
    parser.add_argument("--output", type=Path, default=Path("bench-output/zeraucap-ablation"))
    parser.add_argument("--short", action="store_true", help="40 scenes")
    options = parser.parse_args()
    if options.short:
        options.scenes = 40
    scenes = HeldOutScenes.make(
        options.output.parent / f"scenes-{TEST_SEED}-{options.scenes}.npz", options.scenes, TEST_SEED
    )
    captioner = load_captioner(options.captioner)
    assert isinstance(captioner, ZerAuCapCaptioner)
    run = _Run(captioner, load_clap(captioner.clap.name), scenes)
    own = captioner.decode.beta
    report: dict[str, Any] = {
        "scenes": options.scenes,
        "components": {
            name: run.row(keywords, own if guided else 0.0, published)
            for name, ((keywords, guided), published) in COMPONENTS.items()
        },
        "keywords": {n: run.row(n, own, published) for n, published in KEYWORDS.items()},
        "beta": {beta: run.row(captioner.prompt.keywords, beta, published) for beta, published in BETAS.items()},
    }
    report["differences"] = {
        "keywords, guided": run.difference((2, own), (0, own)),
        "keywords, unguided": run.difference((2, 0.0), (0, 0.0)),
        "guidance, with keywords": run.difference((2, own), (2, 0.0)),
        "guidance, without": run.difference((0, own), (0, 0.0)),
    }
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "report.json").write_text(json.dumps(report, indent=2))
    (options.output / "captions.json").write_text(json.dumps(run.captions(), indent=1))
    _print(report)


class _Remembering:
    """A CLAP whose text embeddings serve all settings."""

    def __init__(self, clap: Clap) -> None:
        self.fingerprint, self._memo = clap.fingerprint, TextMemo(clap.embed_text, max_bytes=1 << 30)

    def embed_text(self, texts: Sequence[str]) -> FloatArray:
        return self._memo.embed([texts])[0]


class _Run:
    """One set of scenes under many settings; each setting is captioned once."""

    def __init__(self, captioner: ZerAuCapCaptioner, clap: Clap, scenes: HeldOutScenes) -> None:
        self._captioner, self._clap, self._scenes = captioner, _Remembering(clap), scenes
        self._audio: FloatArray = scenes.embed(clap)
        self._done: dict[tuple[int, float], tuple[list[str], dict[str, Scores]]] = {}

    def scores(self, keywords: int, beta: float) -> dict[str, Scores]:
        if (keywords, beta) not in self._done:
            own = self._captioner
            captioner = ZerAuCapCaptioner(
                language_model=own.language_model,
                prompt=replace(own.prompt, keywords=keywords),
                labels=own.labels,
                clap=own.clap,
                decode=replace(own.decode, beta=beta),
                fingerprint="",
            )
            captioner.read_text_with(self._clap)
            captions = captioner.caption(self._audio, [()] * len(self._audio))
            self._done[keywords, beta] = captions, score(self._scenes, captions)
            print(f"l {keywords}, beta {beta:g}: {captions[0]!r}", flush=True)
        return self._done[keywords, beta][1]

    def row(self, keywords: int, beta: float, published: float) -> dict[str, float]:
        scores = self.scores(keywords, beta)
        return {
            "cider_d": float(scores["cider_d"].mean()),
            "event_f1": float(scores["micro_f1"]),
            "published": published,
        }

    def difference(self, one: tuple[int, float], other: tuple[int, float]) -> dict[str, tuple[float, float, float]]:
        """Paired difference with its 95 % interval."""
        a, b = self.scores(*one), self.scores(*other)
        return {metric: bootstrap(a[metric] - b[metric]) for metric in ("cider_d", "event_f1")}

    def captions(self) -> dict[str, list[str]]:
        return {f"l {keywords}, beta {beta:g}": done[0] for (keywords, beta), done in self._done.items()}


def _print(report: dict[str, Any]) -> None:
    for title in ("components", "keywords", "beta"):
        print(f"\n{title:24s} CIDEr-D  event F1  published CIDEr")
        for name, row in report[title].items():
            print(f"{name!s:24s} {100 * row['cider_d']:7.1f}  {row['event_f1']:8.3f}  {row['published']:7.1f}")
    print(f"\n{'paired difference':26s} CIDEr-D x 100 [95 %]          event F1 [95 %]")
    for name, row in report["differences"].items():
        cells = [
            f"{s * row[m][0]:+.3f} [{s * row[m][1]:+.3f}, {s * row[m][2]:+.3f}]"
            for m, s in (("cider_d", 100), ("event_f1", 1))
        ]
        print(f"{name:26s} {cells[0]:28s}  {cells[1]}")


if __name__ == "__main__":
    main()
