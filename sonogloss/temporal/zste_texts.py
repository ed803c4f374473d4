"""The sentences of ZSTE, worded as released; see :mod:`~sonogloss.temporal.zste` for the tasks."""

from __future__ import annotations

from collections.abc import Sequence

from sonogloss.temporal.clips import rank
from sonogloss.temporal.sentences import sentence
from sonogloss.temporal.sequences import PairGroup, Variant

SINGLE = "this is a sound of {}"
ORDER = "This is a sound of {}"
FIRST = "In this concatenated sound, the first sound is {}"
SECOND = "In this concatenated sound, the second sound is {}"
TASK_4_TEXTS = 50
TASK_4_OTHERS = 5


def order_texts(group: PairGroup) -> list[str]:
    """The sentences of task 3, in the order of the variants."""
    return [ORDER.format(sentence(group.first.label, group.second.label, variant)) for variant in Variant]


def task_4_texts(group: PairGroup, labels: Sequence[str]) -> list[str]:
    """The distinct sentences of task 4, the true one first and its overlay second.

    The five other classes and the rest of the fifty sentences are those of the lowest hash with the group's id. (The
    released script enumerates 143,833,536 strings an item for fifty classes, repeats sentences, and overwrites the true
    one in 2 % of the draws.)
    """
    own = (group.first.label, group.second.label)
    others = sorted((label for label in labels if label not in own), key=lambda name: rank("other", group.id, name))
    classes = (*own, *others[:TASK_4_OTHERS])
    forced = [ORDER.format(sentence(*own, variant)) for variant in (Variant.FORWARD, Variant.OVERLAY)]
    candidates = [
        ORDER.format(sentence(a, b, variant))
        for a in classes
        for b in classes
        if a != b
        for variant in (Variant.FORWARD, Variant.OVERLAY)
    ]
    rest = sorted(set(candidates) - set(forced), key=lambda text: rank("text", group.id, text))
    return [*forced, *rest[: TASK_4_TEXTS - len(forced)]]


def retrieval_text(group: PairGroup, variant: Variant) -> str:
    """The true sentence of a variant in retrieval; overlays of the same two classes share one."""
    first, second = group.first.label, group.second.label
    if variant == Variant.OVERLAY:
        first, second = sorted((first, second))
    return sentence(first, second, variant)
