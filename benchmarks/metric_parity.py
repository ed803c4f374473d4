"""Metrics beside other programs: CIDEr-D of 67 runs as their authors logged it, and sentence-transformers.

    python -m benchmarks.metric_parity --data ../shared/data --sentence-model all-MiniLM-L6-v2

The runs are those whose captions and scores prompteus/audio-captioning logged. What is not installed (pycocoevalcap and
Java for the tokenizer `ptb`, sentence-transformers) is left out. Parity with pycocoevalcap itself, clip by clip, is in
`tests/metrics/test_reference_values.py` and `test_meteor.py`.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from sonogloss.errors import OptionError
from sonogloss.metrics import evaluate

ITEMS = 200
T = TypeVar("T")


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of packed JSON lines."""
    with gzip.open(path, "rt", encoding="utf-8") as handle:
        return [json.loads(line) for line in handle]


def read_runs(data: Path) -> list[tuple[dict[str, Any], list[str], list[list[str]]]]:
    """Each run as it was logged, its captions and their references."""
    known = {row["file_name"]: row["captions"] for row in read(data / "captions/clotho_val.jsonl.gz")}
    known |= {f"{row['youtube_id']}.mp3": row["captions"] for row in read(data / "captions/audiocaps_val.jsonl.gz")}
    said: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in read(data / "metrics/prompteus_predictions.jsonl.gz"):
        said[row["run"]].append(row)
    runs = json.loads((data / "metrics/prompteus_scores.json").read_text())
    return [
        (run, [row["prediction"] for row in said[run["run"]]], [known[row["file_name"]] for row in said[run["run"]]])
        for run in runs
    ]


def logged_runs(data: Path, tokenizer: str, short: bool) -> Iterator[str]:
    """A row a set of references."""
    differences: dict[str, list[float]] = defaultdict(list)
    for run, captions, references in read_runs(data)[: 10 if short else None]:
        value = (
            evaluate(numbered(captions), numbered(references), metrics=["cider_d"], tokenizer=tokenizer).corpus[0].value
        )
        differences[run["dataset"]].append(abs(value - run["metrics"]["cider"]))
    for name, found in differences.items():
        equal = sum(difference < 5e-5 for difference in found)
        yield f"| {name} | {tokenizer} | {len(found)} | {equal} | {max(found):.6f} |"


def numbered(items: Sequence[T]) -> dict[str, T]:
    """By their places, for keys that come more than once."""
    return {str(place): item for place, item in enumerate(items)}


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
    if options.sentence_model is not None:
        print(f"\n{sentences(texts, options.sentence_model)}")


if __name__ == "__main__":
    main()
