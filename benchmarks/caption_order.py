"""Do captions tell in which order two sounds came, and does an order-aware CLAP help: as the base, or as the reranker?

    python -m benchmarks.caption_order [--system NAME CLAP CAPTIONER ...] [--rerank NAME CLAP ...] [--scenes 2400]

Of the held-out scenes those in which one sound follows another, without a background. A caption counts where it names
both sounds and no other, tells an order where its connective does ("then", "followed by", "after" ...), and is right
where that is the timeline's; chance is a half of those that tell one. Each system captions as its captioner is set;
with a reranker, of the `--candidates` captions of one search the one nearest to the sound by that CLAP counts.
All is about the synthesiser's sounds and the grammar's captions. Event F1 and CIDEr-D stand beside it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pocket_scenes import DATASTORE_SEED, TEST_SEED, bootstrap, score
from benchmarks.stated_order import stated_order
from recipes.pocket.held_out import HeldOutScenes
from sonogloss.clap import load_clap
from sonogloss.indexes import Datastore
from sonogloss.methods import ProjectionSettings, load_captioner
from sonogloss.pipelines.build_datastore import build_datastore
from sonogloss.records import FloatArray
from sonogloss.soundscapes import caption_dump, sample_scene

CAPTIONS = 10_000


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--system", nargs=3, action="append", metavar=("NAME", "CLAP", "CAPTIONER"))
    parser.add_argument("--rerank", nargs=2, action="append", default=[], metavar=("NAME", "CLAP"))
    parser.add_argument(
        "--scenes", type=int, default=2400, help="of all kinds; about a fifth is of two sounds in a row"
    )
    parser.add_argument("--candidates", type=int, default=8)
    parser.add_argument("--output", type=Path, default=Path("bench-output/caption-order"))
    parser.add_argument("--short", action="store_true", help="100 scenes")
    options = parser.parse_args()
    if options.short:
        options.scenes = 100
    options.output.mkdir(parents=True, exist_ok=True)
    scenes = _sequences(options.output.parent / f"scenes-{TEST_SEED}-{options.scenes}.npz", options.scenes)
    rerankers = {name: load_clap(clap) for name, clap in options.rerank}
    heard = {name: scenes.embed(clap) for name, clap in rerankers.items()}
    report: dict[str, Any] = {"scenes": len(scenes.names), "candidates": options.candidates}
    said: dict[str, list[str]] = {}
    for name, clap, captioner in options.system or [("pocket", "pocket", "pocket")]:
        plain, several = _captions(scenes, clap, captioner, options.output / f"datastore-{name}", options.candidates)
        said[name] = plain
        for reranker, other in rerankers.items():
            texts = [text for row in several for text in row]
            vectors = iter(other.embed_text(texts))
            said[f"{name}, reranked by {reranker}"] = [
                row[int(np.argmax([next(vectors) @ audio for _ in row]))]
                for row, audio in zip(several, heard[reranker], strict=True)
            ]
        orders = [{stated_order(text) for text in row} - {None} for row in several]
        report[f"{name}: candidates hold both orders"] = float(np.mean([len(order) > 1 for order in orders]))
    rows = {name: _row(scenes, captions) for name, captions in said.items()}
    report["captions"] = {name: {k: v for k, v in row.items() if k != "right_rows"} for name, row in rows.items()}
    first = next(iter(rows.values()))["right_rows"]
    report["gain in right ones over the first"] = {
        name: bootstrap(row["right_rows"] - first) for name, row in list(rows.items())[1:]
    }
    (options.output / "report.json").write_text(json.dumps(report, indent=2))
    (options.output / "captions.json").write_text(json.dumps(said, indent=1))
    print(json.dumps(report, indent=2))


def _sequences(path: Path, count: int) -> HeldOutScenes:
    """Scenes of one sound after another."""
    every = HeldOutScenes.make(path, count, TEST_SEED)
    rows = [row for row in range(count) if sample_scene(TEST_SEED + row).kind == "sequence"]
    return HeldOutScenes(
        sounds=[every.sounds[row] for row in rows],
        captions=[every.captions[row] for row in rows],
        names=[every.names[row] for row in rows],
    )


def _captions(
    scenes: HeldOutScenes, clap_name: str, captioner_name: str, store: Path, candidates: int
) -> tuple[list[str], list[tuple[str, ...]]]:
    """A system's captions, and its best few of one search."""
    clap = load_clap(clap_name)
    dump = store.with_suffix(".txt")
    dump.write_text("\n".join(caption_dump(CAPTIONS, DATASTORE_SEED)) + "\n")
    build_datastore(captions=[str(dump)], output=str(store), clap=clap_name, overwrite=True)
    datastore = Datastore.open(str(store))
    captioner = load_captioner(captioner_name)
    audio: FloatArray = scenes.embed(clap)
    projection = captioner.projection
    contexts: list[Sequence[str]] = [()] * len(audio)
    if captioner.contexts:
        contexts = [[c.text for c in row] for row in datastore.search(audio, captioner.contexts)]
    if projection is not None:
        settings: ProjectionSettings = projection.resolved(clap.temperature)
        audio = datastore.project(audio, temperature=settings.tau, renormalise=settings.renormalise)
    return captioner.caption(audio, contexts), captioner.candidates(audio, contexts, candidates)


def _row(scenes: HeldOutScenes, captions: Sequence[str]) -> dict[str, Any]:
    """Shares of all scenes, but for `right_of_told`; and the usual scores."""
    orders = [stated_order(caption) for caption in captions]
    told = np.array([order is not None and set(order) == set(n) for order, n in zip(orders, scenes.names, strict=True)])
    right = np.array([order == tuple(names) for order, names in zip(orders, scenes.names, strict=True)])
    scores = score(scenes, list(captions))
    return {
        "tells_an_order_of_both": float(told.mean()),
        "right_order": float(right.mean()),
        "right_of_told": float(right.sum() / max(1, told.sum())),
        "cider_d": float(scores["cider_d"].mean()),
        "event_f1": float(scores["micro_f1"]),
        "right_rows": right.astype(np.float64),
    }


if __name__ == "__main__":
    main()
