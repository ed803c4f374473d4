"""Metrics beside other programs: CIDEr-D of 67 runs as logged, METEOR's own program, sentence-transformers.

    python -m benchmarks.metric_parity --data ../shared/data --sentence-model all-MiniLM-L6-v2

The runs are those whose captions and scores prompteus/audio-captioning logged. What is not installed (pycocoevalcap and
Java, sentence-transformers) is left out. Parity with pycocoevalcap itself, clip by clip, is in
`tests/metrics/test_reference_values.py` and `test_meteor.py`.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sonogloss.errors import OptionError
from sonogloss.metrics import evaluate
from sonogloss.metrics.scorers import find_scorers
from sonogloss.metrics.tokenize import tokenize

ITEMS = 200


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of packed JSON lines."""
    with gzip.open(path, "rt", encoding="utf-8") as handle:
        return [json.loads(line) for line in handle]


def logged_runs(data: Path, tokenizer: str, short: bool) -> Iterator[str]:
    """A row a set of references."""
    known = {row["file_name"]: row["captions"] for row in read(data / "captions/clotho_val.jsonl.gz")}
    known |= {row["youtube_id"]: row["captions"] for row in read(data / "captions/audiocaps_val.jsonl.gz")}
    said: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in read(data / "metrics/prompteus_predictions.jsonl.gz"):
        said[row["run"]].append(row)
    runs = json.loads((data / "metrics/prompteus_scores.json").read_text())
    differences: dict[str, list[float]] = defaultdict(list)
    for run in runs[:10] if short else runs:
        rows = said[run["run"]]
        keys = [row["file_name"] if run["dataset"] == "clotho" else Path(row["file_name"]).stem for row in rows]
        captions = {str(number): row["prediction"] for number, row in enumerate(rows)}
        references = {str(number): known[key] for number, key in enumerate(keys)}
        value = evaluate(captions, references, metrics=["cider_d"], tokenizer=tokenizer).corpus[0].value
        differences[run["dataset"]].append(abs(value - run["metrics"]["cider"]))
    for name, found in differences.items():
        equal = sum(difference < 5e-5 for difference in found)
        yield f"| {name} | {tokenizer} | {len(found)} | {equal} | {max(found):.6f} |"


def meteor(captions: list[str], references: list[list[str]]) -> str:
    """Beside pycocoevalcap's wrapper of the same program, on words that are cut already."""
    scorers, lacking = find_scorers({"meteor"})
    if lacking:
        return str(lacking["meteor"])
    from pycocoevalcap.meteor.meteor import Meteor

    keys = [str(number) for number in range(len(captions))]
    said, known = dict(zip(keys, captions, strict=True)), dict(zip(keys, references, strict=True))
    ours = evaluate(said, known, metrics=["meteor"], scorers=scorers)
    words = [" ".join(text) for text in tokenize(captions)]
    others = [[" ".join(text) for text in tokenize(texts)] for texts in references]
    corpus, clips = Meteor().compute_score(
        dict(zip(keys, others, strict=True)), {key: [text] for key, text in zip(keys, words, strict=True)}
    )
    most = max(abs(ours.clips[key]["meteor"] - value) for key, value in zip(keys, clips, strict=True))
    return (
        f"METEOR of {len(keys)} items: corpus differs by {abs(ours.corpus[0].value - corpus):.0e}, a clip by {most:.0e}"
    )


def sentences(texts: list[str], model: str) -> str:
    """Beside sentence-transformers itself."""
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        return "sentence-transformers is not here"
    from sonogloss.metrics.sentences import load_sentence_model

    theirs = SentenceTransformer(model, device="cpu").encode(texts, normalize_embeddings=True)
    ours = load_sentence_model(model, device="cpu").embed(texts).numpy()
    return (
        f"sentence vectors of {len(texts)} texts: components differ by {abs(ours - theirs).max():.0e}, "
        f"cosines by {abs((ours[1:] * ours[:-1]).sum(1) - (theirs[1:] * theirs[:-1]).sum(1)).max():.0e}"
    )


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--sentence-model", help="directory of a sentence model (default: none is compared)")
    parser.add_argument("--short", action="store_true", help="the first ten runs, one tokenizer")
    options = parser.parse_args()
    if not (options.data / "metrics/prompteus_scores.json").exists():
        print(f"{options.data} holds no logged runs: nothing to measure")
        return
    print("| references | tokenizer | runs | equal to four decimals | largest difference |\n|---|---|---|---|---|")
    for tokenizer in ("simple",) if options.short else ("simple", "ptb"):
        try:
            for line in logged_runs(options.data, tokenizer, options.short):
                print(line, flush=True)
        except OptionError as error:
            print(error)
    rows = read(options.data / "captions/clotho_val.jsonl.gz")[:ITEMS]
    texts = [text for row in rows for text in row["captions"]]
    print(f"\n{meteor([row['captions'][0] for row in rows], [row['captions'][1:] for row in rows])}")
    if options.sentence_model is not None:
        print(sentences(texts, options.sentence_model))


if __name__ == "__main__":
    main()
