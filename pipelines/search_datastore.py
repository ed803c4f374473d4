"""search: what does a datastore hold near this text or sound?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from sonogloss import files
from sonogloss.audio import WindowPolicy, cut_clips
from sonogloss.clap import Clap, load_clap
from sonogloss.errors import ClipError, FormatError, MissingInputError, OptionError
from sonogloss.indexes import Datastore
from sonogloss.pipelines.checks import choose_device
from sonogloss.records import FloatArray


def search(
    *,
    datastore: str,
    text: str | None = None,
    audio: str | None = None,
    k: int = 5,
    clap: str | None = None,
    device: str = "auto",
    beam_args: Sequence[str] = (),
) -> dict[str, Any]:
    """Look a sentence or a recording up.

    Args:
        datastore: its directory.
        text: a sentence; or
        audio: a recording, of which every window is looked up.
        k: captions a query, best first.
        clap: the CLAP; by default the one the datastore was made with.
        device: `cpu`, `cuda`, `auto`.
        beam_args: accepted for the sake of equal commands; this one runs in this process.

    Returns:
        The report: `queries`, each with what was asked and its `contexts`.

    Raises:
        InputError: an option or an input cannot be used.
    """
    if (text is None) == (audio is None):
        raise OptionError("One of --text and --audio is needed.", "Give one query.")
    store = Datastore.open(datastore)
    model = load_clap(clap or str(store.manifest.clap["name"]), device=choose_device(device))
    store.require_clap(model.name, model.fingerprint)
    if text is not None:
        if not text.strip():
            raise OptionError("--text is empty.", "Give a sentence.")
        asked, vectors = [text], model.embed_text([text])
    else:
        asked, vectors = _hear(audio or "", model)
    found = store.search(vectors, k)
    return {
        "datastore": datastore,
        "queries": [
            {"query": query, "contexts": [asdict(context) for context in contexts]}
            for query, contexts in zip(asked, found, strict=True)
        ],
        "problems": [],
    }


def _hear(path: str, clap: Clap) -> tuple[list[str], FloatArray]:
    if not files.exists(path) or files.is_dir(path):
        raise MissingInputError(f"--audio {path!r} is not a file.", "Check the path.")
    policy = WindowPolicy(window_s=clap.window_s, hop_s=clap.window_s)
    try:
        data = files.read_bytes(path)
        clips = list(cut_clips(data, uri=path, member=None, policy=policy, sample_rate=clap.sample_rate))
    except ClipError as error:
        raise FormatError(
            f"--audio {path!r} cannot be used: {error.message}", "Give a recording that decodes."
        ) from error
    return [f"{path} {clip.start_s:g}-{clip.end_s:g} s" for clip in clips], clap.embed_audio([c.samples for c in clips])


def show(report: dict[str, Any]) -> None:
    """Print the report for a person."""
    console = Console()
    for query in report["queries"]:
        rows = Table("score", "caption", "source", title=query["query"])
        for context in query["contexts"]:
            rows.add_row(f"{context['score']:.3f}", context["text"], context["source"])
        console.print(rows)
