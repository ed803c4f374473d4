r"""build-datastore: text dumps -> a datastore of captions and their text support.

::

    sonogloss build-datastore --captions 'dumps/*.jsonl.gz' --text-column caption --output gs://BUCKET/store \
        --runner=DataflowRunner --project=P --region=R --temp_location=gs://BUCKET/tmp
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import apache_beam as beam
from rich.table import Table

from sonogloss import files
from sonogloss.dumps.texts import WordLimits
from sonogloss.indexes import describe, read_manifest
from sonogloss.indexes.layout import MANIFEST, IndexEntry, Manifest
from sonogloss.indexes.make_support import check_support
from sonogloss.indexes.recall import write_queries
from sonogloss.indexes.train import GIB, IndexRequest, check_request
from sonogloss.pipelines.config.datastores import BuildDatastoreConfig
from sonogloss.pipelines.config.parser import command
from sonogloss.pipelines.running.beam_options import beam_options, leaves_models_to_workers
from sonogloss.pipelines.running.caption_dumps import CaptionDumps, list_dumps
from sonogloss.pipelines.running.datastore_output import (
    asked_options,
    begin_datastore,
    check_datastore_output,
    end_datastore,
    is_built,
    is_swept,
    kept_units,
    known_captions,
    known_columns,
    made_with_options,
    read_base,
)
from sonogloss.pipelines.running.first_windows import embed_queries
from sonogloss.pipelines.running.inputs import as_list, check_output, device_for, note_pocket, too_many
from sonogloss.pipelines.running.lease import lease, refuse_held
from sonogloss.pipelines.running.remote_job import Owner, check_committed
from sonogloss.pipelines.running.run_beam import make_pipeline, progress_file, run_pipeline
from sonogloss.pipelines.running.terminal import plain_console
from sonogloss.transforms.build_indexes import BuildIndexes, DatastoreHead
from sonogloss.transforms.drop_duplicates import DropDuplicates, choose_ranges
from sonogloss.transforms.embed_text import EmbedText, Unit
from sonogloss.transforms.embed_text import made_with as made_with_digest
from sonogloss.transforms.list_dumps import read_dumps, write_dumps
from sonogloss.transforms.models import ClapReference
from sonogloss.transforms.read_captions import ReadCaptions, ReadCount, merge_columns
from sonogloss.transforms.stopwatch import Stopwatch
from sonogloss.transforms.write_shards import WriteShards


@command(BuildDatastoreConfig)
def build_datastore(config: BuildDatastoreConfig) -> dict[str, Any]:
    """Build a datastore.

    Returns:
        The report: `output`, `counts`, `skipped` (files by reason), `left_out_columns`, `sources`, `seconds`,
        `captions_per_s`, `problems`.

    Raises:
        InputError: an option or an input makes the job impossible.
    """
    started = Stopwatch()
    output, clap = str(config.output), str(config.clap)
    options = beam_options(config.beam_args, workers=config.workers)
    dumps = _dumps(config)
    made_with = made_with_options(config, dumps)
    check_output(output)
    check_datastore_output(output)
    if not config.break_lease:
        refuse_held(output)
    if not config.append and is_built(output, made_with, config):
        return _done_before(output, started, config)
    files.check_writable(output)
    reference = ClapReference.of(
        clap, device_for(config.device, config.beam_args), look=leaves_models_to_workers(options)
    )
    base = None
    if config.append:
        base = read_base(output, clap=clap, fingerprint=reference.fingerprint, check=config.store_check)
        config = replace(config, vectors=base.vectors, precision=base.options.get("precision", "float32"))
        if made_with in [asked_options(added) for added in base.options.get("appended", [])]:
            return _done_before(output, started, config)
    note_pocket(clap, [dump.uri for dump in dumps.files])
    head = _head(config, reference, made_with, base)
    queries = embed_queries(as_list(config.recall_audio), reference) if config.recall_audio else None
    with (
        lease(output, "build-datastore", by_force=config.break_lease) as held,
        progress_file(options, device=reference.device) as path,
    ):
        kept = kept_units(output, made_with_digest(reference.fingerprint, config.precision))
        if base is None:
            begin_datastore(output)
        if queries is not None:
            head = replace(head, queries=write_queries(output, queries))
        said = {"options": {"dumps": dumps.sizes, "skipped": dumps.skipped}, "licenses": dumps.licenses}
        head = replace(head, dumps=write_dumps(output, dumps.in_parts(), said))
        pipeline = make_pipeline(options)
        _connect(pipeline, dumps, output=output, head=head, clap=reference, config=config, progress=path)
        owner = Owner(wait=config.wait, on_interrupt=config.on_interrupt, lease=held)
        left = run_pipeline(pipeline, noun="captions embedded", path=path, owner=owner)
        if left is not None:
            return {"output": output, "job": asdict(left), "problems": []}
        check_committed(output, MANIFEST)
        held.check()
        end_datastore(output)
    return _report(output, started, config, kept_units=kept)


def _dumps(config: BuildDatastoreConfig) -> CaptionDumps:
    return list_dumps(
        as_list(config.captions),
        source=config.source,
        text_columns=config.text_column,
        layout=config.layout,
        licenses=config.license,
        words=WordLimits(at_least=config.min_words, at_most=config.max_words),
    )


def _head(
    config: BuildDatastoreConfig,
    reference: ClapReference,
    made_with: dict[str, Any],
    base: Manifest | None,
) -> DatastoreHead:
    """What is known before captions are read.

    Raises:
        OptionError: the index or the support cannot be made.
    """
    dim = reference.outline.dim
    index = IndexRequest(name=config.index, memory=config.index_memory * GIB, recall=config.recall)
    check_request(index, dim)
    clap = {"name": str(config.clap), "fingerprint": reference.fingerprint, "dim": dim}
    if reference.config_digest is not None:
        clap["config"] = reference.config_digest
    check_support(config.support, clap)
    return DatastoreHead(
        clap=clap,
        options={name: value for name, value in made_with.items() if name != "dumps"},
        licenses=_licenses(base),
        base=base,
        vectors=config.vectors,
        index=index,
        support=config.support,
        device=config.device,
    )


def _done_before(output: str, started: Stopwatch, config: BuildDatastoreConfig) -> dict[str, Any]:
    """The report of a build whose manifest is there; it may have been killed right after it."""
    if not is_swept(output):
        with lease(output, "build-datastore"):
            end_datastore(output)
    return _report(output, started, config)


def _connect(
    pipeline: beam.Pipeline,
    dumps: CaptionDumps,
    *,
    output: str,
    head: DatastoreHead,
    clap: ClapReference,
    config: BuildDatastoreConfig,
    progress: str | None,
) -> None:
    """Captions from their files to the datastore."""
    read = (
        pipeline
        | "Listing" >> beam.Create([None])
        | "ListDumps" >> beam.FlatMap(lambda _, folder: read_dumps(folder), folder=head.dumps)
        | "SpreadDumps" >> beam.Reshuffle()
        | "ReadCaptions" >> ReadCaptions(output)
    )
    ranges = choose_ranges(sum(size["bytes"] or 0 for size in dumps.sizes))
    distinct = read.lines | "DropDuplicates" >> DropDuplicates(ranges)
    columns = read.counts | "MergeColumns" >> beam.CombineGlobally(_merge_all)
    base, first = head.base, 0
    known: tuple[str, ...] = ()
    if base is not None:
        known, first = known_captions(output, base), max(shard.number for shard in base.shards) + 1
        columns = columns | "KnownColumns" >> beam.Map(merge_columns, known_columns(output, base))
    embed = EmbedText(
        clap, output=output, shards=config.shards, precision=config.precision, progress=progress, known=known
    )
    side = beam.pvalue.AsSingleton(columns)
    units = distinct | "EmbedText" >> embed.with_resource_hints(**config.hints)
    failed = units | "Failed" >> beam.FlatMap(_failed)
    counts = (read.counts, failed) | "AllCounts" >> beam.Flatten()
    (
        units
        | "WriteShards" >> WriteShards(side, output=output, vectors=config.vectors, first=first)
        | "BuildIndexes"
        >> BuildIndexes(beam.pvalue.AsList(counts), beam.pvalue.AsList(read.dead), output=output, head=head)
    )


def _failed(unit: Unit) -> Iterator[ReadCount]:
    if unit.failed:
        yield ReadCount(source="", read=0, empty=0, malformed=0, failed=unit.failed)


def _merge_all(counts: Any) -> dict[str, str]:
    # A combiner's own output comes back as an input, when Beam combines in several steps.
    merged: dict[str, str] = {}
    for count in counts:
        merged = merge_columns(merged, count if isinstance(count, dict) else count.columns)
    return merged


def _licenses(base: Manifest | None) -> dict[str, str]:
    return {source.name: source.license for source in base.sources if source.license} if base else {}


def _report(
    output: str, started: Stopwatch, config: BuildDatastoreConfig, *, kept_units: int | None = None
) -> dict[str, Any]:
    """The report; `kept_units` is None when nothing had to be done."""
    manifest, max_dead_letters = read_manifest(output), config.max_dead_letters
    made = manifest.options["appended"][-1] if config.append else manifest.options
    counts = made["counts"]
    seconds = started.seconds()
    lines = counts["read"] + counts["malformed"]
    dumps = len(made["dumps"])
    problems = [
        *too_many(
            counts["malformed"] + counts.get("failed", 0), lines, share=max_dead_letters, what="lines", where=output
        ),
        *too_many(counts.get("broken_files", 0), dumps, share=max_dead_letters, what="files", where=output),
        *_missed(manifest.index, output),
    ]
    return {
        "output": output,
        "done_before": kept_units is None,
        "kept_units": kept_units or 0,
        "counts": counts,
        "skipped": made.get("skipped", {}),
        "left_out_columns": made.get("left_out_columns", []),
        "sources": describe(manifest)["sources"],
        "clap": dict(manifest.clap),
        "shards": len(manifest.shards),
        "seconds": round(seconds, 3),
        "captions_per_s": round(counts["kept"] / max(seconds, 1e-9), 1),
        "problems": problems,
    }


def _missed(index: IndexEntry, output: str) -> list[str]:
    """Sentences when the index finds less than was asked for."""
    found = {"": index.recall_at_10, " of the recordings": index.audio_recall_at_10}
    return [
        f"The index of {output!r} finds {recall:.4f} of the ten nearest captions{whose}, and {index.recall_wanted:g} "
        "was asked for. Use another --index (flat finds all) or a smaller --recall."
        for whose, recall in found.items()
        if recall is not None and recall < (index.recall_wanted or 0)
    ]


_ALWAYS_SHOWN = ("read", "empty", "malformed", "duplicates", "kept")


def show(report: dict[str, Any]) -> None:
    """Print the report for a person."""
    console = plain_console()
    if "job" in report:
        return
    if report["done_before"]:
        console.print(f"{report['output']} was built from these dumps with these options before: nothing to do.")
    if report["kept_units"]:
        console.print(f"{report['kept_units']:,} units that an earlier build had embedded were not embedded again.")
    counts = {name: number for name, number in report["counts"].items() if number or name in _ALWAYS_SHOWN}
    table = Table(*(name.replace("_", " ") for name in counts), "seconds", "captions/s", title=report["output"])
    numbers = [f"{number:,}" for number in counts.values()]
    table.add_row(*numbers, f"{report['seconds']:.1f}", f"{report['captions_per_s']:,.0f}")
    console.print(table)
    if report["skipped"]:
        reasons = ", ".join(f"{number:,} {code}" for code, number in report["skipped"].items())
        console.print(f"Files left out: {reasons}.", markup=False)
    if report["left_out_columns"]:
        console.print(f"Columns left out, bytes or too long: {', '.join(report['left_out_columns'])}.", markup=False)
    console.print(f"Next: sonogloss search {shlex.quote(report['output'])} --text 'a dog barks'", soft_wrap=True)
