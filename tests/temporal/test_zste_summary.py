"""The statistics of an evaluation, against direct computation and real resampling."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonogloss.temporal.zste import RETRIEVAL, Item, Judge, Questions, TextBank
from sonogloss.temporal.zste_summary import CUT, RESAMPLES, SummaryRow, summarise

from .test_zste import CLASSES, bank, clip, group, questions


def answered(correct: list[bool], **changes: Any) -> list[Item]:
    common = {"task": "1", "setting": "single", "sound": "single", "truth": "a", "answer": "a", "candidates": 4}
    return [
        Item(**{**common, "item": f"{number:05d}", "correct": right, "chance": 0.25, **changes})
        for number, right in enumerate(correct)
    ]


def ranked(ranks: list[int], candidates: int) -> list[Item]:
    common = {"task": RETRIEVAL, "setting": "single", "sound": "single", "truth": "a", "answer": "a"}
    return [Item(**common, item=f"{number:05d}", candidates=candidates, rank=rank) for number, rank in enumerate(ranks)]


def by_metric(rows: list[SummaryRow]) -> dict[str, SummaryRow]:
    return {row.metric: row for row in rows}


@given(ranks=st.lists(st.integers(1, 40), min_size=1, max_size=40))
def test_retrieval_metrics_are_their_definitions(ranks: list[int]) -> None:
    rows = by_metric(summarise(ranked(ranks, 40)))
    n = len(ranks)
    for cut in (1, 5, 10):
        assert rows[f"r@{cut}"].value == pytest.approx(sum(rank <= cut for rank in ranks) / n)
    assert rows["mean_rank"].value == pytest.approx(sum(ranks) / n)
    assert rows["median_rank"].value == pytest.approx(float(np.median(ranks)))
    assert rows[f"map@{CUT}"].value == pytest.approx(sum(1 / rank for rank in ranks if rank <= CUT) / n)
    assert {row.n for row in rows.values()} == {n}


@pytest.mark.parametrize("candidates", [1, 3, 7, 25])
def test_chance_is_the_expectation_over_all_ranks(candidates: int) -> None:
    """A random answer has every rank equally often, so the metrics of all ranks are the chance levels."""
    for row in summarise(ranked(list(range(1, candidates + 1)), candidates)):
        assert row.value == pytest.approx(row.chance), row.metric


@settings(max_examples=25, deadline=None)
@given(n=st.integers(5, 60), share=st.floats(0, 1), seed=st.integers(0, 99))
def test_intervals_of_accuracies_are_those_of_resampled_items(n: int, share: float, seed: int) -> None:
    """The binomial shortcut against drawing items with replacement."""
    right = np.random.default_rng(seed).random(n) < share
    (row,) = summarise(answered(right.tolist()))
    rng = np.random.default_rng(1)
    resampled = right[rng.integers(n, size=(20_000, n))].mean(axis=1)
    low, high = np.percentile(resampled, [2.5, 97.5])
    deviation = math.sqrt(max(right.mean() * (1 - right.mean()), 1e-12) / n)
    tolerance = 1 / n + 0.35 * deviation  # neighbouring values of the mean, and the error of 2,000 resamples
    assert row.low == pytest.approx(low, abs=tolerance)
    assert row.high == pytest.approx(high, abs=tolerance)
    assert row.low <= row.value <= row.high


@settings(max_examples=15, deadline=None, derandomize=True)  # two resamplings differ by chance: fixed examples
@given(ranks=st.lists(st.integers(1, 30), min_size=8, max_size=50), seed=st.integers(0, 9))
def test_intervals_of_ranks_are_those_of_resampled_items(ranks: list[int], seed: int) -> None:
    rows = by_metric(summarise(ranked(ranks, 30), seed=seed))
    values = np.array(ranks, float)
    rng = np.random.default_rng(2)
    draws = values[rng.integers(len(values), size=(20_000, len(values)))]
    for metric, statistic in (("mean_rank", draws.mean(axis=1)), ("median_rank", np.median(draws, axis=1))):
        low, high = np.percentile(statistic, [2.5, 97.5])
        step = float(np.diff(np.sort(values)).max())  # both statistics jump: the mean by an n-th of it
        tolerance = 0.35 * float(statistic.std()) + (step / len(values) if metric == "mean_rank" else step) + 0.01
        assert rows[metric].low == pytest.approx(low, abs=tolerance)
        assert rows[metric].high == pytest.approx(high, abs=tolerance)


def test_large_evaluations_are_resampled_in_blocks() -> None:
    """Blocks bound the memory and leave the number of resamples and the result's size."""
    ranks = [1 + number % 30 for number in range(3000)]
    rows = by_metric(summarise(ranked(ranks, 30)))
    deviation = math.sqrt((30**2 - 1) / 12 / 3000)
    assert rows["mean_rank"].high - rows["mean_rank"].low == pytest.approx(2 * 1.96 * deviation, rel=0.1)
    assert RESAMPLES == 2000


