"""ZSTE, zero-shot temporal evaluation: what a CLAP knows of single sounds, of two, and of their order.

Five tasks and retrieval (arXiv 2408.09269; the settings are those of the released scripts, with classes compared by id:
there "rain" was found in "train"). Each is a question about similarities between one sound and some sentences:

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
from sonogloss.records import FloatArray
from sonogloss.temporal import released
from sonogloss.temporal.clips import LabelledClip, rank
from sonogloss.temporal.sentences import sentence
from sonogloss.temporal.sequences import PairGroup, Variant

SINGLE = "this is a sound of {}"
ORDER = "This is a sound of {}"
FIRST = "In this concatenated sound, the first sound is {}"
SECOND = "In this concatenated sound, the second sound is {}"
TASK_4_TEXTS = 50
TASK_4_OTHERS = 5
RETRIEVAL = "retrieval"
_TEXT_BATCH = 1024


@dataclass(frozen=True, kw_only=True)
class Item:
    """One question and its answer.

    Attributes:
        task: `1` to `5`, or `retrieval`.
        setting: which variant of the task.
        item: id of the clip or of the group.
        sound: `single`, `forward`, `reverse` or `overlay`.
        truth: the right answer, in words.
        answer: the CLAP's.
        correct: None in retrieval.
        rank: of the truth, from 1; None outside retrieval.
        candidates: number of sentences.
        chance: how often guessing is right; None in retrieval.
    """

    task: str
    setting: str
    item: str
    sound: str
    truth: str
    answer: str
    correct: bool | None
    rank: int | None
    candidates: int
    chance: float | None


class TextBank:
    """Every sentence of an evaluation, embedded once: `vectors` [texts, dim]."""

    def __init__(self, texts: Sequence[str], vectors: FloatArray) -> None:
        self._row = {text: row for row, text in enumerate(texts)}
        self._vectors = vectors

    @classmethod
    def embed(cls, texts: Iterable[str], clap: Clap) -> TextBank:
        """Embed distinct texts."""
        distinct = sorted(set(texts))
        parts = [clap.embed_text(distinct[i : i + _TEXT_BATCH]) for i in range(0, len(distinct), _TEXT_BATCH)]
        return cls(distinct, np.concatenate(parts))

    def __len__(self) -> int:
        return len(self._row)

    def rows(self, texts: Sequence[str]) -> FloatArray:
        """The vectors of some of its texts, [len(texts), dim]."""
        return np.asarray(self._vectors[[self._row[text] for text in texts]])


@dataclass(frozen=True, kw_only=True)
class Questions:
    """What an evaluation asks: every clip, every group, and the classes that compete, sorted.

    `released_rules` adds tasks 2 and 5 as the released scripts score them, see :mod:`~sonogloss.temporal.released`.
    """

    clips: tuple[LabelledClip, ...]
    groups: tuple[PairGroup, ...]
    labels: tuple[str, ...]
    released_rules: bool = False

    def texts(self) -> list[str]:
        """Every sentence that any item needs, each once, sorted."""
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
        """The sentences of the test split: of every class, and of every group's three variants, each meaning once."""
        pairs = {retrieval_text(group, variant) for group in self.groups for variant in Variant}
        return [*self.labels, *sorted(pairs)]


