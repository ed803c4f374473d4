"""The registry: what is refused, what is offered, and that one entry is all a new metric needs."""

from __future__ import annotations

from collections.abc import Collection
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonogloss.errors import OptionError
from sonogloss.metrics import (
    METRICS,
    REFERENCE_METRICS,
    RankedClips,
    TagCounts,
    TagStatistics,
    check_metrics,
    evaluate,
)
from sonogloss.metrics.metric import ClipBatch, Need, mean_metric
from sonogloss.metrics.selection import choose

CAPTIONS: set[Need] = {"references"}
RESULTS: set[Need] = {"references", "clap_scores"}
TAGS: set[Need] = {"labels"}


def test_names_are_those_of_aac_metrics_in_the_order_of_reading() -> None:
    bleu = ["bleu_1", "bleu_2", "bleu_3", "bleu_4"]
    diversity = ["distinct_1", "distinct_2", "self_bleu_4", "repeated_captions", "repeated_trigrams", "novel_trigrams"]
    vocabulary = ["vocab.cands", "vocab.mrefs_full", "vocab.ratio_full"]
    models = ["sbert_sim", "fer", "fense", "spider_fl", "mace"]
    captions = [*bleu, "rouge_l", "meteor", "cider_d", "spice", "spider", *models, "clap_sim", *diversity, *vocabulary]
    assert list(METRICS) == [*captions, "accuracy", "map"]
    assert list(REFERENCE_METRICS) == [*bleu, "rouge_l", "cider_d"]
    assert {need for metric in METRICS.values() for need in metric.needs} == set(get_args(Need))


@pytest.mark.parametrize(
    ("available", "offered"),
    [
        (CAPTIONS, REFERENCE_METRICS),
        (RESULTS, (*REFERENCE_METRICS, "clap_sim")),
        (TAGS, ("accuracy",)),
        ({"labels", "all_scores"}, ("accuracy", "map")),
        (set(), ()),
    ],
)
def test_by_default_all_that_can_be_had_is_computed(available: Collection[Need], offered: tuple[str, ...]) -> None:
    assert check_metrics(None, available) == offered


def test_names_come_as_a_list_or_with_commas_and_count_once() -> None:
    expected = ("rouge_l", "bleu_1")
    for asked in ("rouge_l,bleu_1", " rouge_l , bleu_1, ", ["rouge_l", "bleu_1"], ["rouge_l, bleu_1", "rouge_l"]):
        assert check_metrics(asked, CAPTIONS) == expected


