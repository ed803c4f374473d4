"""Put a finished pair into the package: weights, and model cards written from measured reports.

python -m benchmarks.pocket_quality --clap pocket-training/clap --captioner pocket-training/drcap
python -m benchmarks.real_audio --clap pocket-training/clap --captioner pocket-training/drcap
python -m recipes.pocket --release
"""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import sonogloss.pocket
from recipes.pocket.recipe import REAL_CLASSES
from sonogloss import files

WEIGHTS = Path(sonogloss.pocket.__file__).parent / "weights"
LARGEST = 20_000_000  # bytes of both together

CLAP_CARD = """---
license: apache-2.0
library_name: transformers
tags: [audio, clap, zero-shot-audio-classification]
---

# sonogloss pocket CLAP

A tiny CLAP (5 million parameters, float16) for tests, demonstrations and machines without a model: an ordinary
`ClapModel` directory. It hears ten seconds at 32 kHz and knows **fifty everyday sounds**, alone or up to three in a
scene; of speech it knows that it is speech, of music the instrument. It knows nothing else: for real work name a CLAP
trained on real recordings.

## Data

* Sounds rendered by `sonogloss.soundscapes` (our own procedural synthesis), and captions of our own grammar.
* {real_clips} real clips of ESC-10 (the Creative Commons Attribution part of ESC-50 by Karol J. Piczak), folds 1 to 3,
  varied by speed, tone color and room. Authors and sources: `ATTRIBUTION.csv`. No other recording, no others' text.

## Recipe

`python -m recipes.pocket`: symmetric InfoNCE from scratch, {steps} steps of {batch} scenes mixed as mel power, pairs
that are also true left out as negatives. Curve: `training-curve.csv`.
{notes}

## Scores

On {scenes} held-out synthetic scenes (seeds not used in training), among their captions:
{retrieval}; zero-shot over fifty classes of single events {zero_shot:.3f}.

{real}

Order: of "A followed by B" and "B followed by A" the true one is nearer to the sound in {order:.3f} of 200 pairs;
chance is 0.5.

## License

Apache-2.0. The attribution of the real clips is due to their authors (`ATTRIBUTION.csv`).
"""

DRCAP_CARD = """---
license: apache-2.0
---

# sonogloss pocket DRCap

A tiny DRCap captioner for the pocket CLAP: a mapper (one soft token) and a GPT-2 of 4 million parameters, float16,
trained from scratch on **text alone**: captions of our own grammar. It says what the fifty sounds of the pocket CLAP
do, and nothing else. Prompt, projection, decoding and training record: `captioner.json`.

On top of the published method it learned with Gaussian noise on the text embedding, contexts left out of a quarter of
the examples, contexts drawn anew each epoch and a similarity band measured for this CLAP.

## Scores

{scenes} held-out synthetic scenes, five references each, a datastore of grammar captions:

| condition | CIDEr-D | event F1 |
|---|---|---|
{table}

{real}

## License

Apache-2.0.
"""

REAL = """On ESC-10 fold 4 (80 real clips, never learned from; they were looked at while training): zero-shot among ten
classes {zero_shot_10:.3f}, among all fifty {zero_shot_all:.3f}; the caption names the right sound in
{named:.3f} of the clips, all classes competing."""


