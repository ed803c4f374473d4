"""ZSTE's steps: each sound is encoded once, failures cost what hangs on them, and every item has its answer."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from sonogloss import files
from sonogloss.errors import ClipError, Code
from sonogloss.records import FloatArray
from sonogloss.temporal.clips import LabelledClip
from sonogloss.temporal.config import PairSettings
from sonogloss.temporal.sequences import draw_groups
from sonogloss.temporal.zste import Judge, Questions, TextBank, needed
from sonogloss.transforms.encode_variants import BATCH, EncodedUnit, ZsteUnit, cut_zste_units, encode_unit
from sonogloss.transforms.judge_items import JudgedUnit, judge_unit
from sonogloss.transforms.write_zste import FACTS_KEY, ITEMS, SUMMARY, write_zste

RATE = 100


class CountingClap:
    """Embeds a sound as two of its numbers, and remembers what it was asked."""

    name, fingerprint, dim, sample_rate, window_s, temperature = "counting", "0" * 64, 3, RATE, 10.0, 1.0

    def __init__(self) -> None:
        self.sounds: list[bytes] = []
        self.texts: list[str] = []

    def embed_audio(self, waveforms: Sequence[FloatArray]) -> FloatArray:
        assert len(waveforms) <= BATCH
        if any((w == 0.5).any() for w in waveforms):
            raise RuntimeError("this model does not like one half")
        self.sounds += [w.tobytes() for w in waveforms]
        return np.array([[w.sum(), w[0], w[-1]] for w in waveforms], np.float32)

    def embed_text(self, texts: Sequence[str]) -> FloatArray:
        self.texts += texts
        return np.array([[len(text), ord(text[-1]), 1] for text in texts], np.float32)


def clip(label: str, number: int) -> LabelledClip:
    return LabelledClip(id=f"{label}{number}", uri=f"/clips/{label}{number}.wav", label=label, source=label)


CLIPS = [clip(label, number) for label in "abcd" for number in range(10)]


def read(clip: LabelledClip) -> FloatArray:
    rng = np.random.default_rng(int.from_bytes(clip.id.encode()))
    return (0.4 * rng.random(3 * RATE)).astype(np.float32)


@pytest.fixture
def questions() -> Questions:
    groups = tuple(draw_groups(CLIPS, 60, seed=0))
    return Questions(clips=tuple(CLIPS), groups=groups, labels=("a", "b", "c", "d"))


def encode(questions: Questions, clap: CountingClap, read_clip: object = read) -> list[EncodedUnit]:
    return [encode_unit(unit, clap, PairSettings(), read_clip) for unit in cut_zste_units(questions)]  # type: ignore[arg-type]


def test_units_hold_every_clip_and_group_once(questions: Questions) -> None:
    units = cut_zste_units(questions)
    assert len(units) > 1
    assert Counter(c.id for unit in units for c in unit.clips) == Counter(c.id for c in CLIPS)
    assert Counter(g.id for unit in units for g in unit.groups) == Counter(g.id for g in questions.groups)
    assert cut_zste_units(Questions(clips=questions.clips[::-1], groups=questions.groups, labels=())) == units


def test_every_variant_and_every_text_is_encoded_exactly_once(questions: Questions) -> None:
    clap = CountingClap()
    units = encode(questions, clap)
    wanted = len(CLIPS) + sum(len(needed(group)) for group in questions.groups)
    assert len(clap.sounds) == len(set(clap.sounds)) == wanted == sum(unit.encoded for unit in units)
    bank = TextBank.embed(questions.texts() * 2, clap)
    assert len(clap.texts) == len(set(clap.texts)) == len(bank) == len(questions.texts())
    items = [item for unit in units for item in judge_unit(unit, Judge(questions, bank)).items]
    of_groups = [("3", "sequence"), ("3", "order"), ("3", "overlay"), ("4", "forward"), ("5", "forward")]
    of_groups += [("2", f"{name}{either}") for name in ("sequence", "overlay") for either in ("", ", either")]
    of_groups.append(("retrieval", "sequence"))
    assert Counter((item.task, item.setting) for item in items) == {
        ("1", "single"): 40,
        ("retrieval", "single"): 40,
        **dict.fromkeys(of_groups, 60),
    }


def test_a_clip_that_cannot_be_read_takes_its_groups_with_it(questions: Questions) -> None:
    def fails(wanted: LabelledClip) -> FloatArray:
        if wanted.id == "b3":
            raise ClipError(Code.CORRUPT, "broken")
        return read(wanted)

    units = encode(questions, CountingClap(), fails)
    lost = [g for g in questions.groups if "b3" in (g.first.id, g.second.id)]
    assert {letter.clip_id for unit in units for letter in unit.dead} == {"b3"}
    assert sum(unit.left_out for unit in units) == len(lost)
    assert sum(len(unit.clips) for unit in units) == 39
    assert sum(len(unit.groups) for unit in units) == 60 - len(lost)


def test_a_sound_the_model_fails_on_costs_that_sound(questions: Questions) -> None:
    def one_half(wanted: LabelledClip) -> FloatArray:
        return np.full(RATE, 0.5, np.float32) if wanted.id == "c1" else read(wanted)

    units = encode(questions, CountingClap(), one_half)
    dead = [letter for unit in units for letter in unit.dead]
    assert all(letter.code == "MODEL_FAILED" for letter in dead)
    assert "c1" in {letter.clip_id for letter in dead}
    assert sum(len(unit.clips) for unit in units) == 39


def test_embeddings_that_are_no_numbers_are_dead_letters() -> None:
    class Broken(CountingClap):
        def embed_audio(self, waveforms: Sequence[FloatArray]) -> FloatArray:
            return np.full((len(waveforms), 3), np.nan, np.float32)

    unit = encode_unit(ZsteUnit(clips=(CLIPS[0],), groups=()), Broken(), PairSettings(), read)
    assert [letter.code for letter in unit.dead] == ["NON_FINITE"]


def test_the_summary_is_written_last_with_its_counts(questions: Questions, tmp_path: Path) -> None:
    clap = CountingClap()
    judge = Judge(questions, TextBank.embed(questions.texts(), clap))
    judged: list[JudgedUnit] = [judge_unit(unit, judge) for unit in encode(questions, clap)]
    facts = write_zste(judged[::-1], output=str(tmp_path), facts={"format": "sonogloss-zste"})
    items = files.read_table(str(tmp_path / ITEMS))
    assert items.num_rows == facts["counts"]["items"] == 2 * 40 + 10 * 60
    assert items.column("task").to_pylist() == sorted(items.column("task").to_pylist())
    schema = pq.read_schema(tmp_path / SUMMARY)
    assert schema.names == ["task", "setting", "metric", "value", "low", "high", "chance", "n"]
    assert json.loads(schema.metadata[FACTS_KEY]) == facts
    before = (tmp_path / ITEMS).read_bytes(), (tmp_path / SUMMARY).read_bytes()
    write_zste(judged, output=str(tmp_path), facts={"format": "sonogloss-zste"})
    assert before == ((tmp_path / ITEMS).read_bytes(), (tmp_path / SUMMARY).read_bytes())
