import numpy as np

from benchmarks.catalogue_style import QUALIFIERS, catalogue_caption
from sonogloss.soundscapes import CLASSES, caption_dump, mentioned, references, sample_scene
from sonogloss.soundscapes.captions import silent_scene
from sonogloss.soundscapes.scenes import Event, Scene

PLAIN = Event(name="dog", start_s=0.0, end_s=1.0, gain_db=0.0, traits=frozenset(), seed=0)


def test_a_catalogue_names_exactly_the_events_of_its_scene() -> None:
    rng = np.random.default_rng(0)
    for _ in range(3000):
        silent = silent_scene(rng)
        text = catalogue_caption(silent, rng)
        assert mentioned(text) == frozenset(silent.names), text


def test_it_claims_only_traits_that_are_there() -> None:
    rng = np.random.default_rng(1)
    for _ in range(500):
        silent = silent_scene(rng)
        text = catalogue_caption(silent, rng)
        claimed = {word for part in text.split("(")[1:] for word in part.split(")")[0].split(", ")}
        assert claimed <= {QUALIFIERS[t] for e in silent.events for t in e.traits if t in QUALIFIERS}, text


def test_it_is_nominal_lower_case_and_unlike_the_sentences() -> None:
    sentences = {word for text in caption_dump(2000, 1) for word in text.replace(",", "").split()}
    for text in caption_dump(300, 5, style=catalogue_caption):
        assert text == text.lower().strip()
        assert not text.endswith(".")
        assert "  " not in text
        assert not set(text.split()) & {"while", "as", "then", "followed", "before", "after"}, text
    assert not {"recording", "underneath", "afterwards", "ambience"} & sentences


def test_the_order_of_entries_depends_on_the_kind_only() -> None:
    rng = np.random.default_rng(2)
    siren = Event(name="siren", start_s=1.0, end_s=2.0, gain_db=0.0, traits=frozenset(), seed=0)
    for _ in range(100):
        text = catalogue_caption(Scene(kind="sequence", events=(PLAIN, siren), duration_s=2.0, seed=0), rng)
        assert text.index("dog") < min(text.find(word) % 999 for word in ("siren", "police", "ambulance")), text


def test_unnamed_people_and_articles_are_left_out() -> None:
    texts = {catalogue_caption(sample, np.random.default_rng(i)) for i, sample in enumerate([_one("knock")] * 50)}
    assert any(text.endswith("knocking on a door") for text in texts)
    assert not any("someone" in text or "a person" in text for text in texts)


def test_references_and_dumps_take_a_style() -> None:
    scene = sample_scene(11, tuple(CLASSES)[:25])
    assert references(scene, 5, style=catalogue_caption) == references(scene, 5, style=catalogue_caption)
    assert not set(references(scene, 5, style=catalogue_caption)) & set(references(scene, 5))
    classes = tuple(CLASSES)[1::2]
    assert all(mentioned(t) <= set(classes) for t in caption_dump(200, 1, classes, catalogue_caption))


def _one(name: str) -> Scene:
    event = Event(name=name, start_s=0.0, end_s=1.0, gain_db=0.0, traits=frozenset(), seed=0)
    return Scene(kind="one", events=(event,), duration_s=1.0, seed=0)