def release(directory: Path, reports: Path, real_clips: Path | None) -> None:
    """Copy `clap` and `drcap` from a training directory and write their cards.

    Args:
        directory: where the pair was trained; what its `NOTES.md` says of that run goes into the card.
        reports: the folder with `pocket-quality/report.json` and, if measured, `real-audio/report.json`.
        real_clips: the folder the real clips came from, for the list of their authors.

    Raises:
        ValueError: the pair is larger than it may be.
    """
    quality = json.loads((reports / "pocket-quality" / "report.json").read_text())
    real_path = reports / "real-audio" / "report.json"
    measured = json.loads(real_path.read_text()) if real_path.exists() else None
    real = "" if measured is None else REAL.format(**measured, named=measured["named by: projection and contexts"])
    staging = WEIGHTS.with_name("weights-new")  # what is shipped goes only when its successor is complete
    shutil.rmtree(staging, ignore_errors=True)
    for name in ("clap", "drcap"):
        shutil.copytree(directory / name, staging / name)
    curve = (directory / "clap-curve.csv").read_text()
    (staging / "clap" / "training-curve.csv").write_text(curve)
    authors = _write_attribution(real_clips, staging / "clap" / "ATTRIBUTION.csv") if real_clips else 0
    retrieval = ", ".join(f"{name.upper()} {value:.3f}" for name, value in quality["retrieval"].items())
    recipe = json.loads((directory / "recipe.json").read_text())
    (staging / "clap" / "README.md").write_text(
        CLAP_CARD.format(
            real_clips=authors,
            steps=recipe["clap_steps"],
            batch=recipe["clap_batch"],
            scenes=quality["scenes"],
            retrieval=retrieval,
            zero_shot=quality["zero_shot"],
            order=quality["order"],
            real=real,
            notes=notes.read_text() if (notes := directory / "NOTES.md").exists() else "",
        )
    )
    rows = [f"| {name} | {row['cider_d']:.3f} | {row['event_f1']:.3f} |" for name, row in quality["captions"].items()]
    card = DRCAP_CARD.format(scenes=quality["scenes"], table="\n".join(rows), real=real)
    _renew_card(staging / "drcap", card)
    _replace(staging, LARGEST)


def ship(source: Path, name: str, card: str, *, largest: int) -> None:
    """Put one captioner directory into the package as `pocket:name`, with this model card.

    Raises:
        ValueError: it is larger than `largest` bytes.
    """
    staging = WEIGHTS.with_name("weights-new")
    shutil.rmtree(staging, ignore_errors=True)
    shutil.copytree(source, staging / name)
    _renew_card(staging / name, card)
    _replace(staging, largest)


def ship_clap(source: Path, name: str, card: str, *, largest: int) -> None:
    """Put one more CLAP into the package as folder `name`, with this card and the attribution of the first.

    Raises:
        ValueError: it is larger than `largest` bytes.
    """
    staging = WEIGHTS.with_name("weights-new")
    shutil.rmtree(staging, ignore_errors=True)
    shutil.copytree(source, staging / name, ignore=shutil.ignore_patterns("training", "post_training.json"))
    shutil.copy(WEIGHTS / "clap" / "ATTRIBUTION.csv", staging / name)
    (staging / name / "README.md").write_text(card)
    _replace(staging, largest)


def _replace(staging: Path, largest: int) -> None:
    """Put the folders of `staging` in the place of those shipped so far."""
    size = sum(path.stat().st_size for path in staging.rglob("*") if path.is_file())
    if size > largest:
        raise ValueError(f"the weights take {size} bytes, more than {largest}")
    for folder in sorted(staging.iterdir()):
        shutil.rmtree(WEIGHTS / folder.name, ignore_errors=True)
        folder.rename(WEIGHTS / folder.name)
        print(f"released {WEIGHTS / folder.name}")
    staging.rmdir()
    print(f"{size / 1e6:.1f} MB")


def _renew_card(captioner: Path, card: str) -> None:
    """Replace the model card and say so in `captioner.json`, which lists every file with its digest."""
    (captioner / "README.md").write_text(card)
    path = str(captioner / "captioner.json")
    content = files.read_json(path)
    content["files"] = [files.file_entry(str(captioner), entry["path"]) for entry in content["files"]]
    files.write_json(path, content)


def _write_attribution(folder: Path, target: Path) -> int:
    """The authors of the real clips, as the Creative Commons license asks; returns how many clips there were."""
    with open(folder / "metadata.csv", newline="", encoding="utf-8") as handle:
        rows = [r for r in csv.DictReader(handle) if r["class"] in REAL_CLASSES and r["fold"] in ("1", "2", "3")]
    columns = ["filename", "class", "fold", "src_id", "clip_licence", "author", "title", "source_url", "set_licence"]
    with open(target, "w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, fieldnames=columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return len(rows)
