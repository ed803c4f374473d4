r"""zste: labelled clips -> what a CLAP knows of single sounds, of two, and of their order.

::

    sonogloss zste --clap laion:630k-best.pt --clips gs://BUCKET/esc50 --folds 5 --output gs://BUCKET/zste \
        --runner=DataflowRunner --project=P --region=R --temp_location=gs://BUCKET/tmp
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict
from typing import Any

import apache_beam as beam
import pyarrow.parquet as pq
from rich.table import Table

from sonogloss import __version__, files
from sonogloss.clap.device import choose_device
from sonogloss.errors import MissingInputError, OptionError
from sonogloss.pipelines.config.parser import command
from sonogloss.pipelines.config.temporal import ZsteConfig
from sonogloss.pipelines.running.beam_options import beam_options
from sonogloss.pipelines.running.inputs import check_output, note_pocket, too_many
from sonogloss.pipelines.running.ownership import refused
from sonogloss.pipelines.running.progress import Work
from sonogloss.pipelines.running.run_beam import make_pipeline, progress_file, run_pipeline
from sonogloss.pipelines.running.terminal import plain_console
from sonogloss.temporal.clips import SOUNDSCAPES, hold_out_classes, rank, read_collection, select_folds
from sonogloss.temporal.config import PairSettings
from sonogloss.temporal.sequences import draw_groups
from sonogloss.temporal.zste import Questions, TextBank
from sonogloss.transforms.batch_step import Gather, Step
from sonogloss.transforms.encode_variants import EncodeVariants, ZsteUnit, cut_zste_units
from sonogloss.transforms.judge_items import JudgeItems
from sonogloss.transforms.models import ClapReference
from sonogloss.transforms.write_zste import DEAD_LETTERS, FACTS_KEY, SUMMARY, write_zste


@command(ZsteConfig)
def zste(config: ZsteConfig) -> dict[str, Any]:
    """Evaluate what a CLAP knows of the order of sounds.

    Returns:
        The report: `output`, `clap`, `counts`, `summary` (rows), `done_before`, `seconds`, `problems`.

    Raises:
        InputError: an option or an input makes the job impossible.
    """
    started, output = time.monotonic(), str(config.output)
    options, device = beam_options(config.beam_args, workers=config.workers), choose_device(config.device)
    questions = choose_questions(config)
    asked = _asked(config, questions)
    earlier = None if config.overwrite else _read_facts(output)
    if earlier is not None and earlier.get("asked") != asked:
        raise refused(output, "an evaluation of other options or clips", earlier.get("asked"), asked)
    check_output(output)
    if config.clips != SOUNDSCAPES:
        note_pocket(str(config.clap), [str(config.clips)])
    reference = ClapReference.of(str(config.clap), device)
    if earlier is not None:
        if earlier["clap"]["fingerprint"] != reference.fingerprint:
            raise refused(output, "an evaluation of another CLAP of this name")
        return _report(config, started, done_before=True)
    files.check_writable(output)
    if files.exists(files.join(output, SUMMARY)):
        files.remove(files.join(output, SUMMARY))  # from here on the directory is unfinished
    texts, units = questions.texts(), cut_zste_units(questions)
    facts = {
        "format": "sonogloss-zste",
        "format_version": 1,
        "created_by": f"sonogloss {__version__}",
        "clap": {"name": reference.name, "fingerprint": reference.fingerprint},
        "clips": str(config.clips),
        "folds": list(config.folds),
        "held_out_classes": config.held_out_classes,
        "classes": list(questions.labels),
        "singles": len(questions.clips),
        "pairs": len(questions.groups),
        "texts": len(texts),
        "settings": asdict(config.pairs),
        "seed": config.seed,
        "asked": asked,
    }
    with progress_file(options, device=device) as path:
        pipeline = make_pipeline(options)
        _connect(pipeline, questions, texts, units, reference, config.pairs, output=output, facts=facts, progress=path)
        run_pipeline(pipeline, noun="sounds", path=path, work=Work(units=len(units)))
    return _report(config, started)


def _asked(config: ZsteConfig, questions: Questions) -> dict[str, Any]:
    """What makes two evaluations of a CLAP the same. Where one computes does not."""
    options = {name: value for name, value in config.as_json().items() if name not in ("device", "max_dead_letters")}
    ids = "\n".join([*(clip.id for clip in questions.clips), *(group.id for group in questions.groups)])
    return {**options, "clip_ids": hashlib.sha256(ids.encode()).hexdigest()}


def choose_questions(config: ZsteConfig) -> Questions:
    """What the CLAP is asked about a collection.

    Raises:
        InputError: the collection cannot be used.
    """
    name = str(config.clips)
    found = read_collection(name, split="test", seed=config.seed)
    if config.folds:
        found = select_folds(found, set(config.folds))
    if config.held_out_classes:
        found = hold_out_classes(found, config.held_out_classes)[1]
    labels = tuple(sorted({clip.label for clip in found}))
    if len(labels) < 2:
        raise OptionError(
            f"--clips {name!r} leaves {len(found)} clips of fewer than two classes.",
            "Name more folds, or hold out fewer classes.",
        )
    singles = sorted(found, key=lambda clip: rank("item", config.seed, clip.id))[: config.items]
    return Questions(
        clips=tuple(sorted(singles, key=lambda clip: clip.id)),
        groups=tuple(draw_groups(singles, config.items, seed=config.seed)),
        labels=labels,
        released_rules=config.released_rules,
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
    bank = pipeline | "ListSentences" >> beam.Create([texts]) | "EmbedSentences" >> Step(TextBank.embed, clap=clap)
    (
        pipeline
        | "ListUnits" >> beam.Create(units)
        | "SpreadUnits" >> beam.Reshuffle()
        | "EncodeVariants" >> EncodeVariants(clap, settings, progress)
        | "JudgeItems" >> JudgeItems(questions, beam.pvalue.AsSingleton(bank))
        | "WriteZste" >> Gather(write_zste, output=output, facts=facts)
    )


def _read_facts(output: str) -> dict[str, Any] | None:
    """What a finished evaluation says of itself; None when there is none."""
    path = files.join(output, SUMMARY)
    if not files.exists(path):
        return None
    with files.open_read(path) as handle:
        facts: dict[str, Any] = json.loads((pq.read_schema(handle).metadata or {}).get(FACTS_KEY, b"{}"))
    return facts


def _report(config: ZsteConfig, started: float, *, done_before: bool = False) -> dict[str, Any]:
    output, facts = str(config.output), _read_facts(str(config.output)) or {}
    counts = facts["counts"]
    if not counts["items"]:
        letter = files.read_table(files.join(output, DEAD_LETTERS)).slice(0, 1).to_pylist()[0]
        raise MissingInputError(
            f"--clips holds nothing that can be read; {letter['uri']!r}, for one: {letter['message']}",
            f"Name readable clips; {files.join(output, DEAD_LETTERS)} lists what failed.",
        )
    return {
        "output": output,
        "done_before": done_before,
        **{name: facts[name] for name in ("clap", "singles", "pairs", "texts", "counts")},
        "classes": len(facts["classes"]),
        "summary": files.read_table(files.join(output, SUMMARY)).to_pylist(),
        "seconds": round(time.monotonic() - started, 3),
        "problems": too_many(
            counts["dead_letters"],
            facts["singles"],
            share=config.max_dead_letters,
            what="clips",
            where=files.join(output, "zste"),
        ),
    }


def show(report: dict[str, Any]) -> None:
    """Print the report for a person."""
    console = plain_console()
    if report["done_before"]:
        console.print(f"{report['output']} was evaluated with these options before: nothing to do.")
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
    )
    if counts["dead_letters"]:
        console.print(
            f"{counts['dead_letters']:,} clips could not be used, and {counts['left_out']:,} pairs with them:"
            " zste/dead_letters.parquet"
        )
