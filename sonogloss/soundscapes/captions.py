"""Sentences for scenes: a small grammar in the style of people who caption audio, true to the timeline.

Lower case, no final period. A caption may claim traits (pitch, pace, count, distance) that the variant has, never
others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from sonogloss.soundscapes.classes import CLASSES, TRAITS, Phrase
from sonogloss.soundscapes.scenes import Event, Scene, sample_kind, sample_loudness, sample_names
from sonogloss.soundscapes.signal import Rng

ADVERBS = {
    "fast": ("quickly", "rapidly"),
    "slow": ("slowly",),
    "once": ("once",),
    "twice": ("twice",),
    "many": ("repeatedly", "several times", "again and again"),
    "near": ("loudly", "nearby", "close by"),
    "far": ("in the distance", "far away", "faintly"),
}
ADJECTIVES = {"high": ("high-pitched",), "low": ("deep", "low")}
TRAIT_SHARE = 0.45  # the probability that a caption claims a trait that an event has

FINITE = {
    "sequence": ("{0}, then {1}", "{0} and then {1}", "{0} before {1}", "first {0}, then {1}", "after {0}, {1}"),
    "overlap": ("{0} while {1}", "{0} as {1}", "{0} and {1} at the same time"),
    "background": (
        "{0} while {1} in the background",
        "{0} as {1} in the background",
        "in the background {1} while {0}",
    ),
    "sequence of three": ("{0}, then {1}, and then {2}", "{0}, {1}, and finally {2}", "first {0}, then {1}, then {2}"),
    "sequence over background": (
        "{0} and then {1} while {2} in the background",
        "as {2} in the background, {0}, then {1}",
    ),
}
GERUND = {
    "sequence": ("{0} followed by {1}", "{0} and then {1}", "{0} before {1}", "{1} after {0}"),
    "overlap": ("{0} with {1}", "{0} and {1} at once", "{0} over {1}", "{0} and {1} together"),
    "background": ("{0} with {1} in the background", "{1} behind {0}", "{0} over {1} in the background"),
    "sequence of three": ("{0} followed by {1} and then {2}", "{0}, then {1}, then {2}"),
    "sequence over background": ("{0} followed by {1} with {2} in the background", "{0}, then {1} over {2}"),
}
SINGLE = ("{0}", "{0}", "the sound of {0}", "there is {0}", "{0} can be heard")
PLURAL = frozenset(
    {
        "crickets",
        "insects",
        "birds",
        "people",
        "footsteps",
        "waves",
        "flames",
        "keys",
        "ducks",
        "frogs",
        "cattle",
        "gunshots",
        "shots",
        "chimes",
        "bells",
        "drums",
    }
)


Claims = tuple[frozenset[str], ...]
"""The traits that a caption claims of each event."""
Style = Callable[[Scene, Rng], str]
"""A way of writing captions: this module's :func:`caption`, or another one."""


def caption(scene: Scene, rng: Rng) -> str:
    """One caption of a scene, sampled from the grammar."""
    return caption_with_claims(scene, rng)[0]


def caption_with_claims(scene: Scene, rng: Rng) -> tuple[str, Claims]:
    """One caption of a scene, and the traits that it claims of each event."""
    finite = bool(rng.random() < (0.35 if scene.kind == "one" else 0.4))
    clauses, claims = zip(*(clause(event, rng, finite=finite) for event in scene.events), strict=True)
    if scene.kind == "one":
        templates: tuple[str, ...] = SINGLE[:1] if finite else SINGLE
    else:
        templates = (FINITE if finite else GERUND)[scene.kind]
    return str(rng.choice(templates)).format(*clauses), claims


def clause(event: Event, rng: Rng, *, finite: bool) -> tuple[str, frozenset[str]]:
    """One event in words, `a deep dog barks twice` (finite) or `a deep dog barking twice`, and the claimed traits."""
    phrases = [p for p in CLASSES[event.name].phrases if p.trait is None or p.trait in event.traits]
    phrase = phrases[rng.integers(len(phrases))]
    claimed = [t for t in sorted(event.traits) if t != phrase.trait and rng.random() < TRAIT_SHARE]
    adjective = next((t for t in claimed if t in ADJECTIVES and _takes_adjective(phrase.subject)), None)
    adverb = next((t for t in claimed if t in ADVERBS), None)
    words = [_with_adjective(phrase.subject, adjective, rng), _verb(phrase, rng, finite)]
    if adverb:
        words.append(str(rng.choice(ADVERBS[adverb])))
    return " ".join(words), frozenset(t for t in (phrase.trait, adjective, adverb) if t)


def _verb(phrase: Phrase, rng: Rng, finite: bool) -> str:
    if not finite:
        return phrase.gerund
    if rng.random() < 0.4 and not phrase.verb.startswith(("is ", "are ")):
        return ("are " if phrase.subject.split()[-1] in PLURAL else "is ") + phrase.gerund
    return phrase.verb


def _takes_adjective(subject: str) -> bool:
    """`a dog` takes one; `rain`, `a person` and subjects of several words do not."""
    article, _, noun = subject.partition(" ")
    return article in ("a", "an") and " " not in noun and noun != "person"


def _with_adjective(subject: str, trait: str | None, rng: Rng) -> str:
    """`a dog` and `low` give `a deep dog`."""
    return f"a {rng.choice(ADJECTIVES[trait])} {subject.partition(' ')[2]}" if trait else subject


def references(scene: Scene, n: int, seed: int = 0, style: Style = caption) -> list[str]:
    """`n` distinct captions of one scene, or fewer where many samples gave no more."""
    rng = np.random.default_rng([scene.seed, 3, seed])
    found: dict[str, None] = {}
    for _ in range(20 * n):
        found.setdefault(style(scene, rng))
        if len(found) == n:
            break
    return list(found)


def silent_scene(rng: Rng, classes: Sequence[str] = tuple(CLASSES)) -> Scene:
    """A scene without sound: traits are sampled from the groups in which its classes vary, nothing is rendered."""
    kind = sample_kind(rng)
    names = sample_names(rng, kind, tuple(classes))
    events = []
    for position, name in enumerate(names):
        _, distance = sample_loudness(rng, kind, position, len(names))
        traits = {TRAITS[group][rng.integers(len(TRAITS[group]))] for group in CLASSES[name].varies} | {distance}
        events.append(
            Event(name=name, start_s=0.0, end_s=0.0, gain_db=0.0, traits=frozenset(t for t in traits if t), seed=0)
        )
    return Scene(kind=kind, events=tuple(events), duration_s=0.0, seed=0)


def caption_dump(n: int, seed: int, classes: Sequence[str] = tuple(CLASSES), style: Style = caption) -> Iterator[str]:
    """`n` captions of as many scenes without sound: texts for training and for a datastore."""
    rng = np.random.default_rng([seed, 4])
    for _ in range(n):
        yield style(silent_scene(rng, classes), rng)
