"""Texts to learn label prompts from: found by keywords in a dump of captions, or made from the names alone.

**Search.** A caption belongs to a label when it holds all content words of the label, whatever their endings: `dog
barking` is found in "a dog barks twice". A label with commas, as AudioSet has them, is found by any of its parts.
Keywords of the user's own take the label's place. Where one label is true of a text, captions that belong to several
are left out.

**Names only.** A small grammar says that a sound is there: one of :data:`FRAMES` around the name, one of
:data:`CIRCUMSTANCES` behind it, and, where several labels may be true of a text, one of :data:`PAIRS` around two names.
It knows no verbs and no synonyms.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sonogloss.errors import OptionError

FRAMES = (
    "{0}",
    "the sound of {0}",
    "a sound of {0}",
    "this is a sound of {0}",
    "a recording of {0}",
    "the noise of {0}",
    "{0} can be heard",
    "{0} is heard",
    "there is {0}",
    "an audio clip of {0}",
)
CIRCUMSTANCES = (
    "",
    "in the background",
    "in the distance",
    "nearby",
    "loudly",
    "faintly",
    "once",
    "several times",
    "again and again",
    "for a while",
    "outside",
    "inside a room",
    "and then it is quiet",
    "with some noise",
)
PAIRS = (
    "{0} and {1}",
    "{0} with {1}",
    "{0} while {1} is heard",
    "{0} followed by {1}",
    "{0}, then {1}",
    "{0} with {1} in the background",
)
PAIR_SHARE = 0.5
OFTEN = 20
OTHER_WORDS = 1000

_EMPTY_WORDS = frozenset(
    {
        "a",
        "an",
        "the",
        "of",
        "and",
        "or",
        "in",
        "on",
        "at",
        "with",
        "to",
        "from",
        "by",
        "for",
        "is",
        "are",
        "being",
        "its",
    }
)
_ENDINGS = ("ing", "ed", "es", "s", "e")


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledTexts:
    """Texts, and which labels are true of each.

    Attributes:
        labels: the names.
        texts: sentences.
        truth: bool [texts, labels].
        other_words: frequent words of the dump that are no label's.
    """

    labels: tuple[str, ...]
    texts: tuple[str, ...]
    truth: npt.NDArray[np.bool_]
    other_words: tuple[str, ...] = ()

    def counts(self) -> dict[str, int]:
        """How many texts each label has."""
        return {label: int(n) for label, n in zip(self.labels, self.truth.sum(axis=0), strict=True)}

    def join(self, other: LabelledTexts) -> LabelledTexts:
        """Both, of the same labels."""
        return LabelledTexts(
            labels=self.labels,
            texts=self.texts + other.texts,
            truth=np.concatenate([self.truth, other.truth]),
            other_words=self.other_words + other.other_words,
        )


def search_texts(
    captions: Iterable[str],
    labels: Sequence[str],
    *,
    per_label: int,
    multi_label: bool = False,
    keywords: Mapping[str, Sequence[str]] | None = None,
) -> LabelledTexts:
    """Captions that name a label, at most so many a label.

    Where there are more, the shortest are taken, for they say the least of other things; among equals a digest decides,
    not the order of the dump.

    Args:
        captions: a dump, read once; repeated captions count once.
        labels: what to look for.
        per_label: texts a label, at most. With several labels a text, each needs room for the text in one of them.
        multi_label: keep captions that belong to several labels.
        keywords: phrases by label, instead of its name.
    """
    index = _KeywordIndex(labels, keywords or {})
    found: dict[str, tuple[int, ...]] = {}
    words: Counter[str] = Counter()
    for caption in captions:
        words.update(set(re.findall("[a-z]+", caption.lower())))
        hits = index.find(caption)
        if len(hits) == 1 or (hits and multi_label):
            found[caption] = hits
    chosen: list[str] = []
    taken = [0] * len(labels)
    for caption in sorted(found, key=lambda text: (len(text.split()), hashlib.sha256(text.encode()).digest())):
        if any(taken[label] < per_label for label in found[caption]):
            chosen.append(caption)
            for label in found[caption]:
                taken[label] += 1
    truth = np.zeros((len(chosen), len(labels)), np.bool_)
    for row, caption in enumerate(chosen):
        truth[row, list(found[caption])] = True
    return LabelledTexts(
        labels=tuple(labels), texts=tuple(chosen), truth=truth, other_words=_other_words(words, labels)
    )


def _other_words(counts: Counter[str], labels: Sequence[str]) -> tuple[str, ...]:
    """Content words that are in no label, the most frequent of those that occur often enough, in alphabetical order."""
    own = {word for label in labels for word in stems(label.replace("_", " "))}
    words = [
        word
        for word, count in sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
        if count >= OFTEN and 3 <= len(word) <= 20 and word not in _EMPTY_WORDS and stem(word) not in own
    ]
    return tuple(sorted(words[:OTHER_WORDS]))


def name_only_texts(
    labels: Sequence[str],
    *,
    per_label: int,
    multi_label: bool = False,
    seed: int = 0,
    only: Sequence[str] | None = None,
) -> LabelledTexts:
    """Texts made from names alone.

    Args:
        labels: the names; underscores become blanks.
        per_label: texts a label, at most as many as the grammar has.
        multi_label: make half of the texts name two labels.
        seed: decides which of the grammar's texts are drawn.
        only: make texts for these labels only.
    """
    texts: list[str] = []
    truth: list[npt.NDArray[np.bool_]] = []
    words = [" ".join(label.replace("_", " ").split()).lower() for label in labels]
    for number, label in enumerate(labels):
        if only is not None and label not in only:
            continue
        rng = np.random.default_rng([seed, int.from_bytes(hashlib.sha256(label.encode()).digest()[:4], "big")])
        alone = [" ".join(f"{frame} {tail}".split()) for frame in FRAMES for tail in CIRCUMSTANCES]
        for kind in rng.permutation(len(alone))[:per_label]:
            row = np.zeros(len(labels), np.bool_)
            row[number] = True
            if multi_label and len(labels) > 1 and rng.random() < PAIR_SHARE:
                other = int(rng.choice([n for n in range(len(labels)) if n != number]))
                row[other] = True
                names = [words[number], words[other]]
                texts.append(str(rng.choice(PAIRS)).format(*rng.permutation(names)))
            else:
                texts.append(alone[kind].format(words[number]))
            truth.append(row)
    return LabelledTexts(
        labels=tuple(labels),
        texts=tuple(texts),
        truth=np.stack(truth) if truth else np.zeros((0, len(labels)), np.bool_),
    )


def stem(word: str) -> str:
    """A word without its ending, so that `barks`, `barking` and `barked` are one; crude, and the same everywhere."""
    for ending in _ENDINGS:
        rest = word.removesuffix(ending)
        if rest != word and len(rest) >= 3 and re.search("[aeiouy]", rest) and not word.endswith("ss"):
            word = rest
            break
    if len(word) > 3 and word[-1] == word[-2]:
        word = word[:-1]
    return word[:-1] + "i" if word.endswith("y") else word


def stems(text: str) -> list[str]:
    """The stems of a text's words, lower-case."""
    return [stem(word) for word in re.findall(r"[^\W_]+", text.lower())]


class _KeywordIndex:
    """Which labels does a caption name? Looks a caption's words up instead of trying every label."""

    def __init__(self, labels: Sequence[str], keywords: Mapping[str, Sequence[str]]) -> None:
        if unknown := sorted(set(keywords) - set(labels)):
            raise OptionError(f"There are keywords for {unknown[0]!r}, which is no label.", "Name labels only.")
        self._by_word: dict[str, list[tuple[int, frozenset[str]]]] = {}
        for number, label in enumerate(labels):
            for phrase in keywords.get(label) or label.replace("_", " ").split(","):
                words = re.findall(r"[^\W_]+", re.sub(r"\(.*?\)", " ", phrase.lower()))
                needed = frozenset(stem(word) for word in words if word not in _EMPTY_WORDS)
                if needed:
                    self._by_word.setdefault(min(needed), []).append((number, needed))

    def find(self, caption: str) -> tuple[int, ...]:
        """Numbers of the labels, in order."""
        words = frozenset(stems(caption))
        hits = {number for word in words for number, needed in self._by_word.get(word, ()) if needed <= words}
        return tuple(sorted(hits))
