"""Programs and models of others that metrics rest on: found where they are, named where they are not."""

from __future__ import annotations

from collections.abc import Callable, Collection

from sonogloss.errors import InputError
from sonogloss.metrics.meteor import find_meteor, meteor_counts
from sonogloss.metrics.metric import Need, Scorer
from sonogloss.metrics.spice import find_spice, spice_scores


def find_scorers(needs: Collection[Need]) -> tuple[dict[Need, Scorer], dict[Need, InputError]]:
    """The scorers that are here, and why others are not.

    Args:
        needs: of metrics; those that no scorer answers are left out.
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
    return found, lacking


def _meteor() -> Scorer:
    find_meteor()
    return meteor_counts


def _spice() -> Scorer:
    find_spice()
    return spice_scores
