"""Sentences about a pair of sounds: the three published words, other words for the same order, and those of ZSTE.

A CLAP that is trained on "A before B" alone does not know "followed by".
"""

from __future__ import annotations

from collections.abc import Sequence

from sonogloss.temporal.clips import rank
from sonogloss.temporal.config import PairSettings
from sonogloss.temporal.sequences import PairGroup, Variant

BEFORE = ("{0} before {1}", "{0} followed by {1}", "{0} and then {1}", "{0}, then {1}", "first {0}, then {1}")
AFTER = ("{1} after {0}", "after {0}, {1}")
WHILE = ("{0} while {1}", "{0} as {1}", "{0} with {1}", "{0} and {1} at the same time", "{0} and {1} together")
LEADS = ("", "This is a sound of ", "this is a sound of ", "the sound of ")


def sentence(first: str, second: str, variant: Variant, relation: str = "before") -> str:
    """The published sentence for the classes of a group: `dog before rain`, `rain after dog`, `dog while rain`.

    Args:
        first: class of A.
        second: class of B.
        variant: of the group; in the reverse the classes change places.
        relation: `before` or `after`; an overlay always has `while`.
    """
    if variant == Variant.OVERLAY:
        return WHILE[0].format(first, second)
    if variant == Variant.REVERSE:
        first, second = second, first
    return (AFTER if relation == "after" else BEFORE)[0].format(first, second)


def group_sentence(group: PairGroup, variant: Variant, settings: PairSettings, salt: int = 0) -> str:
    """The sentence of a group's variant.

    The group's id decides which of the allowed relations it has. With varied wording the salt decides words and
    beginning.
    """
    relations = [name for name in ("before", "after") if name in settings.relations]
    relation = relations[rank("relation", group.id) % len(relations)]
    labels = (group.first.label, group.second.label)
    if settings.wording == "published":
        return sentence(*labels, variant, relation)
    ways = {"before": BEFORE, "after": AFTER}[relation]
    if variant == Variant.OVERLAY:
        ways = WHILE
    elif variant == Variant.REVERSE:
        labels = labels[::-1]
    way = ways[rank("way", group.id, variant, salt) % len(ways)]
    return LEADS[rank("lead", group.id, variant, salt) % len(LEADS)] + way.format(*labels)


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