class Judge:
    """Answers for the CLAP whose vectors it is handed."""

    def __init__(self, questions: Questions, bank: TextBank) -> None:
        self._labels, self._bank = questions.labels, bank
        self._released_rules = questions.released_rules
        self._id = {label: number for number, label in enumerate(questions.labels)}
        self._single = bank.rows(questions.single_texts())
        self._place = bank.rows(questions.place_texts())
        self._texts = questions.retrieval_texts()
        self._place_of = {text: number for number, text in enumerate(self._texts)}
        self._retrieval = bank.rows(self._texts)

    def clip(self, clip: LabelledClip, sound: FloatArray) -> list[Item]:
        """Task 1 and retrieval of a single clip, from its embedding [dim]."""
        best = top(self._single @ sound, 1)[0]
        right, chance = best == self._id[clip.label], 1 / len(self._labels)
        answer = self._labels[best]
        return [
            _verdict("1", "single", clip.id, "single", clip.label, answer, right, len(self._labels), chance),
            self._retrieved("single", clip.id, "single", clip.label, sound),
        ]

    def group(self, group: PairGroup, sounds: Mapping[Variant, FloatArray]) -> list[Item]:
        """Tasks 2 to 5 and retrieval of a group, from the embeddings of what :func:`needed` names."""
        heard, texts = coin(group), order_texts(group)
        forward, overlay = sounds[Variant.FORWARD], sounds[Variant.OVERLAY]
        return [
            *self._two_classes("sequence", group, heard, sounds[heard]),
            *self._two_classes("overlay", group, Variant.OVERLAY, overlay),
            self._best_of("3", "sequence", group, heard, texts[list(Variant).index(heard)], texts, sounds[heard]),
            self._best_of("3", "order", group, heard, texts[list(Variant).index(heard)], texts[:2], sounds[heard]),
            self._best_of("3", "overlay", group, Variant.OVERLAY, texts[2], texts, overlay),
            self._sentence(group, forward),
            *self._places(group, forward),
            self._retrieved("sequence", group.id, heard, retrieval_text(group, heard), sounds[heard]),
        ]

    def _two_classes(self, setting: str, group: PairGroup, variant: Variant, sound: FloatArray) -> list[Item]:
        ids, count = self._ids(group), len(self._labels)
        best = top(self._single @ sound, 2)
        verdicts = [
            (setting, both(best, ids), 1 / _pairs(count)),
            (f"{setting}, either", best[0] in ids, 2 / count),
        ]
        if self._released_rules:
            targets = released.task_2_targets(self._labels, (group.first.label, group.second.label))
            verdicts.append((f"{setting}, released rule", set(best) <= targets, _pairs(len(targets)) / _pairs(count)))
        truth, answer = (" + ".join(self._labels[i] for i in places) for places in (ids, best))
        return [
            _verdict("2", name, group.id, variant, truth, answer, right, count, chance)
            for name, right, chance in verdicts
        ]

    def _sentence(self, group: PairGroup, sound: FloatArray) -> Item:
        texts = task_4_texts(group, self._labels)
        return self._best_of("4", "forward", group, Variant.FORWARD, texts[0], texts, sound)

    def _best_of(
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
        return _verdict(task, setting, group.id, variant, truth, answer, answer == truth, len(texts), 1 / len(texts))

    def _places(self, group: PairGroup, sound: FloatArray) -> list[Item]:
        (first, second), count = self._ids(group), len(self._labels)
        best = top(self._place @ sound, 2)
        verdicts = [("forward", both(best, (first, count + second)), 1 / _pairs(2 * count))]
        if self._released_rules:
            targets = released.task_5_targets(self._labels, (group.first.label, group.second.label))
            chance = _pairs(len(targets)) / _pairs(2 * count)
            verdicts.append(("forward, released rule", set(best) <= targets, chance))
        names = [f"{place} {label}" for place in ("first", "second") for label in self._labels]
        truth, answer = (" + ".join(names[i] for i in places) for places in ((first, count + second), best))
        return [
            _verdict("5", name, group.id, Variant.FORWARD, truth, answer, right, 2 * count, chance)
            for name, right, chance in verdicts
        ]

    def _retrieved(self, setting: str, item: str, heard: str, truth: str, sound: FloatArray) -> Item:
        similarities = self._retrieval @ sound
        return Item(
            task=RETRIEVAL,
            setting=setting,
            item=item,
            sound=str(heard),
            truth=truth,
            answer=self._texts[top(similarities, 1)[0]],
            correct=None,
            rank=1 + int((similarities > similarities[self._place_of[truth]]).sum()),
            candidates=len(self._texts),
            chance=None,
        )

    def _ids(self, group: PairGroup) -> tuple[int, int]:
        return self._id[group.first.label], self._id[group.second.label]


def coin(group: PairGroup) -> Variant:
    """Which order of a group is heard in tasks 2 and 3: forward or reverse, by its id."""
    return Variant.REVERSE if rank("coin", group.id) % 2 else Variant.FORWARD


def needed(group: PairGroup) -> list[Variant]:
    """The variants that the tasks hear, each once."""
    return list(dict.fromkeys([Variant.FORWARD, coin(group), Variant.OVERLAY]))


def top(similarities: npt.ArrayLike, count: int) -> list[int]:
    """The places of the highest similarities, best first; of equal ones the first."""
    order = np.argsort(-np.asarray(similarities), kind="stable")
    return [int(place) for place in order[:count]]


def both(best: Sequence[int], wanted: Sequence[int]) -> bool:
    """Are the best exactly the wanted ones, in any order? Two clips of one class can never be."""
    return sorted(best) == sorted(wanted)


def order_texts(group: PairGroup) -> list[str]:
    """Task 3's sentences, in the order of the variants."""
    return [ORDER.format(sentence(group.first.label, group.second.label, variant)) for variant in Variant]


def task_4_texts(group: PairGroup, labels: Sequence[str]) -> list[str]:
    """Task 4's distinct sentences, the true one first and its overlay second.

    The released script enumerates what it draws from (for fifty classes 143,833,536 strings an item), takes other
    classes than the five, repeats itself, and in 2 % of the draws overwrites the true sentence. Here the five classes
    and the rest of the fifty sentences are those of the lowest hash with the group's id.
    """
    own = (group.first.label, group.second.label)
    others = sorted((label for label in labels if label not in own), key=lambda name: rank("other", group.id, name))
    classes = (*own, *others[:TASK_4_OTHERS])
    forced = [ORDER.format(sentence(*own, variant)) for variant in (Variant.FORWARD, Variant.OVERLAY)]
    drawn = [
        ORDER.format(sentence(a, b, variant))
        for a in classes
        for b in classes
        if a != b
        for variant in (Variant.FORWARD, Variant.OVERLAY)
    ]
    rest = sorted(set(drawn) - set(forced), key=lambda text: rank("text", group.id, text))
    return [*forced, *rest[: TASK_4_TEXTS - len(forced)]]


def retrieval_text(group: PairGroup, variant: Variant) -> str:
    """What retrieval is to find for a variant: overlays of the same two classes mean the same."""
    first, second = group.first.label, group.second.label
    if variant == Variant.OVERLAY:
        first, second = sorted((first, second))
    return sentence(first, second, variant)


def _pairs(count: int) -> int:
    return count * (count - 1) // 2


def _verdict(
    task: str,
    setting: str,
    item: str,
    sound: str,
    truth: str,
    answer: str,
    correct: bool,
    candidates: int,
    chance: float,
) -> Item:
    return Item(
        task=task,
        setting=setting,
        item=item,
        sound=str(sound),
        truth=truth,
        answer=answer,
        correct=bool(correct),
        rank=None,
        candidates=candidates,
        chance=chance,
    )
