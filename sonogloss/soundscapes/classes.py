"""The fifty everyday classes: renderer, duration, phrases, and the words that name each in a caption."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files as package_files
from itertools import takewhile

from sonogloss.soundscapes import living, signals, things
from sonogloss.soundscapes.living import Variant
from sonogloss.soundscapes.signal import Rng

TRAITS: dict[str, tuple[str | None, ...]] = {
    "pitch": ("high", "low", None),
    "pace": ("fast", "slow", None),
    "count": ("once", "twice", "many", "many"),
    "size": ("big", "small", None),
    "gear": ("idling", "revving"),
}
"""Groups of traits, and what a variant may have of each."""


@dataclass(frozen=True, kw_only=True)
class Phrase:
    """One way to describe a sound; `trait` is None or the trait of the variants of which it is true."""

    subject: str
    verb: str
    gerund: str
    trait: str | None


@dataclass(frozen=True, kw_only=True)
class SoundClass:
    """One kind of sound.

    `label` is its plain name; an event of it lasts between `shortest` and `longest` seconds; `ambient` sounds may lie
    under others; `varies` names the groups of :data:`TRAITS` in which its variants differ.
    """

    name: str
    label: str
    render: Callable[[Rng, float], Variant]
    shortest: float
    longest: float
    ambient: bool
    varies: tuple[str, ...]
    phrases: tuple[Phrase, ...]
    mention: re.Pattern[str]


def read_vocabulary(table: str) -> Iterator[SoundClass]:
    """The classes of a table; the head of `vocabulary.txt` describes its format."""
    lines = [line for line in table.splitlines() if line.strip() and not line.startswith("#")]
    for number, line in enumerate(lines):
        if line.startswith(" "):
            continue
        name, label, lasts, place, varies, mention = (field.strip() for field in line.split(";"))
        shortest, longest = (float(seconds) for seconds in lasts.split(" to "))
        phrases = takewhile(lambda text: text.startswith(" "), lines[number + 1 :])
        yield SoundClass(
            name=name,
            label=label,
            render=_renderer(name),
            shortest=shortest,
            longest=longest,
            ambient=place == "ambient",
            varies=() if varies == "-" else tuple(varies.split()),
            phrases=tuple(_phrase(text) for text in phrases),
            mention=re.compile(rf"\b(?:{mention})\b"),
        )


def _phrase(text: str) -> Phrase:
    trait, _, rest = text.rpartition(":")
    subject, verb, gerund = (part.strip() for part in rest.split("/"))
    return Phrase(subject=subject, verb=verb, gerund=gerund, trait=trait.strip() or None)


def _renderer(name: str) -> Callable[[Rng, float], Variant]:
    module = next(module for module in (living, things, signals) if hasattr(module, name))
    renderer: Callable[[Rng, float], Variant] = getattr(module, name)
    return renderer


_VOCABULARY = (package_files("sonogloss.soundscapes") / "vocabulary.txt").read_text(encoding="utf-8")
CLASSES: dict[str, SoundClass] = {sound.name: sound for sound in read_vocabulary(_VOCABULARY)}
AMBIENT: tuple[str, ...] = tuple(sound.name for sound in CLASSES.values() if sound.ambient)


def mentioned(caption: str) -> frozenset[str]:
    """Names of the classes that a caption mentions."""
    text = caption.lower()
    return frozenset(name for name, sound in CLASSES.items() if sound.mention.search(text))
