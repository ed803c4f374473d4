"""What one says of a pair of sounds: the published three words, or the ways in which people tell an order.

A CLAP that is taught by "A before B" alone has learnt that word, and not what "followed by" is.
"""

from __future__ import annotations

from sonogloss.temporal.clips import rank
from sonogloss.temporal.config import PairSettings
from sonogloss.temporal.sequences import PairGroup, Variant

BEFORE = ("{0} before {1}", "{0} followed by {1}", "{0} and then {1}", "{0}, then {1}", "first {0}, then {1}")
AFTER = ("{1} after {0}", "after {0}, {1}")
WHILE = ("{0} while {1}", "{0} as {1}", "{0} with {1}", "{0} and {1} at the same time", "{0} and {1} together")
LEADS = ("", "This is a sound of ", "this is a sound of ", "the sound of ")


def sentence(first: str, second: str, variant: Variant, relation: str = "before") -> str:
    """What is said of two classes, A and B of a group: `dog before rain`, `rain after dog`, `dog while rain`.

    Args:
        first: class of A.
        second: class of B.
        variant: how they are heard; for the reverse the classes change places.
        relation: `before` or `after`; of an overlay it is always `while`.
    """
    if variant == Variant.OVERLAY:
        return WHILE[0].format(first, second)
    if variant == Variant.REVERSE:
        first, second = second, first
    return (AFTER if relation == "after" else BEFORE)[0].format(first, second)


def group_sentence(group: PairGroup, variant: Variant, settings: PairSettings, salt: int = 0) -> str:
    """The sentence of a group's variant.

    Which relation, of those allowed, the group's id decides. With varied wording another salt gives another of the ways
    to say it, and another beginning.
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