@pytest.mark.parametrize(
    ("metrics", "available", "words"),
    [
        ("", CAPTIONS, "No metric is asked for"),
        ([], CAPTIONS, "No metric is asked for"),
        (" , ", CAPTIONS, "No metric is asked for"),
        ("bleu", TAGS, "bleu has no metrics of tags"),
        ("distinct_1", TAGS, "distinct_1 needs captions"),
        ("spicy", CAPTIONS, r"no metric 'spicy'\. Choose one of bleu_1, .*cider_d"),
        ("spice", CAPTIONS, "spice needs the program SPICE"),
        ("cider", RESULTS, "did you mean 'cider_d'"),
        ("BLEU_4", CAPTIONS, "did you mean 'bleu_4'"),
        ("clap_sim", CAPTIONS, "clap_sim needs the CLAP scores.*results directory"),
        ("map", TAGS, "map needs the scores of all labels.*--all-scores"),
        ("rouge_l", TAGS, "rouge_l needs reference captions"),
        ("accuracy", RESULTS, "accuracy needs labels.*classify"),
        ("bleu_1,beauty", CAPTIONS, "'beauty'"),
    ],
)
def test_what_cannot_be_had_is_refused_in_words(metrics: str, available: Collection[Need], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        check_metrics(metrics, available)


@pytest.mark.parametrize("name", [*REFERENCE_METRICS, "clap_sim"])
def test_values_lie_in_the_range_and_better_captions_in_the_direction(name: str) -> None:
    references = {"a": ["a dog barks at the gate"], "b": ["rain falls on a roof"], "c": ["birds sing"]}
    exact = {key: texts[0] for key, texts in references.items()}
    wrong = dict.fromkeys(references, "xyz " * 5)
    scores = [
        evaluate(
            captions, references, metrics=[name], clap_scores=dict.fromkeys(references, clap)
        ).corpus[0].value
        for captions, clap in ((exact, 0.9), (wrong, -0.9))
    ]  # fmt: skip
    metric = METRICS[name]
    assert all(metric.low <= score <= metric.high for score in scores)
    assert (scores[0] > scores[1]) == metric.higher_is_better


@pytest.mark.parametrize("name", ["accuracy", "map"])
def test_metrics_of_tags_read_their_value_off_the_same_statistics(name: str) -> None:
    right = TagStatistics(
        counts=TagCounts.of("dog", {"dog"}), ranked={"dog": RankedClips(scores=(0.9, 0.1), true=(True, False))}
    )
    wrong = TagStatistics(
        counts=TagCounts.of("cat", {"dog"}), ranked={"dog": RankedClips(scores=(0.1, 0.9), true=(True, False))}
    )
    metric = METRICS[name]
    assert metric.value(right) == metric.high == 1
    assert metric.low <= metric.value(wrong) < 1


def test_a_new_metric_is_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_long(clips: ClipBatch) -> list[int]:
        return [max(0, len(clip.words) - max(map(len, clip.reference_words))) for clip in clips.texts]

    metric = mean_metric(too_long, "references", high=float("inf"), higher_is_better=False)
    monkeypatch.setitem(METRICS, "too_long", metric)
    captions = {"a": "one two three four", "b": "one"}
    result = evaluate(captions, {"a": ["one", "one two"], "b": ["one two"]}, metrics=["too_long", "bleu_1"])
    assert {key: values["too_long"] for key, values in result.clips.items()} == {"a": 2, "b": 0}
    assert [(row.metric, row.n) for row in result.corpus] == [("too_long", 2), ("bleu_1", 2)]
    assert result.corpus[0].value == 1
    assert "too_long" in check_metrics(None, CAPTIONS)
    with pytest.raises(OptionError, match="did you mean 'too_long'"):
        check_metrics("to_long", CAPTIONS)


@given(st.lists(st.sampled_from(REFERENCE_METRICS), min_size=1, unique=True))
def test_a_metric_does_not_depend_on_the_others_asked_for(names: list[str]) -> None:
    captions, references = {"a": "a dog barks", "b": "rain"}, {"a": ["the dog barks", "a dog"], "b": ["rain falls"]}
    every = evaluate(captions, references)
    some = evaluate(captions, references, metrics=names)
    assert some.corpus == [next(row for row in every.corpus if row.metric == name) for name in names]
    assert all(values == {name: every.clips[key][name] for name in names} for key, values in some.clips.items())


def test_a_group_gives_what_can_be_had_and_says_why_the_rest_cannot() -> None:
    assert choose("bleu,rouge_l", CAPTIONS) == (("bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l"), {})
    names, lacking = choose("all", {"captions", "references"})
    assert {*names, *lacking} == set(METRICS) - {"accuracy", "map"}
    models = ["sbert_sim", "fer", "fense", "spider_fl", "mace"]
    assert list(lacking) == ["meteor", "spice", "spider", *models, "clap_sim", "novel_trigrams"]
    assert lacking["clap_sim"].startswith("The metric clap_sim needs the CLAP scores of the captions. Evaluate")
    assert choose("all", TAGS) == (("accuracy",), {"map": choose("all", TAGS)[1]["map"]})


def test_a_metric_named_beside_its_group_has_to_be_there() -> None:
    with pytest.raises(OptionError, match="clap_sim needs the CLAP scores"):
        choose("all,clap_sim", CAPTIONS)
