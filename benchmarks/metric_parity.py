"""CIDEr-D of the 67 runs whose captions and scores prompteus/audio-captioning logged, beside what was logged.

    python -m benchmarks.metric_parity --data ../shared/data

Parity with pycocoevalcap itself, clip by clip, is in `tests/metrics/test_reference_values.py` and `test_meteor.py`.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from sonogloss.metrics import evaluate


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of packed JSON lines."""
    with gzip.open(path, "rt", encoding="utf-8") as handle:
        return [json.loads(line) for line in handle]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--short", action="store_true", help="the first ten runs")
    options = parser.parse_args()
    if not (options.data / "metrics/prompteus_scores.json").exists():
        print(f"{options.data} holds no logged runs: nothing to measure")
        return
    known = {row["file_name"]: row["captions"] for row in read(options.data / "captions/clotho_val.jsonl.gz")}
    known |= {row["youtube_id"]: row["captions"] for row in read(options.data / "captions/audiocaps_val.jsonl.gz")}
    said: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in read(options.data / "metrics/prompteus_predictions.jsonl.gz"):
        said[row["run"]].append(row)
    runs = json.loads((options.data / "metrics/prompteus_scores.json").read_text())
    differences: dict[str, list[float]] = defaultdict(list)
    for run in runs[:10] if options.short else runs:
        rows = said[run["run"]]
        keys = [row["file_name"] if run["dataset"] == "clotho" else Path(row["file_name"]).stem for row in rows]
        captions = {str(number): row["prediction"] for number, row in enumerate(rows)}
        references = {str(number): known[key] for number, key in enumerate(keys)}
        value = evaluate(captions, references, metrics=["cider_d"]).corpus[0].value
        differences[run["dataset"]].append(abs(value - run["metrics"]["cider"]))
    print("| references | runs | equal to four decimals | largest difference |\n|---|---|---|---|")
    for name, found in differences.items():
        equal = sum(difference < 5e-5 for difference in found)
        print(f"| {name} | {len(found)} | {equal} | {max(found):.5f} |")


if __name__ == "__main__":
    main()
