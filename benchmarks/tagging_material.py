"""What the tagging benchmark hears and reads: rendered events and scenes, recordings, captions, other label lists."""

from __future__ import annotations

import csv
import gzip
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sonogloss.audio import Cutting, WindowPolicy, cut_clips
from sonogloss.methods.labels import read_labels
from sonogloss.records import FloatArray
from sonogloss.soundscapes import CLASSES, RATE, render_scene, render_variant, sample_scene

EVENT_SEED = 4_000_000
SCENE_SEED = 4_500_000
REAL_DUMPS = {"audiocaps_train": "caption", "clotho_train": "captions", "bbc_sound_effects": "description"}
FOLDERS = {"esc10": "esc", "esc50": "esc", "urbansound8k": "urbansound8k", "audioset10": "esc", "audioset50": "esc"}
_GERMAN = """
Hundegebell, Hahnenschrei, Katzenmiauen, Kuhmuhen, Schafblöken, Entenquaken, Eulenruf, Froschquaken,
Grillenzirpen, Vogelgesang, Bienensummen, Babygeschrei, Niesen, Schnarchen, Lachen, sprechender Mann, sprechende
Frau, Applaus, Schritte, Regen, Meereswellen, Feuerknistern, Wind, Donnergrollen, Wassertropfen, Wassergießen,
splitterndes Glas, Türklopfen, Tippen auf einer Tastatur, Uhrticken, Hämmern, Türknarren, Hubschrauber,
Kettensäge, laufender Motor, Bohrmaschine, Schuss, Sirene, Autohupe, Zughupe, Glockenläuten, Telefonklingeln,
Wecker, Pfeifen, Klaviermusik, Gitarrenspiel, Trommel, Geige, Spieluhr, springender Ball
"""
GERMAN = tuple(" ".join(_GERMAN.split()).split(", "))
"""Names of the synthetic classes, in their order."""
AUDIOSET = {
    "dog": "Dog;Bark",
    "rooster": "Chicken, rooster;Crowing, cock-a-doodle-doo",
    "pig": "Pig;Oink",
    "cow": "Cattle, bovinae;Moo",
    "frog": "Frog;Croak",
    "cat": "Cat;Meow;Purr",
    "hen": "Chicken, rooster;Cluck",
    "insects": "Insect;Fly, housefly;Buzz",
    "sheep": "Sheep;Bleat",
    "crow": "Crow;Caw",
    "rain": "Rain;Raindrop;Rain on surface",
    "sea_waves": "Waves, surf;Ocean",
    "crackling_fire": "Fire;Crackle",
    "crickets": "Cricket",
    "chirping_birds": "Bird;Bird vocalization, bird call, bird song;Chirp, tweet",
    "water_drops": "Drip",
    "wind": "Wind",
    "pouring_water": "Pour",
    "toilet_flush": "Toilet flush",
    "thunderstorm": "Thunderstorm;Thunder",
    "crying_baby": "Baby cry, infant cry",
    "sneezing": "Sneeze",
    "clapping": "Clapping;Applause",
    "breathing": "Breathing",
    "coughing": "Cough",
    "footsteps": "Walk, footsteps",
    "laughing": "Laughter",
    "brushing_teeth": "Toothbrush",
    "snoring": "Snoring",
    "door_wood_knock": "Knock",
    "mouse_click": "Clicking",
    "keyboard_typing": "Typing;Computer keyboard",
    "door_wood_creaks": "Creak;Squeak",
    "vacuum_cleaner": "Vacuum cleaner",
    "clock_alarm": "Alarm clock",
    "clock_tick": "Tick-tock;Tick;Clock",
    "glass_breaking": "Shatter;Glass",
    "helicopter": "Helicopter",
    "chainsaw": "Chainsaw",
    "siren": "Siren",
    "car_horn": "Vehicle horn, car horn, honking",
    "engine": "Engine",
    "train": "Train",
    "church_bells": "Church bell",
    "airplane": "Fixed-wing aircraft, airplane;Aircraft",
    "fireworks": "Fireworks",
    "hand_saw": "Sawing",
}
"""AudioSet's labels that are right for a class of ESC-50; the three other classes have none."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Material:
    """Labels, sounds, and which labels are true of each sound."""

    labels: tuple[str, ...]
    sounds: list[FloatArray]
    truth: list[list[bool]]


def recordings(data: Path, name: str, rate: int) -> Material:
    """The clips of a set of recordings; those of AudioSet's names are ESC-10's and ESC-50's."""
    folder = data / "audio" / FOLDERS[name]
    with open(folder / "metadata.csv", newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    if FOLDERS[name] == "esc":
        rows = [row for row in rows if row["fold"] == "4" and (name.endswith("50") or row["esc10"] == "True")]
    if name.startswith("audioset"):
        rows = [row for row in rows if row["class"] in AUDIOSET]
        with open(data / "labels" / "audioset_class_labels_indices.csv", newline="", encoding="utf-8") as handle:
            labels = tuple(row["display_name"] for row in csv.DictReader(handle))
        right = [set(AUDIOSET[row["class"]].split(";")) for row in rows]
    else:
        labels = tuple(sorted({row["class"] for row in rows}))
        right = [{row["class"]} for row in rows]
    sounds = []
    for row in rows:
        cutting = Cutting(uri=row["filename"], policy=WindowPolicy(), sample_rate=rate)
        sounds.append(next(iter(cut_clips((folder / row["filename"]).read_bytes(), cutting))).samples)
    return Material(labels=labels, sounds=sounds, truth=[[label in some for label in labels] for some in right])


def rendered_events(per_class: int) -> Material:
    """Single sounds of every synthetic class."""
    rng = np.random.default_rng(EVENT_SEED)
    sounds, names = [], []
    for number in range(per_class * len(CLASSES)):
        sound = list(CLASSES.values())[number % len(CLASSES)]
        seconds = float(rng.uniform(sound.shortest, sound.longest))
        sounds.append(render_variant(sound.name, EVENT_SEED + number, seconds)[0])
        names.append({sound.name})
    return _rendered(sounds, names)


def rendered_scenes(count: int) -> Material:
    """Scenes of one to three sounds."""
    scenes = [sample_scene(SCENE_SEED + number) for number in range(count)]
    return _rendered([render_scene(s) for s in scenes], [set(s.names) for s in scenes])


def _rendered(sounds: list[FloatArray], names: list[set[str]]) -> Material:
    cut = [sound[: 10 * RATE].astype(np.float32) for sound in sounds]
    truth = [[label in true for label in CLASSES] for true in names]
    return Material(labels=read_labels("pocket"), sounds=cut, truth=truth)


def real_captions(folder: Path) -> list[str]:
    """All captions of the dumps, each on one line."""
    texts: list[str] = []
    for name, column in REAL_DUMPS.items():
        with gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as handle:
            for line in handle:
                value = json.loads(line)[column]
                texts += [value] if isinstance(value, str) else value
    return [" ".join(text.split()) for text in texts if text and text.strip()]
