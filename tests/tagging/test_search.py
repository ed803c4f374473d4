"""Searching captions for labels, against trying every label on every caption."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonogloss.errors import OptionError
from sonogloss.tagging.texts import (
    OFTEN,
    OTHER_WORDS,
    LabelledTexts,
    name_only_texts,
    search_texts,
    stem,
    stems,
)

LABELS = ("dog barking", "rain", "sea_waves", "Male speech, man speaking", "door (slam)", "the of")
_WORDS = "dog dogs barks barking rain raining sea waves male speech man speaks door slam a the of near Loud and"
WORDS = _WORDS.split()
captions = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" ".join), max_size=25)
EMPTY = {"a", "the", "of", "and"}


def matches(caption: str, phrase: str) -> bool:
    """All content words of a phrase are in the caption, whatever their endings."""
    phrase = phrase.split("(")[0]
    needed = {stem(word) for word in phrase.lower().replace("_", " ").split() if word not in EMPTY}
    return bool(needed) and needed <= {stem(word.lower()) for word in caption.split()}


def brute_force(dump: list[str], per_label: int, multi_label: bool) -> dict[str, set[int]]:
    found = {}
    for caption in dump:
        hits = {
            number
            for number, label in enumerate(LABELS)
            if any(matches(caption, phrase) for phrase in label.split(","))
        }  # fmt: skip
        if len(hits) == 1 or (hits and multi_label):
            found[caption] = hits
    return found


@settings(max_examples=80, deadline=None)
@given(dump=captions, multi_label=st.booleans())
def test_search_finds_what_trying_every_label_finds(dump: list[str], multi_label: bool) -> None:
    texts = search_texts(dump, LABELS, per_label=1000, multi_label=multi_label)
    found = {
        text: set(np.flatnonzero(row).tolist()) for text, row in zip(texts.texts, texts.truth, strict=True)
    }  # fmt: skip
    assert found == brute_force(dump, 1000, multi_label)


@settings(max_examples=60, deadline=None)
@given(dump=captions, per_label=st.integers(1, 3), multi_label=st.booleans(), seed=st.integers(0, 9))
def test_the_shortest_are_taken_up_to_the_limit_in_any_order(
    dump: list[str], per_label: int, multi_label: bool, seed: int
) -> None:
    texts = search_texts(dump, LABELS, per_label=per_label, multi_label=multi_label)
    shuffled = [*dump, *dump[:3]]
    random.Random(seed).shuffle(shuffled)
    again = search_texts(shuffled, LABELS, per_label=per_label, multi_label=multi_label)
    assert texts.texts == again.texts
    assert np.array_equal(texts.truth, again.truth)
    everything = brute_force(dump, per_label, multi_label)
    counts = texts.counts()
    for number, label in enumerate(LABELS):
        own = [text for text, hits in everything.items() if number in hits]
        taken = [text for text in texts.texts if number in everything[text]]
        if not multi_label:
            assert counts[label] == len(taken) == min(per_label, len(set(own)))
            left = [text for text in own if text not in taken]
            assert not left or max(len(t.split()) for t in taken) <= min(len(t.split()) for t in left)
        else:
            assert counts[label] >= min(per_label, len(set(own)))


def test_other_words_are_frequent_content_words_of_no_label() -> None:
    words = {"piano": OFTEN, "violins": OFTEN + 5, "rare": OFTEN - 1, "barked": 50, "ab": 50, "with": 50, "x" * 21: 50}
    dump = [f"{word} {number} once" for word, count in words.items() for number in range(count)]
    texts = search_texts(dump, ("dog barking", "rain"), per_label=1)
    assert texts.other_words == ("once", "piano", "violins")
    assert all(stem(word) not in stems("dog barking rain") for word in texts.other_words)


def test_a_word_counts_once_a_caption() -> None:
    dump = ["ping ping ping ping"] * 1 + [f"pong {number}" for number in range(OFTEN)]
    assert search_texts(dump, ("dog",), per_label=1).other_words == ("pong",)
    assert len(search_texts([f"ping {n}" for n in range(OFTEN - 1)], ("dog",), per_label=1).other_words) == 0


def test_the_most_frequent_other_words_are_kept() -> None:
    syllables = [f"{a}{b}{c}" for a in "bcdfghklmn" for b in "aeiou" for c in "bcdfghklmnprtvwxz"]
    names = [f"{syllable}{end}" for syllable in syllables for end in "ao"][: OTHER_WORDS + 60]
    dump = [f"{name} {number}" for rank, name in enumerate(names) for number in range(OFTEN + (rank < OTHER_WORDS))]
    words = search_texts(dump, ("dog",), per_label=1).other_words
    assert len(words) == OTHER_WORDS
    assert list(words) == sorted(words)
    assert set(words) == set(names[:OTHER_WORDS])


def test_keywords_stand_in_for_the_label_s_own_words() -> None:
    dump = ["a dog", "a hound howls", "it rains"]
    texts = search_texts(dump, ("dog", "rain"), per_label=9, keywords={"dog": ["hound"]})
    assert set(texts.texts) == {"a hound howls", "it rains"}
    with pytest.raises(OptionError, match="'wolf', which is no label"):
        search_texts(dump, ("dog", "rain"), per_label=9, keywords={"wolf": ["howl"]})


@given(word=st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=12))
def test_a_stem_is_never_empty_and_stable_in_case(word: str) -> None:
    assert stem(word)
    assert stems(word.upper()) == [stem(word)]


@given(per_label=st.integers(0, 40), seed=st.integers(0, 20), multi_label=st.booleans())
def test_texts_from_names_depend_on_the_name_and_the_seed_only(per_label: int, seed: int, multi_label: bool) -> None:
    """Another label beside it changes nothing where one label is true; repeated texts do not occur."""
    one = name_only_texts(("sea_waves", "dog"), per_label=per_label, seed=seed)
    other = name_only_texts(("cat", "dog"), per_label=per_label, seed=seed)
    dogs = [
        [text for text, row in zip(made.texts, made.truth, strict=True) if row[1]] for made in (one, other)
    ]  # fmt: skip
    assert dogs[0] == dogs[1]
    assert len(set(dogs[0])) == len(dogs[0]) == per_label
    made = name_only_texts(("sea_waves", "dog", "cat"), per_label=per_label, seed=seed, multi_label=multi_label)
    assert made.truth.shape == (3 * per_label, 3)
    assert set(made.truth.sum(axis=1).tolist()) <= ({1, 2} if multi_label else {1})


def test_joined_texts_keep_their_labels() -> None:
    one = name_only_texts(("dog", "cat"), per_label=2)
    other = LabelledTexts(labels=("dog", "cat"), texts=("a",), truth=np.array([[False, True]]), other_words=("moon",))
    both = one.join(other)
    assert both.texts == (*one.texts, "a")
    assert both.truth[-1].tolist() == [False, True]
    assert both.counts() == {"dog": 2, "cat": 3}
    assert both.other_words == ("moon",)
