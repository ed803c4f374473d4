from __future__ import annotations

import random

import numpy as np
import pytest

from sonogloss.errors import OptionError
from sonogloss.soundscapes import CLASSES, caption_dump
from sonogloss.tagging.texts import name_only_texts, search_texts, stem

LABELS = ("dog barking", "rain", "Male speech, man speaking", "sea_waves")
CAPTIONS = [
    "A dog barks twice",
    "several barking dogs",
    "a dog whines",
    "it rains heavily",
    "a train passes",
    "the man speaks",
    "males giving a speech",
    "a sea wave",
    "a dog barks while rain falls",
    "a very long caption about a dog that barks",
]


def found(multi_label: bool = False, **options: object) -> dict[str, list[str]]:
    texts = search_texts(CAPTIONS, LABELS, per_label=9, multi_label=multi_label, **options)  # type: ignore[arg-type]
    return {text: [LABELS[i] for i in np.flatnonzero(row)] for text, row in zip(texts.texts, texts.truth, strict=True)}


def test_a_caption_is_found_by_all_words_of_a_label_whatever_their_endings() -> None:
    assert found() == {
        "A dog barks twice": ["dog barking"],
        "several barking dogs": ["dog barking"],
        "it rains heavily": ["rain"],
        "the man speaks": ["Male speech, man speaking"],
        "males giving a speech": ["Male speech, man speaking"],
        "a sea wave": ["sea_waves"],
        "a very long caption about a dog that barks": ["dog barking"],
    }


def test_with_several_labels_a_text_those_of_several_are_kept() -> None:
    assert found(multi_label=True)["a dog barks while rain falls"] == ["dog barking", "rain"]


def test_keywords_take_the_place_of_a_label() -> None:
    hits = found(keywords={"dog barking": ["dog", "puppy"]})
    assert hits["a dog whines"] == ["dog barking"]
    with pytest.raises(OptionError, match="no label"):
        found(keywords={"cat": ["kitten"]})


@pytest.mark.parametrize("seed", [0, 1])
def test_the_choice_depends_on_neither_order_nor_duplicates(seed: int) -> None:
    dump = list(caption_dump(400, 1))
    wanted = search_texts(dump, tuple(CLASSES), per_label=3)
    shuffled = dump + dump[:50]
    random.Random(seed).shuffle(shuffled)
    assert search_texts(shuffled, tuple(CLASSES), per_label=3).texts == wanted.texts
    assert max(wanted.counts().values()) <= 3
    assert (wanted.truth.sum(axis=1) == 1).all()


def test_short_captions_come_first() -> None:
    assert search_texts(CAPTIONS, LABELS, per_label=2).texts[:1] == ("the man speaks",)
    assert "a very long caption about a dog that barks" not in search_texts(CAPTIONS, LABELS, per_label=2).texts


@pytest.mark.parametrize(
    "words",
    [
        "bark barks barked barking",
        "dripping drips drip",
        "cry cries crying",
        "wave waves",
        "buzz buzzes",
        "snore snoring",
    ],
)
def test_endings_do_not_count(words: str) -> None:
    assert len({stem(word) for word in words.split()}) == 1


@pytest.mark.parametrize("pair", ["train rain", "ring king", "glass gas", "bee bed", "spring spray"])
def test_different_words_stay_apart(pair: str) -> None:
    assert len({stem(word) for word in pair.split()}) == 2


def test_frequent_words_of_no_label_are_collected() -> None:
    dump = [f"a dog barks at the moon {number}" for number in range(30)] + ["once the owl"] * 2
    texts = search_texts(dump, ("dogs", "moon_light"), per_label=3)
    assert texts.other_words == ("barks",)
    both = texts.join(name_only_texts(texts.labels, per_label=2))
    assert both.other_words == ("barks",)


def test_names_alone_give_texts_that_hold_them() -> None:
    texts = name_only_texts(("sea_waves", "dog"), per_label=20, seed=3)
    assert texts.counts() == {"sea_waves": 20, "dog": 20}
    assert all(("sea waves" if row[0] else "dog") in text for text, row in zip(texts.texts, texts.truth, strict=True))
    assert len(set(texts.texts)) == 40
    assert texts.texts == name_only_texts(("sea_waves", "dog"), per_label=20, seed=3).texts
    assert texts.texts != name_only_texts(("sea_waves", "dog"), per_label=20, seed=4).texts


def test_names_alone_pair_up_where_several_may_be_true() -> None:
    texts = name_only_texts(("sea_waves", "dog", "rain"), per_label=30, multi_label=True)
    pairs = [text for text, row in zip(texts.texts, texts.truth, strict=True) if row.sum() == 2]
    assert 0.2 < len(pairs) / len(texts.texts) < 0.8
    for text, row in zip(texts.texts, texts.truth, strict=True):
        assert all(("sea waves", "dog", "rain")[i] in text for i in np.flatnonzero(row))
    assert name_only_texts(("dog",), per_label=5, multi_label=True).counts() == {"dog": 5}


def test_texts_for_some_labels_only() -> None:
    assert name_only_texts(("sea_waves", "dog"), per_label=4, only=["dog"]).counts() == {"sea_waves": 0, "dog": 4}
    assert name_only_texts(("sea_waves", "dog"), per_label=4, only=[]).texts == ()
