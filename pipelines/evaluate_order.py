r"""zste: labelled clips -> what a CLAP knows of single sounds, of two, and of their order.

::

    sonogloss zste --clap laion:630k-best.pt --clips gs://BUCKET/esc50 --folds 5 --output gs://BUCKET/zste \
        --runner=DataflowRunner --project=P --region=R --temp_location=gs://BUCKET/tmp
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import apache_beam as beam
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from sonogloss import __version__, files
from sonogloss.errors import MissingInputError, OptionError
from sonogloss.pipelines.beam_options import beam_options, share_cores
from sonogloss.pipelines.checks import check_share, choose_device, too_many
from sonogloss.pipelines.progress import progress_file, run_pipeline
from sonogloss.temporal.clips import hold_out_classes, rank, read_collection, select_folds
from sonogloss.temporal.sequences import PairSettings, draw_groups
from sonogloss.temporal.zste import Questions
from sonogloss.transforms.batch_step import Gather
from sonogloss.transforms.encode_variants import EncodeVariants, ZsteUnit, cut_zste_units
from sonogloss.transforms.judge_items import EmbedSentences, JudgeItems
from sonogloss.transforms.models import ClapReference
from sonogloss.transforms.write_zste import DEAD_LETTERS, FACTS_KEY, SUMMARY, write_zste


def zste(
    *,
    clap: str,
    clips: str,
    output: str,
    items: int = 500,
    folds: Sequence[str] = (),
    held_out_classes: float = 0.0,
    crossfade: float = 0.0,
    level: float | None = None,
    overlay_level: float = 0.0,
    released_rules: bool = False,
    seed: int = 0,
    max_dead_letters: float = 0.05,
    device: str = "auto",
    beam_args: Sequence[str] = (),
) -> dict[str, Any]:
    """Evaluate a CLAP's sense of time.

    Args:
        clap: any CLAP.
        clips: a folder of labelled clips, or `soundscapes`.
        output: the directory; receives `zste/`.
        items: at most so many single clips and so many pairs.
        folds: use the clips of these folds only.
        held_out_classes: use only the classes that `post-train-clap` leaves out for the same share; 0 uses all.
        crossfade: seconds over which one clip gives way to the next.
        level: RMS level in dB below full scale that clips are brought to; None leaves them.
        overlay_level: level of the second clip of an overlay, in dB relative to the first.
        released_rules: add tasks 2 and 5 as the released scripts score them.
        seed: of the drawing of pairs.
        max_dead_letters: share of clips that may fail before the result counts as unsound.
        device: `cpu`, `cuda`, `auto`.
        beam_args: options for Beam.

    Returns:
        The report: `output`, `counts`, `summary` (rows), `seconds`, `problems`.

    Raises:
        InputError: an option or an input makes the job impossible.
    """
    started = time.time()
    options = beam_options(beam_args)
    check_share(max_dead_letters, "--max-dead-letters")
    check_share(held_out_classes, "--held-out-classes")
    settings = PairSettings(crossfade_s=crossfade, level_db=level, overlay_db=overlay_level)
    questions = ask(
        clips, items=items, folds=folds, held_out_classes=held_out_classes, seed=seed, released_rules=released_rules
    )
    reference = ClapReference.of(clap, choose_device(device))
    files.check_writable(output)
    if files.exists(files.join(output, SUMMARY)):
        files.remove(files.join(output, SUMMARY))  # from here on the directory is unfinished
    texts, units = questions.texts(), cut_zste_units(questions)
    facts = {
        "format": "sonogloss-zste",
        "format_version": 1,
        "created_by": f"sonogloss {__version__}",
        "clap": {"name": clap, "fingerprint": reference.fingerprint},
        "clips": clips,
        "folds": list(folds),
        "held_out_classes": held_out_classes,
        "classes": list(questions.labels),
        "singles": len(questions.clips),
        "pairs": len(questions.groups),
        "texts": len(texts),
        "settings": asdict(settings),
        "seed": seed,
    }
    share_cores(options)
    with progress_file(options) as path:
        pipeline = beam.Pipeline(options=options)
        _connect(pipeline, questions, texts, units, reference, settings, output=output, facts=facts, progress=path)
        run_pipeline(pipeline, noun="sounds", path=path, total_units=len(units))
    return _report(output, started, max_dead_letters)


def ask(
    clips: str,
    *,
    items: int,
    folds: Sequence[str] = (),
    held_out_classes: float = 0.0,
    seed: int = 0,
    released_rules: bool = False,
) -> Questions:
    """What is asked of a CLAP on a collection; arguments as in :func:`zste`.

    Raises:
        InputError: the collection cannot be used.
    """
    found = read_collection(clips, split="test", seed=seed)
    if folds:
        found = select_folds(found, set(folds))
    if held_out_classes:
        found = hold_out_classes(found, held_out_classes)[1]
    labels = tuple(sorted({clip.label for clip in found}))
    if len(labels) < 2:
        raise OptionError(
            f"--clips {clips!r} leaves {len(found)} clips of fewer than two classes.",
            "Name more folds, or hold out fewer classes.",
        )
    singles = sorted(found, key=lambda clip: rank("item", seed, clip.id))[:items]
    groups = draw_groups(singles, items, seed=seed)
    return Questions(
        clips=tuple(sorted(singles, key=lambda clip: clip.id)),
        groups=tuple(groups),
        labels=labels,
        released_rules=released_rules,
    )


def _connect(
    pipeline: beam.Pipeline,
    questions: Questions,
    texts: list[str],
    units: list[ZsteUnit],
    clap: ClapReference,
    settings: PairSettings,
    *,
    output: str,
    facts: dict[str, Any],
    progress: str | None,
) -> None:
    bank = pipeline | "ListSentences" >> beam.Create([texts]) | "EmbedSentences" >> EmbedSentences(clap)
    (
        pipeline
        | "ListUnits" >> beam.Create(units)
        | "SpreadUnits" >> beam.Reshuffle()
        | "EncodeVariants" >> EncodeVariants(clap, settings, progress)
        | "JudgeItems" >> JudgeItems(questions, beam.pvalue.AsSingleton(bank))
        | "WriteZste" >> Gather(write_zste, output=output, facts=facts)
    )


def _report(output: str, started: float, max_dead_letters: float) -> dict[str, Any]:
    path = files.join(output, SUMMARY)
    with files.open_read(path) as handle:
        facts = json.loads(pq.read_schema(handle).metadata[FACTS_KEY])
    counts = facts["counts"]
    if not counts["items"]:
        letter = files.read_table(files.join(output, DEAD_LETTERS)).slice(0, 1).to_pylist()[0]
        raise MissingInputError(
            f"--clips holds nothing that can be heard; {letter['uri']!r}, for one: {letter['message']}",
            f"Name readable clips; {files.join(output, DEAD_LETTERS)} lists what failed.",
        )
    return {
        "output": output,
        **{name: facts[name] for name in ("clap", "singles", "pairs", "texts", "counts")},
        "classes": len(facts["classes"]),
        "summary": files.read_table(path).to_pylist(),
        "seconds": round(time.time() - started, 3),
        "problems": too_many(
            counts["dead_letters"],
            facts["singles"],
            share=max_dead_letters,
            what="clips",
            where=files.join(output, "zste"),
        ),
    }


def show(report: dict[str, Any]) -> None:
    """Print the report for a person."""
    console = Console()
    table = Table("task", "setting", "metric", "value", "95 %", "chance", "n", title=report["output"])
    for row in report["summary"]:
        digits = 1 if row["metric"].endswith("rank") else 3
        value, low, high, chance = (f"{row[name]:.{digits}f}" for name in ("value", "low", "high", "chance"))
        table.add_row(row["task"], row["setting"], row["metric"], value, f"{low} to {high}", chance, f"{row['n']:,}")
    console.print(table)
    counts = report["counts"]
    console.print(
        f"{report['clap']['name']}: {report['singles']:,} clips of {report['classes']} classes, {report['pairs']:,} "
        f"pairs, {counts['encoded']:,} sounds and {report['texts']:,} sentences, each encoded once; "
        f"{report['seconds']:.0f} s",
        markup=False,
    )
    if counts["dead_letters"]:
        console.print(
            f"{counts['dead_letters']:,} clips could not be used, and {counts['left_out']:,} pairs with them:"
            " zste/dead_letters.parquet"
        )
