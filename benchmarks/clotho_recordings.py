"""Real recordings of half a minute with five human captions: the embedded captioners, a recording an item.

    python -m benchmarks.clotho_recordings --clips ../shared/data/audio/clotho_captioned

Every captioner writes a caption for each window; of a recording counts the one that fits its sound best by CLAP score,
as `evaluate --per recording` chooses. `copy the nearest` takes the nearest caption of the datastore as it is. The
recordings have nothing to do with the synthetic scenes that the pocket models know. A page shows all captioners, to
look at and listen to.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sonogloss.pipelines.build_datastore import build_datastore
from sonogloss.pipelines.caption_audio import caption
from sonogloss.pipelines.compare_runs import compare_runs
from sonogloss.pipelines.report_page import report
from sonogloss.soundscapes import caption_dump

METRICS = ("cider_d", "rouge_l", "bleu_1", "clap_sim")
CAPTIONERS = ("pocket", "pocket:soft-hard", "pocket:zeraucap")


def copy_nearest(results: Path, copy: Path) -> None:
    """The same results with the nearest caption of every window, and its own score."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(results, copy)
    for path in (copy / "captions").glob("*.parquet"):
        rows = pq.read_table(path)
        nearest = [contexts[0] for contexts in rows["contexts"].to_pylist()]
        for column, name in (("caption", "text"), ("clap_score", "score")):
            place = rows.schema.get_field_index(column)
            found = pa.array([own[name] for own in nearest], rows.schema.field(place).type)
            rows = rows.set_column(place, rows.schema.field(place), found)
        pq.write_table(rows, path)


def cell(value: dict[str, Any], sign: str = "") -> str:
    """A value and its interval."""
    return f"{value['value']:{sign}.3f} [{value['low']:{sign}.3f}, {value['high']:{sign}.3f}]"


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, default=Path("../shared/data/audio/clotho_captioned"))
    parser.add_argument("--captions", type=Path, help="captions of the datastore (default: 10,000 of synthetic scenes)")
    parser.add_argument("--text-column", default="caption")
    parser.add_argument("--output", type=Path, default=Path("bench-output/clotho-recordings"))
    parser.add_argument("--short", action="store_true", help="accepted for `make bench`; this benchmark is short")
    options = parser.parse_args()
    references = options.clips / "metadata.jsonl"
    if not references.exists():
        print(f"{options.clips} holds no metadata.jsonl: nothing to measure")
        return
    options.output.mkdir(parents=True, exist_ok=True)
    dump, column = options.captions, options.text_column
    if dump is None:
        dump = options.output / "captions.txt"
        dump.write_text("\n".join(caption_dump(10_000, seed=1)) + "\n", encoding="utf-8")
    store = options.output / "store"
    build_datastore(captions=dump, text_column=column, output=store, clap="pocket", overwrite=True)
    runs = []
    for name in CAPTIONERS:
        runs.append(options.output / name.replace(":", "-"))
        caption(audio=options.clips, captioner=name, datastore=store, output=runs[-1], embedding=True, overwrite=True)
    runs.append(options.output / "copy-the-nearest")
    copy_nearest(runs[0], runs[-1])
    compared = compare_runs(results=runs, references=references, metrics=METRICS, per="recording")
    print(f"{compared['clips']} recordings\n\n| run | {' | '.join(METRICS)} |\n|---|{'---|' * len(METRICS)}")
    for run in compared["runs"]:
        cells = [cell(run["values"][name]) for name in METRICS if name in run["values"]]
        print(f"| {Path(run['name']).name} | {' | '.join(cells)} |")
    print("\n| less `pocket` | metric | difference | p | wins, losses |\n|---|---|---|---|---|")
    for row in compared["differences"]:
        name = Path(row["name"]).name
        print(f"| {name} | {row['metric']} | {cell(row, '+')} | {row['p']:.3f} | {row['wins']}, {row['losses']} |")
    output = options.output / "page.html"
    page = report(results=runs[0], compare=runs[1:], references=references, per="recording", output=output)
    print(f"\n{output}: {page['clips']} clips, {page['sounds']} with sound, {page['bytes'] / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
