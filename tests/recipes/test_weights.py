"""What is shipped: present, small, whole, and about as good as its cards say."""

import csv
from pathlib import Path

import numpy as np
import pytest
from transformers import ClapModel

import sonogloss.pocket
from recipes.event_scores import event_f1
from recipes.pocket.recipe import REAL_CLASSES
from sonogloss.bridge import project
from sonogloss.clap import Clap, load_clap
from sonogloss.methods import load_captioner, verify_captioner
from sonogloss.records import FloatArray
from sonogloss.soundscapes import CLASSES, RATE, Scene, caption_dump, render_scene, render_variant, sample_scene

WEIGHTS = Path(sonogloss.pocket.__file__).parent / "weights"
SEED = 4_000_000


@pytest.fixture(scope="module")
def clap() -> Clap:
    return load_clap("pocket")


def test_the_models_are_small_whole_and_belong_together(clap: Clap) -> None:
    files = [path for path in WEIGHTS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 38_000_000
    assert not [path for path in files if path.suffix in (".bin", ".pt", ".pkl")]
    for folder, name in (("drcap", "pocket"), ("soft-hard", "pocket:soft-hard"), ("zeraucap", "pocket:zeraucap")):
        assert verify_captioner(str(WEIGHTS / folder)) == []
        captioner = load_captioner(name)
        assert captioner.clap.fingerprint == clap.fingerprint
        assert captioner.clap.dim == clap.dim


def test_the_clap_is_an_ordinary_transformers_directory() -> None:
    model = ClapModel.from_pretrained(WEIGHTS / "clap")
    assert model.config.projection_dim == 256


def test_cards_state_data_licence_and_scores() -> None:
    for name in ("clap", "clap-ordered", "drcap", "soft-hard", "zeraucap"):
        card = (WEIGHTS / name / "README.md").read_text()
        assert "Apache-2.0" in card
        assert "held-out synthetic scenes" in card
        assert "{" not in card
    with open(WEIGHTS / "clap" / "ATTRIBUTION.csv", newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == 240
    assert {row["class"] for row in rows} == set(REAL_CLASSES)
    assert {row["fold"] for row in rows} == {"1", "2", "3"}
    assert all(row["author"] and row["source_url"] for row in rows)


def test_single_events_are_recognised(clap: Clap) -> None:
    events = [render_variant(name, SEED + i, sound.shortest)[0] for i, (name, sound) in enumerate(CLASSES.items())]
    labels = clap.embed_text([sound.label for sound in CLASSES.values()])
    right = (clap.embed_audio(events) @ labels.T).argmax(1) == np.arange(len(CLASSES))
    assert right.mean() >= 0.8  # chance is 0.02


def test_the_ordered_clap_hears_which_of_two_sounds_came_first(clap: Clap) -> None:
    ordered = load_clap("pocket:ordered")
    assert ordered.fingerprint != clap.fingerprint
    rng, right = np.random.default_rng(SEED), 0
    for number in range(40):
        one, two = (str(name) for name in rng.choice(list(CLASSES), 2, replace=False))
        sound = np.concatenate([render_variant(name, SEED + 100 + 2 * number, 3.0)[0] for name in (one, two)])
        labels = CLASSES[one].label, CLASSES[two].label
        texts = ordered.embed_text([f"{labels[0]} followed by {labels[1]}", f"{labels[1]} followed by {labels[0]}"])
        true, false = texts @ ordered.embed_audio([sound])[0]
        right += int(true > false)
    assert right >= 28  # chance is 20


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [sample_scene(SEED + number) for number in range(24)]


@pytest.fixture(scope="module")
def audio(clap: Clap, scenes: list[Scene]) -> FloatArray:
    return clap.embed_audio([render_scene(scene)[: 10 * RATE] for scene in scenes])


def test_drcap_says_what_sounds(clap: Clap, scenes: list[Scene], audio: FloatArray) -> None:
    captioner = load_captioner("pocket")
    texts = list(dict.fromkeys(caption_dump(2000, 9)))
    support, settings = clap.embed_text(texts), captioner.projection
    assert settings is not None
    projected = project(audio, support, temperature=settings.tau, renormalise=settings.renormalise)
    contexts = [[texts[i] for i in row] for row in np.argsort(-(audio @ support.T), axis=1)[:, : captioner.contexts]]
    captions = captioner.caption(projected, contexts)
    assert event_f1(captions, [scene.names for scene in scenes]) >= 0.45  # guessing scores about 0.05


def test_soft_and_hard_prompts_say_what_sounds(scenes: list[Scene], audio: FloatArray) -> None:
    captions = load_captioner("pocket:soft-hard").caption(audio, [()] * len(audio))
    assert event_f1(captions, [scene.names for scene in scenes]) >= 0.45


def test_zeraucap_says_what_sounds_with_guidance_and_by_keywords_alone(scenes: list[Scene], audio: FloatArray) -> None:
    for fast in (False, True):
        captions = load_captioner("pocket:zeraucap", fast=fast).caption(audio, [()] * len(audio))
        assert event_f1(captions, [scene.names for scene in scenes]) >= 0.2
