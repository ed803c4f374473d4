"""Choosing a checkpoint by real audio: caption recordings with the current weights, and compare with references.

The training loop knows no audio; it gets a function from weights to a score.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from sonogloss.clap import Clap
from sonogloss.errors import FormatError
from sonogloss.indexes import Datastore
from sonogloss.methods import Captioner
from sonogloss.methods.base import look_up
from sonogloss.methods.plan import TrainingPlan
from sonogloss.metrics import evaluate
from sonogloss.pipelines.running.first_windows import embed_first_windows
from sonogloss.pipelines.running.inputs import list_audio
from sonogloss.pipelines.running.references import choose_references
from sonogloss.sources import Source
from sonogloss.transforms.join_references import FileNames

MakeCaptioner = Callable[[Any, nn.Module | None], Captioner]
"""From the current language model and mapper to a captioner."""
Score = Callable[[Any, nn.Module | None], float]


def list_validation_audio(audio: Sequence[str], references: str) -> dict[str, list[str]]:
    """The references of every recording that has some, by its uri.

    Raises:
        InputError: there are no recordings, or none that has references.
    """
    sources, _ = list_audio(audio)
    uris = [source.uri for source in sources if source.member is None]
    if not uris:
        raise _nothing_fits(references)
    found = choose_references(references, [{"uri": uri} for uri in uris])
    by_key: dict[str, list[str]] = {}
    names = FileNames("--validation-references", references)
    for key, name, texts in found.read():
        if found.key == "file_name":
            names.check(key, name)
        by_key.setdefault(key, []).extend(texts)
    named = {uri: by_key[key] for uri in uris if (key := found.key_of({"uri": uri})) in by_key}
    if not named:
        raise _nothing_fits(references)
    return named


def score_on_audio(
    recordings: Mapping[str, list[str]],
    *,
    clap: Clap,
    datastore: Datastore,
    plan: TrainingPlan,
    make_captioner: MakeCaptioner,
) -> tuple[Score, int]:
    """CIDEr-D of the captions of the first window of each recording, as a function of language model and mapper.

    Returns:
        The function, and how many recordings could not be read.

    Raises:
        FormatError: no recording can be read.
    """
    uris, raw, failed = embed_first_windows([Source(uri=uri) for uri in recordings], clap)
    if not uris:
        raise _nothing_fits("--validation-references")
    truth = {str(number): recordings[uri] for number, uri in enumerate(uris)}
    projection = None if plan.projection is None else plan.projection.resolved(clap.temperature)
    found, embeddings = look_up(raw, datastore, contexts=plan.settings.contexts, projection=projection)
    contexts = [[context.text for context in row] for row in found]

    def score(model: Any, mapper: nn.Module | None) -> float:
        captions = make_captioner(model, mapper).caption(embeddings, contexts)
        results = evaluate({str(number): text for number, text in enumerate(captions)}, truth, metrics=["cider_d"])
        return results.corpus[0].value

    return score, failed


def _nothing_fits(references: str) -> FormatError:
    return FormatError(
        f"None of the recordings of --validation-audio has references in {references!r} and can be read.",
        "Check that both name the same files.",
    )
