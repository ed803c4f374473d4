"""compact: write a datastore's captions again in few shards, without the sources that are to go.

::

    sonogloss compact store --remove-source bbc
"""

from __future__ import annotations

from typing import Any

from sonogloss.errors import InputError
from sonogloss.indexes import describe, read_manifest
from sonogloss.indexes.build import commit_datastore
from sonogloss.indexes.cache import check_files
from sonogloss.indexes.layout import ALL, Manifest, to_json
from sonogloss.indexes.make_support import make_support
from sonogloss.indexes.recall import measure
from sonogloss.indexes.rewrite import rewrite
from sonogloss.indexes.train import IndexRequest, add_index
from sonogloss.pipelines.config.datastores import CompactConfig
from sonogloss.pipelines.config.parser import command
from sonogloss.pipelines.running.datastore_output import end_datastore
from sonogloss.pipelines.running.lease import lease
from sonogloss.pipelines.running.terminal import plain_console
from sonogloss.transforms.embed_text import choose_layout


@command(CompactConfig)
def compact(config: CompactConfig) -> dict[str, Any]:
    """Compact a datastore. The old shards go at the end, so jobs that read it should have ended.

    Returns:
        The report: `datastore`, `captions`, `removed`, `shards`, `sources`, `problems`.

    Raises:
        InputError: there is no such datastore or source, it is damaged, or nothing would be left.
    """
    directory = str(config.datastore)
    manifest = read_manifest(directory)
    names = {source.name for source in manifest.sources}
    if unknown := sorted(set(config.remove_source) - names):
        raise InputError(
            f"--remove-source {unknown[0]!r}: {directory!r} has no such source.", f"It has {', '.join(sorted(names))}."
        )
    if names <= set(config.remove_source):
        raise InputError("--remove-source names all sources; nothing would be left.", "Remove the directory.")
    with lease(directory, "compact", by_force=config.break_lease) as held:
        manifest = read_manifest(directory)
        check_files(directory, manifest, "full")  # else what is damaged would get a digest of its own
        left = sum(source.count for source in manifest.sources if source.name not in config.remove_source)
        written = rewrite(
            directory,
            manifest,
            without=config.remove_source,
            shards=choose_layout(left, config.shards).shards,
            first=max(shard.number for shard in manifest.shards) + 1,
        )
        held.check()
        after = _commit(directory, manifest, written, config)
        end_datastore(directory)
    return {
        "datastore": directory,
        "captions": after.count,
        "removed": manifest.count - after.count,
        "shards": len(after.shards),
        "sources": describe(after)["sources"],
        "problems": [],
    }


def _commit(directory: str, manifest: Manifest, written: list[dict[str, Any]], config: CompactConfig) -> Manifest:
    """Fill the index, renew the support where captions went, and write the manifest."""
    index, dtype = manifest.index, manifest.vectors
    if index.trained is not None:
        trained = {"kind": index.kind, "factory": index.factory, "file": vars(index.trained)}
        written = [add_index(entry, trained, directory=directory, dtype=dtype) for entry in written]
        request = IndexRequest(recall=index.recall_wanted or 0.0)
        index, _ = measure(directory, written, trained, request, dtype=dtype, queries=index.queries)
    kind = ALL if manifest.format_version == 1 else manifest.support.kind
    parts = [to_json(part) for part in manifest.support.parts]
    if config.remove_source and ":" in kind:
        following = max((part.number for part in manifest.support.parts), default=-1) + 1
        made = make_support(directory, written, kind, dtype=dtype, clap=manifest.clap, first=following)
        parts = made or []
    options = dict(manifest.options)
    if config.remove_source:
        options["removed"] = sorted({*options.get("removed", []), *config.remove_source})
    return commit_datastore(
        directory,
        shards=written,
        support=None if kind == ALL else parts,
        support_kind=kind,
        clap=manifest.clap,
        options=options,
        licenses={source.name: source.license for source in manifest.sources if source.license is not None},
        index=index,
        vectors=dtype,
    )


def show(report: dict[str, Any]) -> None:
    """Print the report for a person."""
    plain_console().print(
        f"{report['datastore']}: {report['captions']:,} captions in {report['shards']} shards, "
        f"{report['removed']:,} removed.",
        markup=False,
    )