def test_a_summary_is_the_same_for_the_same_seed_and_any_order_of_items() -> None:
    rng = np.random.default_rng(0)
    items = answered((rng.random(60) < 0.4).tolist()) + ranked(rng.integers(1, 20, 60).tolist(), 20)
    once = summarise(items)
    assert summarise([items[number] for number in rng.permutation(120)]) == once
    assert summarise(items, seed=1) != once
    assert [(row.task, row.metric) for row in once][:2] == [("1", "accuracy"), ("retrieval", "r@1")]


def test_all_right_and_all_wrong_have_no_spread() -> None:
    for value in (True, False):
        (row,) = summarise(answered([value] * 20))
        assert row.low == row.value == row.high == float(value)


def test_stated_chances_are_those_of_every_possible_answer() -> None:
    """Tasks 1 to 5 with few classes: all answers are enumerated, and the right ones counted."""
    labels = tuple(sorted(CLASSES[:4]))
    pair = group(labels[0], labels[2])
    asked = Questions(clips=(clip(labels[0]),), groups=(pair,), labels=labels, released_rules=True)
    known = bank(asked, dim=8)
    judge = Judge(asked, known)
    sounds = dict.fromkeys(("forward", "reverse", "overlay"), np.ones(8, np.float32))
    items = {(item.task, item.setting): item for item in judge.group(pair, sounds)}  # type: ignore[arg-type]
    numbers = range(len(labels))
    couples = list(itertools.combinations(numbers, 2))
    truth = (0, 2)
    assert items["2", "sequence"].chance == pytest.approx(sum(couple == truth for couple in couples) / len(couples))
    either = [best for best in itertools.permutations(numbers, 2) if best[0] in truth]
    assert items["2", "overlay, either"].chance == pytest.approx(len(either) / (len(couples) * 2))
    places = list(itertools.combinations(range(2 * len(labels)), 2))
    right = [couple for couple in places if couple == (0, len(labels) + 2)]
    assert items["5", "forward"].chance == pytest.approx(len(right) / len(places))
    assert items["3", "sequence"].chance == pytest.approx(1 / 3)
    assert items["3", "order"].chance == pytest.approx(1 / 2)
    assert items["4", "forward"].chance == pytest.approx(1 / items["4", "forward"].candidates)


def test_a_bank_embeds_each_text_once_and_finds_it_again(tiny_clap: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    embed = tiny_clap.embed_text

    def counted(texts: list[str]) -> Any:
        seen.append(list(texts))
        return embed(texts)

    monkeypatch.setattr(tiny_clap, "embed_text", counted)
    monkeypatch.setattr("sonogloss.temporal.zste._TEXT_BATCH", 2)
    texts = ["b", "a", "c", "a", "b"]
    found = TextBank.embed(texts, tiny_clap)
    assert seen == [["a", "b"], ["c"]]
    assert len(found) == 3
    np.testing.assert_allclose(found.rows(["c", "a", "c"]), embed(["c", "a", "c"]), atol=1e-6)


def test_questions_name_every_sentence_that_an_answer_needs() -> None:
    asked = questions()
    known = bank(asked)
    assert sorted(set(asked.texts())) == asked.texts()
    assert len(known) == len(asked.texts())
    assert set(asked.retrieval_texts()[: len(CLASSES)]) == set(CLASSES)
    assert len(asked.retrieval_texts()) == len(set(asked.retrieval_texts()))
    overlays = [text for text in asked.retrieval_texts() if " while " in text]
    assert len(overlays) == len(CLASSES) * (len(CLASSES) - 1) // 2  # A while B is B while A
