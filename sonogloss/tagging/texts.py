"""Texts for learning label prompts, found by keywords in a dump of captions or made from the names alone.

**Search.** A caption matches a label when it holds all content words of the label, whatever their endings: `dog
barking` matches "a dog barks twice". Any part of a label with commas, as in AudioSet, will do. Phrases of the user's
own replace the label. With one label a text, captions that match several are left out.

**Names only.** A small grammar puts one of :data:`FRAMES` around the name and one of :data:`CIRCUMSTANCES` behind it,
or, with several labels a text, one of :data:`PAIRS` around two names. It knows no verbs and no synonyms.
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

_FUNCTION_WORDS = "a an the of and or in on at with to from by for is are being its"
_EMPTY_WORDS = frozenset(_FUNCTION_WORDS.split())
_ENDINGS = ("ing", "ed", "es", "s", "e")


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledTexts:
    """Texts, and which labels are true of each.

    Attributes:
        labels: the names.
        texts: sentences.
        truth: bool [texts, labels].
        other_words: frequent words of the dump that are in no label.
    """

    labels: tuple[str, ...]
    texts: tuple[str, ...]
    truth: npt.NDArray[np.bool_]
    other_words: tuple[str, ...] = ()

    def counts(self) -> dict[str, int]:
        """Number of texts of each label."""
        return {label: int(n) for label, n in zip(self.labels, self.truth.sum(axis=0), strict=True)}

    def join(self, other: LabelledTexts) -> LabelledTexts:
        """The texts of both; the labels must be the same."""
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
    """Captions that match labels, the shortest ones first, as they say the least of other things.

    Among captions of equal length a digest decides, so the order of the dump does not matter.

    Args:
        captions: a dump, read once; repeated captions count once.
        labels: to search for.
        per_label: texts a label at most. A text of several labels is taken while one of them has too few.
        multi_label: keep captions that match several labels.
        keywords: phrases by label, instead of its name.

    Raises:
        OptionError: there are keywords for a name that is no label.
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
    counts = [0] * len(labels)
    for caption in sorted(found, key=lambda text: (len(text.split()), hashlib.sha256(text.encode()).digest())):
        if any(counts[label] < per_label for label in found[caption]):
            chosen.append(caption)
            for label in found[caption]:
                counts[label] += 1
    truth = np.zeros((len(chosen), len(labels)), np.bool_)
    for row, caption in enumerate(chosen):
        truth[row, list(found[caption])] = True
    return LabelledTexts(
        labels=tuple(labels), texts=tuple(chosen), truth=truth, other_words=_other_words(words, labels)
    )


def _other_words(counts: Counter[str], labels: Sequence[str]) -> tuple[str, ...]:
    """The most frequent content words that are in no label, in alphabetical order."""
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
        multi_label: half of the texts name two labels.
        seed: of the choice of texts.
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
    """A word without its ending, so that `barks`, `barking` and `barked` are equal; crude but deterministic."""
    for ending in _ENDINGS:
        rest = word.removesuffix(ending)
        if rest != word and len(rest) >= 3 and re.search("[aeiouy]", rest) and not word.endswith("ss"):
            word = rest
            break
    if len(word) > 3 and word[-1] == word[-2]:
        word = word[:-1]
    return word[:-1] + "i" if word.endswith("y") else word


def stems(text: str) -> list[str]:
    """The stems of a text's words, in lower case."""
    return [stem(word) for word in re.findall(r"[^\W_]+", text.lower())]


class _KeywordIndex:
    """Finds the labels that a caption matches by looking up its words, without trying every label."""

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
        """Indices of the matching labels, ascending."""
        words = frozenset(stems(caption))
        hits = {number for word in words for number, needed in self._by_word.get(word, ()) if needed <= words}
        return tuple(sorted(hits))
