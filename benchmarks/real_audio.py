"""Real sounds: ESC-10 fold 4, 80 clips of ten classes, which the pocket pair never learned from.

    python -m benchmarks.real_audio --clips ../shared/data/audio/esc [--clap pocket] [--captioner pocket]

Prints 10-way zero-shot accuracy (plain labels), the same with all the pocket's classes competing, and how often the
caption names the right sound, all classes competing. What counts as naming a class is fixed here, before anything runs.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
from pathlib import Path

import numpy as np

from sonogloss.audio import Cutting, WindowPolicy, cut_clips
from sonogloss.clap import load_clap
from sonogloss.indexes import Datastore
from sonogloss.methods import load_captioner
from sonogloss.pipelines.build_datastore import build_datastore
from sonogloss.soundscapes import CLASSES, caption_dump

# ESC-10's class -> our class, and the words that name it in a caption.
SYNONYMS = {
    "dog": ("dog", r"dogs?|puppy"),
    "rooster": ("rooster", r"rooster|cockerel"),
    "rain": ("rain", r"rain\w*|drizzle|downpour"),
    "sea_waves": ("sea", r"waves|surf|sea"),
    "crackling_fire": ("fire", r"fire|flames"),
    "crying_baby": ("baby", r"baby|infant"),
    "sneezing": ("sneeze", r"sneez\w+"),
    "clock_tick": ("clock", r"clock|watch"),
    "helicopter": ("helicopter", r"helicopter|chopper|rotor"),
    "chainsaw": ("chainsaw", r"chainsaw|chain saw"),
}


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, default=Path("../shared/data/audio/esc"))
    parser.add_argument("--fold", default="4")
    parser.add_argument("--datastore-captions", type=int, default=10_000)
    parser.add_argument("--clap", default="pocket")
    parser.add_argument("--captioner", default="pocket")
    parser.add_argument("--output", type=Path, default=Path("bench-output/real-audio"))
    parser.add_argument(
        "--short", action="store_true", help="accepted for `make bench`; this benchmark is short as it is"
    )
    options = parser.parse_args()
    if not (options.clips / "metadata.csv").exists():
        print(f"{options.clips} holds no ESC-50 metadata.csv: nothing to measure")
        return
    options.output.mkdir(parents=True, exist_ok=True)

    with open(options.clips / "metadata.csv", newline="", encoding="utf-8") as handle:
        rows = [r for r in csv.DictReader(handle) if r["class"] in SYNONYMS and r["fold"] == options.fold]
    clap = load_clap(options.clap)
    sounds = [_first_window(options.clips / row["filename"], clap.sample_rate) for row in rows]
    audio = clap.embed_audio(sounds)
    truth = np.array([list(CLASSES).index(SYNONYMS[row["class"]][0]) for row in rows])
    labels = clap.embed_text([sound.label for sound in CLASSES.values()])
    ten = np.array([list(CLASSES).index(name) for name, _ in SYNONYMS.values()])
    similarity = audio @ labels.T
    report: dict[str, object] = {
        "clips": len(rows),
        "zero_shot_10": float((ten[similarity[:, ten].argmax(1)] == truth).mean()),
        "zero_shot_all": float((similarity.argmax(1) == truth).mean()),
    }

    dump = options.output / "captions.txt"
    dump.write_text("\n".join(caption_dump(options.datastore_captions, 77)) + "\n")
    build_datastore(captions=[str(dump)], output=str(options.output / "datastore"), clap=options.clap, overwrite=True)
    store = Datastore.open(str(options.output / "datastore"))
    captioner = load_captioner(options.captioner)
    settings = captioner.projection
    projected = store.project(audio, temperature=settings.temperature, renormalise=settings.renormalise)
    found = [[c.text for c in row] for row in store.search(audio, captioner.contexts)]
    none = [()] * len(rows)
    for name, captions in {
        "copy the best context": [row[0] for row in found],
        "raw audio embedding": captioner.caption(audio, none),
        "projection": captioner.caption(projected, none),
        "projection and contexts": captioner.caption(projected, found),
    }.items():
        hits = [bool(re.search(rf"\b(?:{SYNONYMS[r['class']][1]})\b", c)) for r, c in zip(rows, captions, strict=True)]
        report[f"named by: {name}"] = float(np.mean(hits))
        if name == "projection and contexts":
            report["by class"] = {
                c: float(np.mean([h for h, r in zip(hits, rows, strict=True) if r["class"] == c])) for c in SYNONYMS
            }
            report["captions"] = {r["filename"]: c for r, c in zip(rows, captions, strict=True)}
    (options.output / "report.json").write_text(json.dumps(report, indent=2))
    print(json.dumps({key: value for key, value in report.items() if key != "captions"}, indent=2))


def _first_window(path: Path, rate: int) -> np.ndarray:
    clips = cut_clips(path.read_bytes(), Cutting(uri=str(path), policy=WindowPolicy(), sample_rate=rate))
    return next(iter(clips)).samples


if __name__ == "__main__":
    main()
