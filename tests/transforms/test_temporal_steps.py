"""Steps of ZSTE and of post-training in a job: sentences, items, and parts of measured clips."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.internal.cloudpickle_pickler import dumps, loads
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.util import assert_that

from sonogloss.audio.mel import MelSettings
from sonogloss.clap import Clap
from sonogloss.errors import ClipError
from sonogloss.records import DeadLetter
from sonogloss.temporal.clips import LabelledClip
from sonogloss.temporal.features import read_part
from sonogloss.temporal.sequences import PairSettings, draw_groups
from sonogloss.temporal.zste import Judge, Questions, TextBank
from sonogloss.transforms.batch_step import Step
from sonogloss.transforms.encode_variants import ClipReader, EncodeVariants, cut_zste_units, encode_unit
from sonogloss.transforms.judge_items import JudgedUnit, JudgeItems, judge_unit
from sonogloss.transforms.measure_clips import (
    COMMITTED,
    UNIT,
    MeasureClips,
    MeasuredUnit,
    commit_clips,
    cut_clip_units,
)
from sonogloss.transforms.models import ClapReference


@pytest.fixture
def clips(tmp_path: Path, encode: Callable[..., bytes]) -> list[LabelledClip]:
    """Four short sounds of two classes, and one file that is no audio."""
    found = []
    for number, label in enumerate(["dog", "dog", "rain", "rain", "rain"]):
        path = tmp_path / f"{number}.wav"
        samples = 0.1 * np.random.default_rng(number).standard_normal(16000)
        path.write_bytes(b"text" if number == 4 else encode(samples, 16000))
        found.append(LabelledClip(id=f"{number:032d}", uri=str(path), label=label, source=str(number)))
    return found


def test_a_job_of_zste_gives_what_its_functions_give(
    tiny_clap_dir: Path, tiny_clap: Clap, clips: list[LabelledClip], tmp_path: Path
) -> None:
    reference, pairs = ClapReference.of(str(tiny_clap_dir)), PairSettings()
    questions = Questions(clips=tuple(clips), groups=tuple(draw_groups(clips, 6, seed=0)), labels=("dog", "rain"))
    reader = ClipReader(clap=reference, settings=pairs).load()
    judge = Judge(questions, TextBank.embed(questions.texts(), tiny_clap))
    expected = [judge_unit(encode_unit(unit, tiny_clap, pairs, reader), judge) for unit in cut_zste_units(questions)]
    progress = tmp_path / "progress"
    progress.touch()

    def check(found: list[JudgedUnit]) -> None:
        assert [unit.items for unit in found] == [unit.items for unit in expected]
        (unit,) = found
        assert [letter.clip_id for letter in unit.dead] == [clips[4].id]
        assert unit.left_out == sum(clips[4] in (group.first, group.second) for group in questions.groups)

    with beam.Pipeline("FnApiRunner", options=PipelineOptions([])) as pipeline:
        bank = pipeline | "Texts" >> beam.Create([questions.texts()]) | Step(TextBank.embed, clap=reference)
        judged = (
            pipeline
            | "Units" >> beam.Create(cut_zste_units(questions))
            | EncodeVariants(reference, pairs, str(progress))
            | JudgeItems(questions, beam.pvalue.AsSingleton(bank))
        )
        assert_that(judged, check)
    (line,) = progress.read_text().splitlines()
    assert line == f"{expected[0].encoded} 1 1 0"


def test_a_reader_is_made_on_the_worker_and_keeps_what_it_read(tiny_clap_dir: Path, clips: list[LabelledClip]) -> None:
    reference = ClipReader(clap=ClapReference.of(str(tiny_clap_dir)), settings=PairSettings())
    payload = dumps(reference)
    assert len(payload) < 1000
    read = loads(payload).load()
    assert read(clips[0]) is read(clips[0])
    with pytest.raises(ClipError):
        read(clips[4])


def test_measured_clips_lie_in_parts_that_one_file_names(tmp_path: Path, clips: list[LabelledClip]) -> None:
    output = tmp_path / "measured"
    mel = MelSettings(
        sample_rate=16000,
        window_s=2.0,
        fft_size=512,
        hop_length=160,
        mel_bins=16,
        frequency_min=50,
        frequency_max=8000,
        filters="slaney",
        padding="repeatpad",
    )

    def check(found: list[dict[str, Any]]) -> None:
        assert found == [json.loads((output / COMMITTED).read_text())]

    with beam.Pipeline("FnApiRunner", options=PipelineOptions([])) as pipeline:
        units = pipeline | beam.Create(cut_clip_units(clips))
        committed = units | MeasureClips(str(output), mel, PairSettings(), {"digest": "d"}, None)
        assert_that(committed, check)
    content = json.loads((output / COMMITTED).read_text())
    assert content["digest"] == "d"
    assert [letter["clip_id"] for letter in content["dead_letters"]] == [clips[4].id]
    (part,) = content["parts"]
    assert [clip.id for clip in read_part(str(output), part).clips] == [clip.id for clip in clips[:4]]


def test_units_of_clips_do_not_depend_on_the_listing_and_empty_parts_are_not_named(tmp_path: Path) -> None:
    many = [LabelledClip(id=f"{n:04d}", uri="", label="a", source="s") for n in range(2 * UNIT + 1)]
    assert cut_clip_units(many) == cut_clip_units(many[::-1])
    assert [len(unit) for unit in cut_clip_units(many)] == [UNIT, UNIT, 1]
    letter = DeadLetter(clip_id="c", uri="u", member=None, stage="s", code="EMPTY", message="m")
    units = [
        MeasuredUnit(name="part-b", clips=2, dead=()),
        MeasuredUnit(name="part-a", clips=0, dead=(letter,)),
    ]
    content = commit_clips(iter(units), output=str(tmp_path), facts={"digest": "d"})
    assert content["parts"] == ["part-b"]
    assert [found["code"] for found in content["dead_letters"]] == ["EMPTY"]
