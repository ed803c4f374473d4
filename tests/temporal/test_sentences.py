"""The sentences about a pair are true of it, in every wording."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sonogloss.temporal.clips import LabelledClip
from sonogloss.temporal.config import PairSettings
from sonogloss.temporal.sentences import AFTER, BEFORE, LEADS, WHILE, group_sentence, sentence
from sonogloss.temporal.sequences import PairGroup, Variant, make_group


def group(number: int) -> PairGroup:
    first, second = (LabelledClip(id=f"{number:06d}{label}", uri="", label=label, source=label) for label in "ab")
    return make_group(first, second)


def test_sentences() -> None:
    assert sentence("dog", "rain", Variant.FORWARD) == "dog before rain"
    assert sentence("dog", "rain", Variant.REVERSE) == "rain before dog"
    assert sentence("dog", "rain", Variant.OVERLAY) == "dog while rain"
    assert sentence("dog", "rain", Variant.FORWARD, "after") == "rain after dog"
    assert sentence("dog", "rain", Variant.REVERSE, "after") == "dog after rain"


def test_the_relation_of_a_group_is_chosen_by_its_id() -> None:
    groups = [group(number) for number in range(40)]
    all_three = PairSettings(wording="published")
    texts = [group_sentence(group, Variant.FORWARD, all_three) for group in groups]
    assert set(texts) == {"a before b", "b after a"}
    assert 8 < texts.count("b after a") < 32
    released = PairSettings(relations=("before", "while"), wording="published")
    assert {group_sentence(group, Variant.FORWARD, released) for group in groups} == {"a before b"}


@given(number=st.integers(0, 10**6), salt=st.integers(0, 100), after=st.booleans())
def test_varied_wording_tells_the_same_order(number: int, salt: int, after: bool) -> None:
    relations = ("after", "while") if after else ("before", "while")
    settings = PairSettings(relations=relations, wording="varied")
    ways = AFTER if after else BEFORE
    for variant, labels, allowed in (
        (Variant.FORWARD, ("a", "b"), ways),
        (Variant.REVERSE, ("b", "a"), ways),
        (Variant.OVERLAY, ("a", "b"), WHILE),
    ):
        texts = group_sentence(group(number), variant, settings, salt)
        assert texts in {lead + way.format(*labels) for lead in LEADS for way in allowed}
        assert texts == group_sentence(group(number), variant, settings, salt)


def test_wordings_vary() -> None:
    settings = PairSettings(wording="varied")
    assert len({group_sentence(group(0), Variant.FORWARD, settings, salt) for salt in range(200)}) == 20
