"""The tasks judge as defined, and as released where the released rule can be stated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sonogloss.records import FloatArray
from sonogloss.temporal.clips import LabelledClip
from sonogloss.temporal.sentences import FIRST, SECOND, SINGLE, order_texts, task_4_texts
from sonogloss.temporal.sequences import PairGroup, Variant, make_group
from sonogloss.temporal.zste import (
    Item,
    Judge,
    Questions,
    TextBank,
    both,
    coin,
    needed,
    task_2_targets,
    task_5_targets,
    top,
)
from sonogloss.temporal.zste_summary import RESAMPLES, in_order, summarise

CLASSES = ("dog", "engine", "rain", "siren", "train", "wind", "clock alarm", "clock tick")


def clip(label: str, number: int = 0) -> LabelledClip:
    return LabelledClip(id=f"{label}-{number}", uri=f"{label}/{number}.wav", label=label, source=f"{label}-{number}")


def group(first: str, second: str) -> PairGroup:
    return make_group(clip(first), clip(second))


@pytest.fixture(scope="module")
def golden(shared_data: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    folder = shared_data / "golden" / "teminal"
    with np.load(folder / "zste.npz", allow_pickle=False) as arrays:
        return json.loads((folder / "zste.json").read_text()), dict(arrays)


class ByteTable:
    """The fixtures' stand-in for a text tower: a mean over a table's rows, by byte and position."""

    def __init__(self, table: np.ndarray) -> None:
        self.table = table

    def __call__(self, text: str) -> FloatArray:
        data = text.encode()
        return np.mean([self.table[(7 * b + i) % 257].astype(np.float64) for i, b in enumerate(data)], axis=0)


def cosines(sound: np.ndarray, texts: np.ndarray, scale: float) -> np.ndarray:
    return scale * (texts @ sound) / np.linalg.norm(texts, axis=1) / np.linalg.norm(sound)


def sound_of(arrays: dict[str, np.ndarray], name: str) -> np.ndarray:
    number, variant = name[1:].split("_")
    return arrays["audio_embeddings"][5 * int(number) + "abfrw".index(variant)]


@pytest.mark.parametrize("task", ["task1", "task2_overlay", "task2_sequence", "task3", "task4", "task5"])
def test_similarities_and_choices_are_those_of_the_release(golden: Any, task: str) -> None:
    facts, arrays = golden
    embed, found = ByteTable(arrays["text_table"]), facts["tasks"][task]
    for row, item in enumerate(found["items"]):
        texts = item.get("candidates", found.get("candidates"))
        sound = arrays["task4.audio_embeddings"][row] if task == "task4" else sound_of(arrays, item["audio"])
        similarities = cosines(sound, np.stack([embed(text) for text in texts]), facts["logit_scale"])
        np.testing.assert_allclose(similarities, arrays[f"{task}.similarity"][row], atol=1e-4)
        if "prediction" in item:
            assert top(arrays[f"{task}.similarity"][row], 1) == [item["prediction"]]
            assert (item["prediction"] == item["label"]) == item["correct"]
        else:
            assert sorted(top(similarities, 2)) == item["top_two"]


def test_the_candidates_are_worded_as_released(golden: Any) -> None:
    facts, _ = golden
    classes, tasks = facts["classes"], facts["tasks"]
    assert [SINGLE.format(name) for name in classes] == tasks["task1"]["candidates"]
    assert [t.format(name) for t in (FIRST, SECOND) for name in classes] == tasks["task5"]["candidates"]
    for item, found in zip(tasks["task3"]["items"], facts["groups"], strict=True):
        if len(set(found["classes"])) == 2:
            first, second = (classes[i] for i in found["classes"])
            assert order_texts(group(first, second)) == item["candidates"]


@pytest.mark.parametrize("task", ["task2_overlay", "task2_sequence", "task5"])
def test_verdicts_by_class_and_by_the_released_rule(golden: Any, task: str) -> None:
    facts, _ = golden
    classes, rule = facts["classes"], task_5_targets if task == "task5" else task_2_targets
    for item in facts["tasks"][task]["items"]:
        first, second = facts["groups"][item["group"]]["classes"]
        targets = rule(classes, (classes[first], classes[second]))
        assert sorted(targets) == item["target_indices"]
        assert (set(item["top_two"]) <= targets) == item["correct"]
        if task == "task5":
            assert both(item["top_two"], (first, len(classes) + second)) == item["derived_correct_first_A_second_B"]
        else:
            assert both(item["top_two"], (first, second)) == item["derived_correct_by_class_id"]


def test_task_4_verdicts_by_text(golden: Any) -> None:
    facts, arrays = golden
    for row, item in enumerate(facts["tasks"]["task4"]["items"]):
        answer = item["candidates"][top(arrays["task4.similarity"][row], 1)[0]]
        assert (answer == item["true_text"]) == item["derived_correct_by_text"]


def questions(**changes: Any) -> Questions:
    groups = tuple(group(a, b) for a in CLASSES for b in CLASSES if a != b)
    return Questions(
        clips=tuple(clip(name) for name in CLASSES), groups=groups, labels=tuple(sorted(CLASSES)), **changes
    )


def bank(asked: Questions, dim: int = 512) -> TextBank:
    """Every sentence in a direction of its own, nearly."""
    texts = asked.texts()
    vectors = np.random.default_rng(0).standard_normal((len(texts), dim)).astype(np.float32)
    return TextBank(texts, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def toward(known: TextBank, *texts: str) -> FloatArray:
    return known.rows(texts).sum(axis=0)


def by_setting(items: list[Item]) -> dict[tuple[str, str], Item]:
    return {(item.task, item.setting): item for item in items}


def test_a_clap_that_hears_all_is_right_in_every_task() -> None:
    asked = questions()
    known = bank(asked)
    judge = Judge(asked, known)
    for asked_group in asked.groups[:20]:
        a, b = asked_group.first.label, asked_group.second.label
        right = order_texts(asked_group)
        sounds = {
            variant: toward(known, right[number], SINGLE.format(a), SINGLE.format(b), FIRST.format(a), SECOND.format(b))
            for number, variant in enumerate(Variant)
        }
        verdicts = by_setting(judge.group(asked_group, sounds))
        assert all(item.correct for item in verdicts.values() if item.correct is not None), verdicts
        assert {task for task, _ in verdicts} == {"2", "3", "4", "5", "retrieval"}
    single = by_setting(judge.clip(clip("rain"), toward(known, SINGLE.format("rain"), "rain")))
    assert single["1", "single"].correct
    assert single["retrieval", "single"].rank == 1


def test_a_clap_without_order_gives_one_order_for_both() -> None:
    asked = questions()
    known = bank(asked)
    there = group("dog", "rain")
    sounds = dict.fromkeys(Variant, toward(known, order_texts(there)[0]))
    verdict = by_setting(Judge(asked, known).group(there, sounds))
    assert verdict["3", "order"].correct == (coin(there) == Variant.FORWARD)
    assert verdict["4", "forward"].correct
    assert not verdict["3", "overlay"].correct


def test_classes_are_compared_by_id_and_not_by_letters() -> None:
    asked = questions(released_rules=True)
    known = bank(asked)
    there = group("train", "dog")
    sounds = dict.fromkeys(Variant, toward(known, SINGLE.format("rain"), SINGLE.format("dog")))
    verdict = by_setting(Judge(asked, known).group(there, sounds))
    assert not verdict["2", "sequence"].correct
    assert verdict["2", "sequence, released rule"].correct
    assert verdict["2", "sequence, either"].correct == (verdict["2", "sequence, either"].answer.startswith("dog"))


def test_the_second_half_of_task_5_counts() -> None:
    asked = questions(released_rules=True)
    known = bank(asked)
    there = group("dog", "rain")
    both_first = dict.fromkeys(Variant, toward(known, FIRST.format("dog"), FIRST.format("rain")))
    verdict = by_setting(Judge(asked, known).group(there, both_first))
    assert not verdict["5", "forward"].correct
    assert verdict["5", "forward, released rule"].correct


def test_task_4_texts_are_distinct_and_hold_the_truth() -> None:
    labels = [f"class {number}" for number in range(50)]
    texts = task_4_texts(group("class 3", "class 7"), labels)
    assert len(texts) == len(set(texts)) == 50
    assert texts[:2] == ["This is a sound of class 3 before class 7", "This is a sound of class 3 while class 7"]
    named = {
        label
        for label in labels
        for text in texts
        if label
        in text.replace("This is a sound of ", "").split(" before ")
        + text.replace("This is a sound of ", "").split(" while ")
    }
    assert len(named) == 7
    assert texts == task_4_texts(group("class 3", "class 7"), labels[::-1])
    assert len(task_4_texts(group("a", "b"), ["a", "b"])) == 4


def test_every_sound_that_is_needed_is_named_once() -> None:
    for asked_group in questions().groups:
        assert len(needed(asked_group)) == len(set(needed(asked_group))) == 2 + (coin(asked_group) == Variant.REVERSE)
    assert {coin(g) for g in questions().groups} == {Variant.FORWARD, Variant.REVERSE}


def test_ties_go_to_the_first() -> None:
    assert top([0.1, 0.5, 0.5, 0.5], 2) == [1, 2]


def item(number: int, **changes: Any) -> Item:
    values = {"task": "1", "setting": "single", "sound": "single", "truth": "a", "answer": "a", "candidates": 4}
    return Item(**{"item": f"{number:04d}", "correct": None, "rank": None, "chance": None, **values, **changes})


def test_the_summary_of_accuracies() -> None:
    items = [item(number, correct=number % 4 == 0, chance=0.25) for number in range(400)]
    (row,) = summarise(items)
    assert (row.task, row.setting, row.metric, row.n) == ("1", "single", "accuracy", 400)
    assert row.value == row.chance == 0.25
    # A binomial of 400 with 0.25 has a standard deviation of 0.0217.
    assert row.low == pytest.approx(0.25 - 1.96 * 0.0217, abs=0.008)
    assert row.high == pytest.approx(0.25 + 1.96 * 0.0217, abs=0.008)
    assert summarise(items[::-1]) == summarise(items)


def test_the_summary_of_ranks() -> None:
    ranks = [1, 1, 2, 4, 12]
    items = [item(n, task="retrieval", rank=rank, candidates=20) for n, rank in enumerate(ranks)]
    rows = {row.metric: row for row in summarise(items)}
    assert {name: row.value for name, row in rows.items()} == pytest.approx(
        {"r@1": 0.4, "r@5": 0.8, "r@10": 0.8, "mean_rank": 4.0, "median_rank": 2.0, "map@10": (1 + 1 + 0.5 + 0.25) / 5}
    )
    assert {name: row.chance for name, row in rows.items()} == pytest.approx(
        {"r@1": 0.05, "r@5": 0.25, "r@10": 0.5, "mean_rank": 10.5, "median_rank": 10.5, "map@10": 2.9289682539 / 20}
    )
    assert all(row.low <= row.value <= row.high for row in rows.values())


def test_guessing_is_at_chance() -> None:
    """The stated chances are those of random embeddings, task by task."""
    asked = questions()
    rng = np.random.default_rng(1)
    items: list[Item] = []
    for _ in range(6):
        judge = Judge(asked, bank(asked, dim=48))
        for there in asked.groups:
            items += judge.group(there, {variant: rng.standard_normal(48).astype(np.float32) for variant in Variant})
        for there in asked.clips:
            items += judge.clip(there, rng.standard_normal(48).astype(np.float32))
    for row in summarise(items):
        spread = (row.high - row.low) / 3.92
        assert abs(row.value - row.chance) < 5 * spread + 0.02, row


def test_items_have_one_order_and_resampling_enough_draws() -> None:
    items = [item(2, correct=True, chance=0.5), item(1, correct=True, chance=0.5), item(0, task="3", correct=True)]
    assert [i.item for i in in_order(items)] == ["0001", "0002", "0000"]
    assert RESAMPLES >= 1000
