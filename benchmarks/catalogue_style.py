"""Another way to write captions: nominal, as catalogues of field recordings do.

`recording of dog barking (distant, low pitch); rain falling underneath` describes the scene of
`a deep dog barks in the distance while rain falls in the background`: the same phrases and traits, and almost none of
the words around them. Two styles over different classes make two domains.
"""

from __future__ import annotations

from sonogloss.soundscapes.captions import TRAIT_SHARE
from sonogloss.soundscapes.classes import CLASSES
from sonogloss.soundscapes.scenes import Event, Scene
from sonogloss.soundscapes.signal import Rng

QUALIFIERS = {
    "fast": "fast",
    "slow": "slow",
    "once": "single",
    "twice": "two times",
    "many": "repeated",
    "near": "close",
    "far": "distant",
    "high": "high pitch",
    "low": "low pitch",
}
TEMPLATES = {
    "one": ("{0}", "recording of {0}", "field recording, {0}", "sound effect: {0}"),
    "sequence": ("recording of {0}; next, {1}", "{0}; afterwards {1}", "sound effect: {0}; later {1}"),
    "overlap": ("recording of {0} plus {1}", "{0}; simultaneous {1}", "mixture: {0}; {1}"),
    "background": ("recording of {0}; {1} underneath", "{0}; ambience of {1}", "ambience: {1}; up front {0}"),
    "sequence of three": ("recording of {0}; next, {1}; lastly {2}", "{0}; afterwards {1}; lastly {2}"),
    "sequence over background": ("recording of {0}; next, {1}; {2} underneath", "ambience: {2}; {0}; afterwards {1}"),
}


def catalogue_caption(scene: Scene, rng: Rng) -> str:
    """One caption of a scene in the style of a catalogue; lower case, no final period, true to the timeline."""
    entries = [entry(event, rng) for event in scene.events]
    return str(rng.choice(TEMPLATES[scene.kind])).format(*entries)


def entry(event: Event, rng: Rng) -> str:
    """One event as a catalogue lists it: `dog barking (distant, low pitch)`."""
    phrases = [p for p in CLASSES[event.name].phrases if p.trait is None or p.trait in event.traits]
    phrase = phrases[rng.integers(len(phrases))]
    claimed = [QUALIFIERS[t] for t in sorted(event.traits) if t in QUALIFIERS and t != phrase.trait]
    claimed = [words for words in claimed if rng.random() < TRAIT_SHARE]
    name = f"{_bare(phrase.subject)} {phrase.gerund}".strip()
    return f"{name} ({', '.join(claimed)})" if claimed else name


def _bare(subject: str) -> str:
    """Without its article; of unnamed people nothing is left: `someone knocking` is listed as `knocking`."""
    if subject in ("someone", "a person"):
        return ""
    article, _, rest = subject.partition(" ")
    return rest if article in ("a", "an", "the") and not rest.startswith("few ") else subject
