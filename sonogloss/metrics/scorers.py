"""Programs and models of others that metrics rest on: found where they are, named where they are not."""

from __future__ import annotations

from collections.abc import Callable, Collection

from sonogloss.errors import InputError
from sonogloss.metrics.meteor import find_meteor, meteor_counts
from sonogloss.metrics.metric import Need, Scorer
from sonogloss.metrics.spice import find_spice, spice_scores


def find_scorers(
    needs: Collection[Need], *, sentence_model: str | None = None, fluency_model: str | None = None
) -> tuple[dict[Need, Scorer], dict[Need, InputError]]:
    """The scorers that are here, and why others are not.

    Args:
        needs: of metrics; those that no scorer answers are left out.
        sentence_model: directory or `hf:owner/name` of a sentence model, if there is one.
        fluency_model: checkpoint of a detector of fluency errors, if there is one.

    Raises:
        InputError: a model that was named cannot be loaded.
    """
    finders: dict[Need, Callable[[], Scorer]] = {"meteor": _meteor, "spice": _spice}
    found: dict[Need, Scorer] = {}
    lacking: dict[Need, InputError] = {}
    for need, finder in finders.items():
        if need in needs:
            try:
                found[need] = finder()
            except InputError as error:
                lacking[need] = error
    # A model that was named has to load; without a name the metric itself says which option it needs.
    if sentence_model is not None and "sentence_model" in needs:
        found["sentence_model"] = _sentences(sentence_model)
    if fluency_model is not None and "fluency_model" in needs:
        found["fluency_model"] = _fluency(fluency_model)
    return found, lacking


def _meteor() -> Scorer:
    find_meteor()
    return meteor_counts


def _spice() -> Scorer:
    find_spice()
    return spice_scores


def _sentences(name: str) -> Scorer:
    from sonogloss.metrics.sentences import load_sentence_model  # torch loads where it is needed

    return load_sentence_model(name).similarities


def _fluency(path: str) -> Scorer:
    from sonogloss.metrics.fluency import load_fluency_model

    return load_fluency_model(path).errors
