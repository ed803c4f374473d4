"""The vocabulary of sounds: fifty everyday classes, how each is rendered, how people name it, and how a caption is recognised.

A phrase is `subject|verb|gerund`, optionally after `trait:` when it may only be said of variants with that trait. `mention` is
a regular expression that finds the class in a caption: every phrase of a class matches its own and no other.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from sonogloss.soundscapes import living, signals, things
from sonogloss.soundscapes.living import Variant
from sonogloss.soundscapes.signal import Rng


@dataclass(frozen=True, kw_only=True)
class Phrase:
    """One way to say that a sound happens; `trait` is None or what a variant must have for it to be true."""

    subject: str
    verb: str
    gerund: str
    trait: str | None


@dataclass(frozen=True, kw_only=True)
class SoundClass:
    """One kind of sound.

    `label` is its plain name; an event of it lasts between `shortest` and `longest` seconds; `ambient` sounds may lie under others;
    `varies` names the groups of :data:`TRAITS` in which its variants differ.
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


TRAITS: dict[str, tuple[str | None, ...]] = {
    "pitch": ("high", "low", None),
    "pace": ("fast", "slow", None),
    "count": ("once", "twice", "many", "many"),
    "size": ("big", "small", None),
    "gear": ("idling", "revving"),
}


def _phrase(text: str) -> Phrase:
    trait, _, rest = text.rpartition(":")
    subject, verb, gerund = rest.split("|")
    return Phrase(subject=subject, verb=verb, gerund=gerund, trait=trait or None)


def _sound(render: Callable[[Rng, float], Variant], label: str, lasts: tuple[float, float], varies: str, mention: str, *phrases: str, ambient: bool = False) -> SoundClass:
    return SoundClass(
        name=render.__name__,
        label=label,
        render=render,
        shortest=lasts[0],
        longest=lasts[1],
        ambient=ambient,
        varies=tuple(varies.split()),
        phrases=tuple(_phrase(text) for text in phrases),
        mention=re.compile(rf"\b(?:{mention})\b"),
    )


