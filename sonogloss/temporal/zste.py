"""ZSTE, zero-shot temporal evaluation: what a CLAP knows of single sounds, of two, and of their order.

Five tasks and retrieval (arXiv 2408.09269; settings as in the released scripts, except that classes are compared by id:
the scripts find "rain" in "train"). Each compares the embedding of one sound with those of some sentences:

====== ========================= ============================================= =======================================
task   sound                     sentences                                     right when
====== ========================= ============================================= =======================================
1      every single clip         this is a sound of {class}, every class       the best is its class
2      forward or reverse        the same                                      the best two are the two classes;
       (a coin), or overlay                                                    `either`: the best is one of them
3      forward or reverse,       This is a sound of A before B, B before A,    the best is the true one;
       or overlay                A while B                                     `order`: without A while B
4      forward                   up to 50 of A, B and five other classes:      the best is A before B
                                 x before y, x while y
5      forward                   In this concatenated sound, the first         the best two are A first and B second
                                 (second) sound is {class}, every class
------ ------------------------- --------------------------------------------- ---------------------------------------
recall a single, or forward or   every class, x before y and x while y of the  rank of the true one
       reverse                   test split
====== ========================= ============================================= =======================================
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sonogloss.clap import Clap
from sonogloss.records import FloatArray, Int32
from sonogloss.temporal.clips import LabelledClip, rank
from sonogloss.temporal.sentences import FIRST, SECOND, SINGLE, order_texts, retrieval_text, task_4_texts
from sonogloss.temporal.sequences import PairGroup, Variant

RETRIEVAL = "retrieval"
_TEXT_BATCH = 1024


@dataclass(frozen=True, kw_only=True)
class Item:
    """One question and its answer.

    Attributes:
        task: `1` to `5`, or `retrieval`.
        setting: variant of the task.
        item: id of the clip or of the group.
        sound: `single`, `forward`, `reverse` or `overlay`.
        truth: the right answer, in words.
        answer: the CLAP's.
        correct: None in retrieval.
        rank: of the truth, from 1; None outside retrieval.
        candidates: number of sentences.
        chance: probability that a random answer is right; None in retrieval.
    """

    task: str
    setting: str
    item: str
    sound: str
    truth: str
    answer: str
    correct: bool | None = None
    rank: Int32 | None = None
    candidates: Int32
    chance: float | None = None


class TextBank:
    """The embeddings of all sentences of an evaluation: `vectors` [texts, dim]."""

    def __init__(self, texts: Sequence[str], vectors: FloatArray) -> None:
        self._row = {text: row for row, text in enumerate(texts)}
        self._vectors = vectors

    @classmethod
    def embed(cls, texts: Iterable[str], clap: Clap) -> TextBank:
        """Embed each distinct text once."""
        distinct = sorted(set(texts))
        parts = [clap.embed_text(distinct[i : i + _TEXT_BATCH]) for i in range(0, len(distinct), _TEXT_BATCH)]
        return cls(distinct, np.concatenate(parts))

    def __len__(self) -> int:
        return len(self._row)

    def rows(self, texts: Sequence[str]) -> FloatArray:
        """The embeddings of some of its texts, [len(texts), dim]."""
        return np.asarray(self._vectors[[self._row[text] for text in texts]])


@dataclass(frozen=True, kw_only=True)
class Questions:
    """What an evaluation asks.

    Attributes:
        clips: each gives a question of task 1.
        groups: each gives questions of tasks 2 to 5.
        labels: all classes, sorted.
        released_rules: add tasks 2 and 5 as the released scripts score them, for comparison with published
            numbers.
    """

    clips: tuple[LabelledClip, ...]
    groups: tuple[PairGroup, ...]
    labels: tuple[str, ...]
    released_rules: bool = False

    def texts(self) -> list[str]:
        """All sentences, each once, sorted."""
        found = {*self.single_texts(), *self.place_texts(), *self.retrieval_texts()}
        for group in self.groups:
            found |= {*order_texts(group), *task_4_texts(group, self.labels)}
        return sorted(found)

    def single_texts(self) -> list[str]:
        """The sentences of tasks 1 and 2."""
        return [SINGLE.format(label) for label in self.labels]

    def place_texts(self) -> list[str]:
        """The sentences of task 5."""
        return [template.format(label) for template in (FIRST, SECOND) for label in self.labels]

    def retrieval_texts(self) -> list[str]:
        """The sentences of all classes and of the three variants of all groups, each meaning once."""
        pairs = {retrieval_text(group, variant) for group in self.groups for variant in Variant}
        return [*self.labels, *sorted(pairs)]


class Judge:
    """Answers the questions from embeddings of a CLAP."""

    def __init__(self, questions: Questions, bank: TextBank) -> None:
        self._labels, self._bank = questions.labels, bank
        self._released_rules = questions.released_rules
        self._id = {label: number for number, label in enumerate(questions.labels)}
        self._single = bank.rows(questions.single_texts())
        self._place = bank.rows(questions.place_texts())
        self._texts = questions.retrieval_texts()
        self._row = {text: number for number, text in enumerate(self._texts)}
        self._retrieval = bank.rows(self._texts)

    def clip(self, clip: LabelledClip, sound: FloatArray) -> list[Item]:
        """Task 1 and retrieval of a single clip, from its embedding [dim]."""
        best = top(self._single @ sound, 1)[0]
        single = Item(
            task="1",
            setting="single",
            item=clip.id,
            sound="single",
            truth=clip.label,
            answer=self._labels[best],
            candidates=len(self._labels),
            correct=best == self._id[clip.label],
            chance=1 / len(self._labels),
        )
        return [single, self._retrieve("single", clip.id, "single", clip.label, sound)]

    def group(self, group: PairGroup, sounds: Mapping[Variant, FloatArray]) -> list[Item]:
        """Tasks 2 to 5 and retrieval of a group, from the embeddings of the variants in :func:`needed`."""
        sequence, texts = coin(group), order_texts(group)
        forward, overlay = sounds[Variant.FORWARD], sounds[Variant.OVERLAY]
        truth, task_4 = texts[list(Variant).index(sequence)], task_4_texts(group, self._labels)
        return [
            *self._task_2("sequence", group, sequence, sounds[sequence]),
            *self._task_2("overlay", group, Variant.OVERLAY, overlay),
            self._best_text("3", "sequence", group, sequence, truth, texts, sounds[sequence]),
            self._best_text("3", "order", group, sequence, truth, texts[:2], sounds[sequence]),
            self._best_text("3", "overlay", group, Variant.OVERLAY, texts[2], texts, overlay),
            self._best_text("4", "forward", group, Variant.FORWARD, task_4[0], task_4, forward),
            *self._task_5(group, forward),
            self._retrieve("sequence", group.id, sequence, retrieval_text(group, sequence), sounds[sequence]),
        ]

    def _task_2(self, setting: str, group: PairGroup, variant: Variant, sound: FloatArray) -> list[Item]:
        ids, count = self._ids(group), len(self._labels)
        best = top(self._single @ sound, 2)
        verdicts = {setting: (both(best, ids), 1 / _pairs(count)), f"{setting}, either": (best[0] in ids, 2 / count)}
        if self._released_rules:
            targets = task_2_targets(self._labels, (group.first.label, group.second.label))
            chance = _pairs(len(targets)) / _pairs(count)
            verdicts[f"{setting}, released rule"] = (set(best) <= targets, chance)
        return _two_answers("2", group, variant, self._labels, ids, best, verdicts)

    def _task_5(self, group: PairGroup, sound: FloatArray) -> list[Item]:
        (first, second), count = self._ids(group), len(self._labels)
        truth, best = (first, count + second), top(self._place @ sound, 2)
        verdicts = {"forward": (both(best, truth), 1 / _pairs(2 * count))}
        if self._released_rules:
            targets = task_5_targets(self._labels, (group.first.label, group.second.label))
            chance = _pairs(len(targets)) / _pairs(2 * count)
            verdicts["forward, released rule"] = (set(best) <= targets, chance)
        names = [f"{place} {label}" for place in ("first", "second") for label in self._labels]
        return _two_answers("5", group, Variant.FORWARD, names, truth, best, verdicts)

    def _best_text(
        self,
        task: str,
        setting: str,
        group: PairGroup,
        variant: Variant,
        truth: str,
        texts: list[str],
        sound: FloatArray,
    ) -> Item:
        answer = texts[top(self._bank.rows(texts) @ sound, 1)[0]]
        return Item(
            task=task,
            setting=setting,
            item=group.id,
            sound=str(variant),
            truth=truth,
            answer=answer,
            candidates=len(texts),
            correct=answer == truth,
            chance=1 / len(texts),
        )

    def _retrieve(self, setting: str, item: str, variant: str, truth: str, sound: FloatArray) -> Item:
        similarities = self._retrieval @ sound
        return Item(
            task=RETRIEVAL,
            setting=setting,
            item=item,
            sound=str(variant),
            truth=truth,
            answer=self._texts[top(similarities, 1)[0]],
            candidates=len(self._texts),
            rank=1 + int((similarities > similarities[self._row[truth]]).sum()),
        )

    def _ids(self, group: PairGroup) -> tuple[int, int]:
        return self._id[group.first.label], self._id[group.second.label]


def _two_answers(
    task: str,
    group: PairGroup,
    variant: Variant,
    names: Sequence[str],
    truth: Sequence[int],
    best: Sequence[int],
    verdicts: Mapping[str, tuple[bool, float]],
) -> list[Item]:
    """An item for each setting, from whether its answer is right and how often a random one is."""
    words, answer = (" + ".join(names[number] for number in numbers) for numbers in (truth, best))
    return [
        Item(
            task=task,
            setting=setting,
            item=group.id,
            sound=str(variant),
            truth=words,
            answer=answer,
            candidates=len(names),
            correct=correct,
            chance=chance,
        )
        for setting, (correct, chance) in verdicts.items()
    ]


def coin(group: PairGroup) -> Variant:
    """The sequence of a group in tasks 2 and 3 and in retrieval: forward or reverse, by its id."""
    return Variant.REVERSE if rank("coin", group.id) % 2 else Variant.FORWARD


def needed(group: PairGroup) -> list[Variant]:
    """The variants that the tasks use, each once."""
    return list(dict.fromkeys([Variant.FORWARD, coin(group), Variant.OVERLAY]))


def top(similarities: npt.ArrayLike, count: int) -> list[int]:
    """Indices of the highest similarities, best first; of equal ones the first."""
    order = np.argsort(-np.asarray(similarities), kind="stable")
    return [int(place) for place in order[:count]]


def both(best: Sequence[int], wanted: Sequence[int]) -> bool:
    """Are these the same, in any order?"""
    return sorted(best) == sorted(wanted)


def _pairs(count: int) -> int:
    return count * (count - 1) // 2


def task_2_targets(labels: Sequence[str], present: Sequence[str]) -> set[int]:
    """Classes whose name is a part of a present one's: `rain` is a part of `train`."""
    return {number for number, label in enumerate(labels) if any(label in name for name in present)}


def task_5_targets(labels: Sequence[str], present: Sequence[str]) -> set[int]:
    """Classes that share one of the last two words of a present one, among the sentences with "first" only."""
    words = {word for name in present for word in name.split()[-2:]}
    return {number for number, label in enumerate(labels) if words & set(label.split()[-2:])}
