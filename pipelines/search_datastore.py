"""search: what does a datastore hold near this text, sound or caption?"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.table import Table

from sonogloss import files
from sonogloss.audio import Cutting, WindowPolicy, cut_clips
from sonogloss.clap import Clap, load_clap
from sonogloss.clap.device import choose_device
from sonogloss.errors import ClipError, FormatError, MissingInputError
from sonogloss.indexes import Datastore
from sonogloss.pipelines.config.datastores import SearchConfig
from sonogloss.pipelines.config.parser import command
from sonogloss.pipelines.running.inputs import store_paths
from sonogloss.pipelines.running.terminal import plain_console
from sonogloss.records import Context, FloatArray


@command(SearchConfig)
def search(config: SearchConfig) -> dict[str, Any]:
    """Look a sentence, a recording or a caption up.

    Returns:
        The report: `queries`, each with what was asked and its `contexts`.

    Raises:
        InputError: an option or an input cannot be used.
    """
    store = Datastore.open(store_paths(config.datastore), search=config.search, check=config.store_check)
    where = config.filters
    store.require_columns(where)
    if config.id is not None:
        vector, text = store.caption(config.id)
        found = store.search(vector[None], config.k + 1, where=where)
        return _report(config, [text], [[context for context in found[0] if context.id != config.id][: config.k]])
    model = load_clap(str(config.clap or store.manifest.clap["name"]), device=choose_device(config.device))
    store.require_clap(model.name, model.fingerprint, getattr(model, "config_digest", None))
    if config.text is not None:
        queries, vectors = [config.text], model.embed_text([config.text])
    else:
        queries, vectors = _embed_recording(str(config.audio), model)
    return _report(config, queries, store.search(vectors, config.k, where=where))


def _report(config: SearchConfig, queries: list[str], found: list[list[Context]]) -> dict[str, Any]:
    paths = store_paths(config.datastore)
    return {
        "datastore": paths[0] if len(paths) == 1 else paths,
        "queries": [
            {"query": query, "contexts": [asdict(context) for context in contexts]}
            for query, contexts in zip(queries, found, strict=True)
        ],
        "problems": [],
    }


def _embed_recording(path: str, clap: Clap) -> tuple[list[str], FloatArray]:
    if not files.exists(path) or files.is_dir(path):
        raise MissingInputError(f"--audio {path!r} is not a file.", "Check the path.")
    policy = WindowPolicy(window_s=clap.window_s, hop_s=clap.window_s)
    try:
        data = files.read_bytes(path)
        clips = list(cut_clips(data, Cutting(uri=path, policy=policy, sample_rate=clap.sample_rate)))
    except ClipError as error:
        raise FormatError(
            f"--audio {path!r} cannot be used: {error.message}", "Give a recording that decodes."
        ) from error
    return [f"{path} {clip.start_s:g}-{clip.end_s:g} s" for clip in clips], clap.embed_audio([c.samples for c in clips])


def show(report: dict[str, Any]) -> None:
    """Print the report for a person."""
    console = plain_console()
    for query in report["queries"]:
        rows = Table("score", "caption", "source", "id", title=query["query"])
        for context in query["contexts"]:
            rows.add_row(f"{context['score']:.3f}", context["text"], context["source"], str(context["id"]))
        console.print(rows)
