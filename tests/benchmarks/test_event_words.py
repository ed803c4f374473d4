"""Sounds that captions name, counted by hand."""

from __future__ import annotations

import numpy as np

from benchmarks.event_words import EventWords, f1


def test_a_keyword_is_named_whatever_the_endings_of_its_words() -> None:
    words = EventWords(["dog_bark", "Rain", "Door (slam)", "church bells"])
    assert words.of("Two dogs are barking, a door closes.") == {"dog_bark", "Door (slam)"}
    assert words.of("A church in the rain, and no bell") == {"Rain", "church bells"}


def test_right_is_what_two_references_say() -> None:
    words = EventWords(["dog", "rain", "car"])
    references = ["A dog in the rain", "A dog", "A car and rain", "Silence"]
    assert words.counts("A dog and a car", references) == (1, 1, 1)
    assert words.counts("A car", ["a car"]) == (1, 0, 0)
    assert f1(words.numbers(["A dog and a car", ""], [references, ["Silence"]]).sum(axis=0)) == 0.5
    assert f1(np.zeros(3)) == 0
