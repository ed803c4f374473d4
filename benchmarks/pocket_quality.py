"""How good is the pocket pair on sounds it never met? 1,000 held-out synthetic scenes.

    python -m benchmarks.pocket_quality [--scenes 1000] [--clap pocket] [--captioner pocket]

Prints, and writes to bench-output/pocket-quality/: audio-to-text retrieval among the scenes, zero-shot classification
of single events, the order of two, and the captioner under five conditions (raw audio embedding, projection, contexts,
both, the true caption's text embedding) beside copying the best context; CIDEr-D (five references, a sixth grammar
caption kept apart) and event F1, with paired bootstrap intervals over scenes. Nothing is chosen here: temperature,
beams and prompts are the captioner's own.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pocket_scenes import DATASTORE_SEED, TEST_SEED, Scores, bootstrap, own_captions, score
from recipes.pocket.held_out import HeldOutScenes
from sonogloss.clap import Clap, load_clap
from sonogloss.indexes import Datastore
from sonogloss.methods import ProjectionSettings, load_captioner
from sonogloss.pipelines.build_datastore import build_datastore
from sonogloss.records import FloatArray
from sonogloss.soundscapes import CLASSES, caption_dump, render_variant

EVENTS_A_CLASS = 10


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=TEST_SEED)
    parser.add_argument("--datastore-captions", type=int, default=10_000)
    parser.add_argument("--clap", default="pocket")
    parser.add_argument("--captioner", default="pocket")
    parser.add_argument("--output", type=Path, default=Path("bench-output/pocket-quality"))
    parser.add_argument("--short", action="store_true", help="100 scenes, 2,000 datastore captions")
    options = parser.parse_args()
    if options.short:
        options.scenes, options.datastore_captions = 100, 2_000
    options.output.mkdir(parents=True, exist_ok=True)

    clap = load_clap(options.clap)
    scenes = HeldOutScenes.make(
        options.output.parent / f"scenes-{options.seed}-{options.scenes}.npz", options.scenes, options.seed
    )
    audio, own = scenes.embed(clap), own_captions(scenes)
    report: dict[str, Any] = {"scenes": options.scenes, "retrieval": retrieval(audio, clap.embed_text(own))}
    report["zero_shot"] = zero_shot(clap, options.seed)
    report["order"] = order(clap, options.seed)
    print(json.dumps(report, indent=2), flush=True)

    store = _datastore(options.output, options.datastore_captions, options.clap)
    captioner = load_captioner(options.captioner)
    settings = (captioner.projection or ProjectionSettings()).resolved(clap.temperature)
    projected = store.project(audio, temperature=settings.tau, renormalise=settings.renormalise)
    found = [[c.text for c in row] for row in store.search(audio, max(1, captioner.contexts))]
    none: list[Sequence[str]] = [()] * len(found)
    captions = {
        "copy the best context": [row[0] for row in found],
        "raw audio embedding": captioner.caption(audio, none),
        "projection": captioner.caption(projected, none),
        "oracle text embedding": captioner.caption(clap.embed_text(own), none),
        "upper bound: another grammar caption": own,
    }
    if captioner.contexts:
        captions["contexts"] = captioner.caption(audio, found)
        captions["projection and contexts"] = captioner.caption(projected, found)
    scores = {name: score(scenes, texts) for name, texts in captions.items()}
    report["captions"] = {
        name: {
            "cider_d": s["cider_d"].mean(),
            "event_f1": float(s["micro_f1"]),
            "exact": float((s["event_f1"] == 1).mean()),
        }
        for name, s in scores.items()
    }
    report["differences"] = differences(scores)
    (options.output / "report.json").write_text(json.dumps(report, indent=2))
    (options.output / "captions.json").write_text(json.dumps(captions, indent=1))
    _print_tables(report)


def retrieval(audio: FloatArray, captions: FloatArray) -> dict[str, float]:
    """Audio-to-text: among all scenes' captions, how often is the own one first, or among the first ten?"""
    similarity = audio @ captions.T
    rank = (similarity > np.diagonal(similarity)[:, None]).sum(axis=1)
    return {f"r@{k}": float((rank < k).mean()) for k in (1, 5, 10)}


def zero_shot(clap: Clap, seed: int) -> float:
    """Accuracy over all classes, single events, the plain label as prompt."""
    labels = clap.embed_text([sound.label for sound in CLASSES.values()])
    right = 0
    for number, (name, sound) in enumerate(CLASSES.items()):
        lengths = np.random.default_rng([seed, number]).uniform(sound.shortest, sound.longest, EVENTS_A_CLASS)
        events = [render_variant(name, seed + 100 * number + i, float(s))[0] for i, s in enumerate(lengths)]
        right += int(((clap.embed_audio(events) @ labels.T).argmax(1) == number).sum())
    return right / (EVENTS_A_CLASS * len(CLASSES))


def order(clap: Clap, seed: int, pairs: int = 200) -> float:
    """Of "A followed by B" and "B followed by A", how often is the true one nearer to the sound? Chance is 0.5."""
    rng, right = np.random.default_rng(seed), 0
    for number in range(pairs):
        one, two = (str(name) for name in rng.choice(list(CLASSES), 2, replace=False))
        sounds = [render_variant(name, seed + 10_000 + 2 * number + i, 3.0)[0] for i, name in enumerate((one, two))]
        labels = CLASSES[one].label, CLASSES[two].label
        texts = clap.embed_text([f"{labels[0]} followed by {labels[1]}", f"{labels[1]} followed by {labels[0]}"])
        true, false = texts @ clap.embed_audio([np.concatenate(sounds)])[0]
        right += int(true > false)
    return right / pairs


def differences(scores: dict[str, dict[str, Scores]]) -> dict[str, dict[str, tuple[float, float, float]]]:
    """The questions asked in advance, as paired differences with 95 % intervals."""
    pairs = [
        ("projection", "raw audio embedding"),
        ("contexts", "raw audio embedding"),
        ("projection and contexts", "raw audio embedding"),
        ("projection and contexts", "projection"),
        ("projection and contexts", "copy the best context"),
        ("raw audio embedding", "copy the best context"),
    ]
    return {
        f"{a} - {b}": {m: bootstrap(scores[a][m] - scores[b][m]) for m in ("cider_d", "event_f1")}
        for a, b in pairs
        if a in scores and b in scores
    }


def _datastore(directory: Path, captions: int, clap: str) -> Datastore:
    dump = directory / "captions.txt"
    dump.write_text("\n".join(caption_dump(captions, DATASTORE_SEED)) + "\n")
    store = directory / "datastore"
    build_datastore(captions=[str(dump)], output=str(store), clap=clap, overwrite=True)
    return Datastore.open(str(store))


def _print_tables(report: dict[str, Any]) -> None:
    print(f"\n{'condition':40s} CIDEr-D  event F1  exact")
    for name, row in report["captions"].items():
        print(f"{name:40s} {row['cider_d']:7.3f}  {row['event_f1']:8.3f}  {row['exact']:5.3f}")
    print(f"\n{'paired difference':50s} CIDEr-D [95 %]            event F1 [95 %]")
    for name, row in report["differences"].items():
        cells = [f"{row[m][0]:+.3f} [{row[m][1]:+.3f}, {row[m][2]:+.3f}]" for m in ("cider_d", "event_f1")]
        print(f"{name:50s} {cells[0]:25s} {cells[1]}")


if __name__ == "__main__":
    main()
