from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonogloss.soundscapes import CLASSES, RATE, render_scene, render_variant, sample_scene
from sonogloss.soundscapes.classes import AMBIENT, TRAITS
from sonogloss.soundscapes.scenes import KINDS, LONGEST_S


@pytest.mark.parametrize("name", list(CLASSES))
def test_every_class_sounds_and_claims_only_traits_it_varies_in(name: str) -> None:
    sound = CLASSES[name]
    samples, traits = render_variant(name, 5, sound.shortest)
    assert samples.dtype == np.float32
    assert len(samples) == round(sound.shortest * RATE)
    assert np.isfinite(samples).all()
    assert np.abs(samples).max() > 1e-3
    assert traits <= {trait for group in sound.varies for trait in TRAITS[group]}


def test_there_are_at_least_forty_classes_and_some_may_lie_under_others() -> None:
    assert len(CLASSES) >= 40
    assert 5 <= len(AMBIENT) < len(CLASSES)


@pytest.mark.parametrize("name", ["dog", "siren", "rain", "piano"])
def test_variants_of_a_class_differ_strongly(name: str) -> None:
    spectra = []
    for seed in range(4):
        samples, _ = render_variant(name, seed, 2.0)
        power = np.abs(np.fft.rfft(samples, 2 * RATE)) ** 2
        bands = np.add.reduceat(power, np.geomspace(40, len(power) - 1, 30).astype(int))
        spectra.append(10 * np.log10(bands + 1e-9))
    apart = [np.abs(a - b).mean() for i, a in enumerate(spectra) for b in spectra[:i]]
    assert min(apart) > 1.0  # decibels a band


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_a_scene_keeps_its_timeline(seed: int) -> None:
    scene = sample_scene(seed)
    assert scene == sample_scene(seed)
    assert scene.kind in KINDS
    assert 1 <= len(scene.events) <= 3
    assert len(set(scene.names)) == len(scene.events)
    assert scene.duration_s <= LONGEST_S + 0.5
    for event in scene.events:
        assert 0 <= event.start_s < event.end_s <= scene.duration_s + 1e-6
    if scene.kind.startswith("sequence"):
        row = scene.events[:-1] if scene.kind.endswith("background") else scene.events
        for before, after in pairwise(row):
            assert before.end_s <= after.start_s
    if scene.kind.endswith("background"):
        assert scene.events[-1].name in AMBIENT


def test_sound_lies_where_the_timeline_says() -> None:
    scene = next(s for s in map(sample_scene, range(500)) if s.kind == "sequence" and "far" not in s.events[0].traits)
    samples = render_scene(scene)
    first = scene.events[0]
    inside = samples[round(first.start_s * RATE) : round(first.end_s * RATE)]
    gap = samples[round(first.end_s * RATE) : round(scene.events[1].start_s * RATE)]
    assert np.square(inside).mean() > 20 * np.square(gap).mean()


def test_a_render_is_deterministic_bounded_and_as_long_as_its_scene() -> None:
    for seed in (3, 4):
        scene = sample_scene(seed)
        samples = render_scene(scene)
        assert np.array_equal(samples, render_scene(scene))
        assert samples.dtype == np.float32
        assert np.abs(samples).max() <= 1.0
        assert abs(len(samples) / RATE - scene.duration_s) < 1e-3
    assert not np.array_equal(render_scene(sample_scene(3))[:1000], render_scene(sample_scene(4))[:1000])


def test_a_vocabulary_can_be_narrowed_to_a_domain() -> None:
    domain = ("dog", "cat", "rain", "birds")
    for seed in range(30):
        assert set(sample_scene(seed, domain).names) <= set(domain)
