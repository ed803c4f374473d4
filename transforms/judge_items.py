"""judge_items: embeddings of sounds and of sentences -> ZSTE's questions answered, one item each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import apache_beam as beam
from apache_beam.pvalue import AsSingleton, PCollection

from sonogloss.records import DeadLetter
from sonogloss.temporal.zste import Item, Judge, Questions, TextBank
from sonogloss.transforms.encode_variants import EncodedUnit


@dataclass(frozen=True, kw_only=True)
class JudgedUnit:
    """The items of a unit, and its counts."""

    items: tuple[Item, ...]
    encoded: int
    left_out: int
    dead: tuple[DeadLetter, ...]


def judge_unit(unit: EncodedUnit, judge: Judge) -> JudgedUnit:
    """Every task's verdict on a unit's clips and groups."""
    items = [item for clip, vector in unit.clips for item in judge.clip(clip, vector)]
    items += [item for group, vectors in unit.groups for item in judge.group(group, vectors)]
    return JudgedUnit(items=tuple(items), encoded=unit.encoded, left_out=unit.left_out, dead=unit.dead)


class _JudgeItemsFn(beam.DoFn):
    def __init__(self, questions: Questions) -> None:
        self._questions = questions
        self._judge: Judge | None = None

    def process(self, unit: EncodedUnit, bank: TextBank) -> Iterator[JudgedUnit]:
        if self._judge is None:  # the bank is the same for every unit
            self._judge = Judge(self._questions, bank)
        yield judge_unit(unit, self._judge)


class JudgeItems(beam.PTransform[PCollection[EncodedUnit], PCollection[JudgedUnit]]):
    """Encoded units -> items, see :func:`judge_unit`."""

    def __init__(self, questions: Questions, bank: AsSingleton) -> None:
        super().__init__()
        self._questions, self._bank = questions, bank

    def expand(self, pcoll: PCollection[EncodedUnit]) -> PCollection[JudgedUnit]:
        return pcoll | beam.ParDo(_JudgeItemsFn(self._questions), self._bank)
