import numpy as np

from recipes.event_scores import event_counts, event_f1
from sonogloss.soundscapes import CLASSES, caption_dump, mentioned, references, sample_scene
from sonogloss.soundscapes.captions import ADVERBS, caption, caption_with_claims, silent_scene
from sonogloss.soundscapes.scenes import Event, Scene


def scene(kind: str, *names: str, traits: frozenset[str] = frozenset()) -> Scene:
    events = tuple(Event(name=n, start_s=0.0, end_s=1.0, gain_db=0.0, traits=traits, seed=0) for n in names)
    return Scene(kind=kind, events=events, duration_s=1.0, seed=0)


def test_a_caption_names_exactly_the_events_of_its_scene() -> None:
    rng = np.random.default_rng(0)
    for _ in range(3000):
        silent = silent_scene(rng)
        text = caption(silent, rng)
        assert mentioned(text) == frozenset(silent.names), text


def test_a_caption_claims_only_traits_that_are_there() -> None:
    rng = np.random.default_rng(1)
    for _ in range(500):
        silent = silent_scene(rng)
        text, claims = caption_with_claims(silent, rng)
        for event, claimed in zip(silent.events, claims, strict=True):
            assert claimed <= event.traits
        plain = text.replace(" at once", "") + " "  # together, not one time
        for trait, words in ADVERBS.items():
            if not any(trait in claimed for claimed in claims):
                assert not any(f" {word} " in plain for word in words), (text, trait)


def test_order_words_follow_the_timeline() -> None:
    rng = np.random.default_rng(2)
    dog_first = scene("sequence", "dog", "siren")
    for _ in range(200):
        text = caption(dog_first, rng)
        dog, siren = text.index("dog"), min(text.find(w) for w in ("siren",) if w in text)
        swapped = " after " in text and not text.startswith("after ")
        assert (dog < siren) != swapped, text


def test_style_is_lower_case_without_a_final_period() -> None:
    for text in caption_dump(300, 5):
        assert text == text.lower()
        assert not text.endswith(".")
        assert "  " not in text
        assert text.strip() == text


def test_dumps_and_references_are_deterministic_and_varied() -> None:
    assert list(caption_dump(50, 1)) == list(caption_dump(50, 1))
    assert list(caption_dump(50, 1)) != list(caption_dump(50, 2))
    assert len(set(caption_dump(1000, 3))) > 900
    real = sample_scene(11)
    found = references(real, 5)
    assert found == references(real, 5)
    assert len(set(found)) == len(found) == 5


def test_every_label_names_its_own_class() -> None:
    for name, sound in CLASSES.items():
        assert mentioned(sound.label) == {name}


def test_event_f1_counts_names_and_not_words() -> None:
    assert event_counts("a puppy barks while rain falls", ["dog", "rain"]) == (2, 0, 0)
    assert event_counts("a cat meows", ["dog"]) == (0, 1, 1)
    assert event_f1(["a dog barks", "a cat meows"], [["dog"], ["dog"]]) == 0.5
    assert event_f1([""], [["dog"]]) == 0.0
