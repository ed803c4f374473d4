"""join_references: results beside their references, a bucket of keys at a time (see key_buckets)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sonogloss import files
from sonogloss.errors import FormatError
from sonogloss.metrics.ngrams import Integers
from sonogloss.metrics.tokenize import holds_words_without_blanks
from sonogloss.transforms.key_buckets import (
    JOINED_SCHEMA,
    REFERENCES,
    ROWS,
    ROWS_A_PART,
    TEXTS,
    arrow_writer,
    bucket_path,
    read_batches,
)
from sonogloss.transforms.progress_file import note

NAMED = 1000  # names of each kind that are kept


@dataclass(frozen=True, kw_only=True)
class JoinPlan:
    """What is joined.

    Attributes:
        folder: where the buckets lie.
        buckets: how many there are.
        rows: of the results.
        results, references: where both come from, for messages.
        key: the column of the references that they go by.
        first: the key of the first row, for a message.
        best: of several captions of a key, only the one with the highest `clap_score` counts, the first of equal ones.
    """

    folder: str
    buckets: int
    rows: int
    results: str
    references: str
    key: str
    first: str
    best: bool

    @property
    def parts(self) -> range:
        """The number of each bucket."""
        return range(self.buckets)

    @property
    def ranges(self) -> int:
        """How many batches of rows each bucket has."""
        return -(-self.rows // ROWS_A_PART)


@dataclass
class Names:
    """How many, and the first of their names with their places in a table."""

    count: int = 0
    first: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, number: int) -> None:
        """Count one."""
        self.count += 1
        if len(self.first) < NAMED:
            self.first.setdefault(name, number)

    @classmethod
    def merged(cls, pieces: Sequence[Mapping[str, Any]]) -> Names:
        """All of them, each as JSON has it; no name is in two."""
        named = sorted(chain.from_iterable(piece["first"].items() for piece in pieces), key=lambda item: item[1])
        return cls(count=sum(piece["count"] for piece in pieces), first=dict(named[:NAMED]))


@dataclass(frozen=True, kw_only=True, eq=False)
class Joined:
    """What became of the rows.

    Attributes:
        kept: how many rows of each range are scored: they have references.
        without_references: keys of rows without references.
        without_caption: keys of references without a row.
        several_captions: keys of several rows, each of which is scored against all references of its key.
        empty_captions: keys of rows with references, but without a caption; they score 0.
        clap_scores: is there a row with one?
        unsplit: a text in a script that puts no blanks between words, if there is one.
    """

    kept: Integers
    without_references: Names
    without_caption: Names
    several_captions: Names
    empty_captions: Names
    clap_scores: bool
    unsplit: str | None


def join_bucket(bucket: int, plan: JoinPlan, progress: str | None = None) -> int:
    """Find the references of the rows of a bucket, and write down what became of them.

    Raises:
        FormatError: two files have one name, or captions of a key cannot be compared.
    """
    references = _References(plan, bucket)
    chosen = _choose_best(references.places, plan, bucket) if plan.best else None
    join = _Join(references, plan, chosen)
    with arrow_writer(bucket_path(plan.folder, "joined", bucket), JOINED_SCHEMA) as writer:
        for batch in read_batches(plan.folder, ROWS, bucket):
            writer.write_batch(join.add(batch))
    files.write_json(bucket_path(plan.folder, "outcome", bucket), join.outcome())
    note(progress, done=0, units=1)
    return bucket


class _References:
    """Those of a bucket: by key the `places` of lists of `texts`, and `numbers` of the rows that named each first."""

    def __init__(self, plan: JoinPlan, bucket: int) -> None:
        self.places: dict[str, int] = {}
        self.numbers: list[int] = []
        names = FileNames("--references", plan.references)
        owners, lists = list[int](), []
        for batch in read_batches(plan.folder, REFERENCES, bucket):
            columns = (batch[column].to_pylist() for column in ("number", "key", "name"))
            for number, key, name in zip(*columns, strict=True):
                place = self.places.setdefault(key, len(self.places))
                if place == len(self.numbers):
                    self.numbers.append(number)
                names.check(key, name)
                owners.append(place)
            lists.append(batch["texts"])
        every = pa.chunked_array(lists, TEXTS).combine_chunks()
        self.texts = _merged_lists(every, np.array(owners, np.int64), len(self.places))


def _merged_lists(lists: pa.Array, owners: Integers, count: int) -> pa.Array:
    """A list each owner, of the texts of all of its lists."""
    if count == len(owners):
        return lists
    owner = np.repeat(owners, pc.list_value_length(lists).to_numpy())
    texts = lists.flatten().take(pa.array(np.argsort(owner, kind="stable")))
    ends = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=count))])
    return pa.LargeListArray.from_arrays(pa.array(ends, pa.int64()), texts)


class FileNames:
    """File names are compared without their folders: two files of one name cannot be told apart."""

    def __init__(self, option: str, path: str) -> None:
        self._option, self._path = option, path
        self._names: dict[str, str] = {}

    def check(self, key: str, name: str | None) -> None:
        """Note the file of a key.

        Raises:
            FormatError: there is another one of its name.
        """
        if name is not None and (first := self._names.setdefault(key, name)) != name:
            raise FormatError(
                f"{self._option} {self._path!r} names two files {files.base_name(name)!r}: {first!r} and {name!r}.",
                "Use the key uri or clip_id.",
            )


def _choose_best(places: Mapping[str, int], plan: JoinPlan, bucket: int) -> Integers:
    """The number of the row that counts, by the place of the references; -1 where there is none."""
    chosen, scores = np.full(len(places), -1), np.full(len(places), np.nan)
    for batch in read_batches(plan.folder, ROWS, bucket):
        rows = zip(*(batch[column].to_pylist() for column in ("number", "key", "clap_score")), strict=True)
        for number, key, known in rows:
            if (place := places.get(key)) is not None:
                score = math.nan if known is None else known
                if chosen[place] >= 0 and math.isnan(score + scores[place]):
                    raise FormatError(
                        f"--results {plan.results!r} has several captions of {key!r}, and not all of them have a "
                        "clap_score.",
                        "Leave --per recording out.",
                    )
                if chosen[place] < 0 or score > scores[place]:
                    chosen[place], scores[place] = number, score
    return chosen


class _Join:
    def __init__(self, references: _References, plan: JoinPlan, chosen: Integers | None) -> None:
        self._references, self._chosen = references, chosen
        self._names = FileNames("--results", plan.results)
        self._captions = np.zeros(len(references.places), np.int64)  # by place
        self._kept: list[int] = []
        self._without, self._empty = Names(), Names()
        self._clap_scores = False
        self._unsplit: str | None = None

    def add(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows of a range beside their references."""
        rows, places = [], []
        columns = (batch[column].to_pylist() for column in ("number", "key", "name", "caption"))
        for row, (number, key, name, caption) in enumerate(zip(*columns, strict=True)):
            place = self._references.places.get(key)
            if place is None:
                self._without.add(key, number)
                continue
            self._names.check(key, name)
            if self._chosen is not None and self._chosen[place] != number:
                continue
            self._captions[place] += 1
            if not caption.strip():
                self._empty.add(key, number)
            rows.append(row)
            places.append(place)
        self._kept.append(len(rows))
        kept = batch.take(pa.array(rows, pa.int64()))
        texts = self._references.texts.take(pa.array(places, pa.int64()))
        self._clap_scores = self._clap_scores or kept["clap_score"].null_count < len(rows)
        if self._unsplit is None:
            written = chain(_beyond_ascii(kept["caption"]), _beyond_ascii(texts.flatten()))
            self._unsplit = next(filter(holds_words_without_blanks, written), None)
        columns_out = [kept["number"], kept["key"], kept["clip_id"], kept["caption"], texts, kept["clap_score"]]
        return pa.record_batch(columns_out, schema=JOINED_SCHEMA)

    def outcome(self) -> dict[str, Any]:
        """What became of them, for :func:`read_joined`."""
        without_caption, several = Names(), Names()
        rows = zip(self._references.places, self._references.numbers, self._captions.tolist(), strict=True)
        for key, number, captions in rows:
            if captions != 1:
                (several if captions else without_caption).add(key, number)
        return {
            "kept": self._kept,
            "without_references": vars(self._without),
            "without_caption": vars(without_caption),
            "several_captions": vars(several),
            "empty_captions": vars(self._empty),
            "clap_scores": self._clap_scores,
            "unsplit": self._unsplit,
        }


def _beyond_ascii(texts: pa.Array) -> list[str]:
    return list(texts.filter(pc.invert(pc.string_is_ascii(texts))).to_pylist())


def read_joined(plan: JoinPlan) -> Joined:
    """What became of all rows, when every bucket is joined."""
    found = [files.read_json(bucket_path(plan.folder, "outcome", bucket)) for bucket in plan.parts]
    names = ("without_references", "without_caption", "several_captions", "empty_captions")
    return Joined(
        kept=np.sum([outcome["kept"] for outcome in found], axis=0, dtype=np.int64),
        clap_scores=any(outcome["clap_scores"] for outcome in found),
        unsplit=next((outcome["unsplit"] for outcome in found if outcome["unsplit"] is not None), None),
        **{name: Names.merged([outcome[name] for outcome in found]) for name in names},
    )