_ALL = (
    _sound(living.dog, "dog barking", (1.2, 4), "pitch pace count", "dogs?|puppy", "a dog|barks|barking", "a dog|woofs|woofing", "high:a small dog|yaps|yapping", "high:a puppy|barks|barking", "low:a big dog|barks|barking"),
    _sound(living.rooster, "rooster crowing", (1.8, 4.5), "pitch count", "rooster|cockerel", "a rooster|crows|crowing", "a cockerel|crows|crowing", "a rooster|calls|calling"),
    _sound(living.cat, "cat meowing", (1.2, 4), "pitch count", "cat|kitten", "a cat|meows|meowing", "a cat|mews|mewing", "high:a kitten|meows|meowing"),
    _sound(living.cow, "cow mooing", (1.6, 4.5), "pitch count", "cow|cattle", "a cow|moos|mooing", "a cow|bellows|bellowing", "many:cattle|moo|mooing"),
    _sound(living.sheep, "sheep bleating", (1.2, 4), "pitch count", "sheep|lamb", "a sheep|bleats|bleating", "a sheep|baas|baaing", "high:a lamb|bleats|bleating"),
    _sound(living.duck, "duck quacking", (1.0, 4), "pace count", "ducks?", "a duck|quacks|quacking", "many:ducks|quack|quacking"),
    _sound(living.owl, "owl hooting", (1.6, 4.5), "count", "owl", "an owl|hoots|hooting", "an owl|calls|calling"),
    _sound(living.frog, "frog croaking", (1.2, 4.5), "pitch pace count", "frogs?|toad", "a frog|croaks|croaking", "many:frogs|croak|croaking", "low:a toad|croaks|croaking"),
    _sound(living.crickets, "crickets chirping", (2, 10), "pace", "crickets|insects", "crickets|chirp|chirping", "insects|chirp|chirping", "crickets|sing|singing", ambient=True),
    _sound(living.birds, "birds singing", (1.6, 10), "pitch pace", "birds?", "birds|sing|singing", "birds|chirp|chirping", "a bird|tweets|tweeting", "slow:a bird|chirps|chirping", ambient=True),
    _sound(living.bee, "bee buzzing", (1.6, 6), "pitch", "bee|fly|wasp", "a bee|buzzes|buzzing", "high:a fly|buzzes|buzzing", "low:a wasp|hums|humming", ambient=True),
    _sound(living.baby, "baby crying", (1.8, 5), "pitch count", "baby|infant", "a baby|cries|crying", "an infant|cries|crying", "a baby|wails|wailing"),
    _sound(living.sneeze, "person sneezing", (1.0, 3.5), "count", r"sneez\w+", "a person|sneezes|sneezing", "someone|sneezes|sneezing", "a person|is sneezing|sneezing"),
    _sound(living.snore, "person snoring", (2.2, 6), "pitch count", r"snor\w+", "a person|snores|snoring", "someone|snores|snoring", "low:a sleeper|snores|snoring"),
    _sound(living.laugh, "person laughing", (1.2, 4), "pitch", r"laugh\w*|giggl\w+|chuckl\w+", "a person|laughs|laughing", "someone|laughs|laughing", "high:a child|giggles|giggling", "low:a person|chuckles|chuckling"),
    _sound(living.man, "man speaking", (1.5, 5), "pace", "man|male", "a man|speaks|speaking", "a man|talks|talking", "a male voice|speaks|speaking"),
    _sound(living.woman, "woman speaking", (1.5, 5), "pace", "woman|female", "a woman|speaks|speaking", "a woman|talks|talking", "a female voice|speaks|speaking"),
    _sound(living.applause, "crowd applauding", (2, 6), "size", "crowd|audience|people", "a crowd|applauds|applauding", "people|clap|clapping", "an audience|claps|clapping", "big:a large crowd|applauds|applauding", "small:a few people|clap|clapping"),
    _sound(living.footsteps, "footsteps", (1.6, 6), "pace", r"footsteps|walk\w*|steps", "footsteps|sound|sounding", "someone|walks|walking", "footsteps|approach|approaching", "fast:hurried footsteps|sound|sounding"),
    _sound(things.rain, "rain falling", (2.5, 10), "size", r"rain\w*|drizzle|downpour", "rain|falls|falling", "rain|patters|pattering", "big:heavy rain|pours down|pouring down", "small:light rain|falls|falling", ambient=True),
    _sound(things.sea, "sea waves", (4, 10), "pace", "waves|surf|sea", "waves|crash|crashing", "sea waves|roll in|rolling in", "the surf|breaks|breaking", ambient=True),
    _sound(things.fire, "crackling fire", (2.5, 10), "size", "fire|flames", "a fire|crackles|crackling", "a fire|burns|burning", "flames|crackle|crackling", "big:a big fire|roars|roaring", ambient=True),
    _sound(things.wind, "wind blowing", (2.5, 10), "pitch", "winds?|gale|breeze", "wind|blows|blowing", "the wind|howls|howling", "low:a gale|blows|blowing", ambient=True),
    _sound(things.thunder, "thunder rumbling", (2.2, 6), "count", "thunder", "thunder|rumbles|rumbling", "thunder|rolls|rolling", "thunder|cracks|cracking"),
    _sound(things.drip, "water dripping", (1.2, 6), "pace count", r"drip\w*|drops?", "water|drips|dripping", "a tap|drips|dripping", "water drops|fall|falling"),
    _sound(things.pouring, "water being poured", (1.8, 5), "", r"poured|liquid|glass is filled|filling a cup|fills a cup", "water|is poured|being poured", "liquid|flows|flowing", "water|fills a cup|filling a cup"),
    _sound(things.glass, "glass shattering", (1.0, 3.5), "count", "glass|window", "glass|shatters|shattering", "glass|breaks|breaking", "a window|smashes|smashing"),
    _sound(things.knock, "knocking on a door", (1.2, 4), "pitch pace", r"knock\w*|raps|rapping", "someone|knocks on a door|knocking on a door", "a person|knocks|knocking", "someone|raps on wood|rapping on wood"),
    _sound(things.typing, "keyboard typing", (1.6, 6), "pace", r"typ(?:es|ing)|keyboard|keys", "someone|types|typing", "a person|types on a keyboard|typing on a keyboard", "keys|click|clicking"),
    _sound(things.clock, "clock ticking", (2, 8), "pace", "clock|watch", "a clock|ticks|ticking", "a watch|ticks|ticking", "slow:a big clock|ticks|ticking", ambient=True),
    _sound(things.hammer, "hammering", (1.2, 4.5), "pace count", r"hammer\w*|nails?", "someone|hammers|hammering", "a hammer|strikes metal|striking metal", "a hammer|bangs|banging", "many:someone|drives in nails|driving in nails"),
    _sound(things.creak, "door creaking", (1.2, 4), "pitch count", r"creak\w*|hinge\w*|squeak\w*", "a door|creaks|creaking", "a door|squeaks|squeaking", "a hinge|squeaks|squeaking"),
    _sound(things.helicopter, "helicopter", (2.5, 8), "pace", "helicopter|chopper|rotor", "a helicopter|flies|flying", "a helicopter|hovers|hovering", "a chopper|flies over|flying over", "helicopter rotor blades|spin|spinning", ambient=True),
    _sound(things.chainsaw, "chainsaw", (2, 6), "pitch", "chainsaw|chain saw", "a chainsaw|runs|running", "a chainsaw|cuts wood|cutting wood", "a chain saw|buzzes|buzzing"),
    _sound(things.engine, "engine running", (2, 8), "gear", "engine|motor", "an engine|runs|running", "a motor|runs|running", "idling:an engine|idles|idling", "revving:an engine|revs|revving", ambient=True),
    _sound(things.drill, "electric drill", (1.5, 4.5), "pitch", r"drill\w*", "a drill|whirs|whirring", "someone|drills|drilling", "an electric drill|runs|running"),
    _sound(things.gunshot, "gunshot", (0.9, 3.5), "pace count", r"guns?|gunshots?|shots", "a gun|fires|firing", "once:a gunshot|rings out|ringing out", "many:gunshots|ring out|ringing out", "fast:shots|are fired|being fired"),
    _sound(signals.siren, "siren wailing", (2.2, 7), "pace", "siren|ambulance|police", "a siren|wails|wailing", "a siren|sounds|sounding", "fast:a police car|speeds by|speeding by", "slow:an ambulance|passes|passing"),
    _sound(signals.car_horn, "car horn honking", (1.0, 3.5), "count", r"car horn|honk\w*", "a car horn|honks|honking", "a car|honks|honking", "a car horn|beeps|beeping"),
    _sound(signals.train_horn, "train horn", (1.6, 4.5), "count", "train", "a train horn|blows|blowing", "a train|blows its horn|blowing its horn", "a train horn|blasts|blasting"),
    _sound(signals.bell, "bell ringing", (1.8, 5.5), "pitch pace count", "bells?", "a bell|rings|ringing", "a bell|tolls|tolling", "a church bell|rings|ringing", "fast:bells|ring|ringing"),
    _sound(signals.telephone, "telephone ringing", (1.4, 4.5), "pitch count", "telephone|phone", "a telephone|rings|ringing", "a phone|rings|ringing"),
    _sound(signals.beeps, "alarm beeping", (1.4, 4.5), "pitch pace", "alarm|device|machine", "an alarm|beeps|beeping", "a device|beeps|beeping", "a machine|bleeps|bleeping"),
    _sound(signals.whistle, "person whistling", (1.6, 4.5), "pitch", r"whistl\w+", "a person|whistles|whistling", "someone|whistles a tune|whistling a tune"),
    _sound(signals.piano, "piano music", (2, 6), "pitch pace", "piano|pianist", "a piano|plays|playing", "someone|plays the piano|playing the piano", "a pianist|plays|playing", ambient=True),
    _sound(signals.guitar, "guitar strumming", (2, 6), "pace", r"guitar\w*", "a guitar|plays|playing", "someone|plucks a guitar|plucking a guitar", "a guitar|is strummed|being strummed", ambient=True),
    _sound(signals.drums, "drum beat", (1.8, 6), "pace", r"drum\w*", "drums|play|playing", "someone|plays the drums|playing the drums", "a drummer|plays a beat|playing a beat", ambient=True),
    _sound(signals.violin, "violin playing", (1.8, 6), "pitch", "violin|violinist|fiddle", "a violin|plays|playing", "a violinist|plays|playing", "a fiddle|plays a melody|playing a melody"),
    _sound(signals.music_box, "music box", (2, 6), "pace", "music box|chimes|tinkl\\w+", "a music box|plays|playing", "chimes|tinkle|tinkling", "a music box|tinkles|tinkling"),
    _sound(signals.ball, "ball bouncing", (1.6, 4.5), "pitch", r"ball|bounc\w+", "a ball|bounces|bouncing", "a ball|is dribbled|being dribbled"),
)

CLASSES: dict[str, SoundClass] = {sound.name: sound for sound in _ALL}
AMBIENT: tuple[str, ...] = tuple(sound.name for sound in _ALL if sound.ambient)


def mentioned(caption: str) -> frozenset[str]:
    """Names of the classes that a caption speaks of."""
    text = caption.lower()
    return frozenset(name for name, sound in CLASSES.items() if sound.mention.search(text))
