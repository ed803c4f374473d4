"""What reading caption dumps gives, for the tests of dumps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sonogloss.pipelines.running.caption_dumps import list_dumps
from sonogloss.records import DeadLetter
from sonogloss.transforms.read_captions import ReadCount, SourceFile, read_captions


class Read:
    """What reading some dumps gives."""

    def __init__(self, files: Sequence[SourceFile]) -> None:
        self.texts: list[str] = []
        self.dead: list[DeadLetter] = []
        self.counts: Counter[str] = Counter()
        self.columns: set[str] = set()
        self.left_out: set[str] = set()
        self.sources: Counter[str] = Counter()
        for item in (item for file in files for item in read_captions(file)):
            if isinstance(item, DeadLetter):
                self.dead.append(item)
            elif isinstance(item, ReadCount):
                self.counts.update({name: value for name, value in vars(item).items() if isinstance(value, int)})
                self.columns |= set(item.columns)
                self.left_out |= set(item.left_out)
            else:
                self.texts.append(item[1].text)
                self.sources[item[1].source] += 1
        assert len(self.dead) == self.counts["malformed"]

    @property
    def bad(self) -> list[int]:
        return [int(letter.member or 0) for letter in self.dead]


def read(*captions: Path | str, **options: Any) -> Read:
    return Read(list_dumps([str(each) for each in captions], **options).files)
