"""The one step: what travels to a worker, what is loaded there, and that a failing clip costs that clip alone."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.internal.cloudpickle_pickler import dumps, loads
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.util import assert_that, equal_to
from hypothesis import given, settings
from hypothesis import strategies as st

from sonogloss.errors import OptionError
from sonogloss.records import FloatArray
from sonogloss.transforms.batch_step import BatchStep, Gather, Step, timed
from sonogloss.transforms.embed_audio import embed_audio
from sonogloss.transforms.models import ClapReference, DatastoreReference, Reference
from sonogloss.transforms.rerank import embed_for_reranking, rerank
from sonogloss.transforms.retrieve import retrieve
from sonogloss.transforms.score import score
from sonogloss.transforms.work import Batch
from sonogloss.transforms.write_captions import write_captions

from .conftest import MakeBatch, make_clip

LOADED: list[str] = []


@dataclass(frozen=True)
class Model:
    """A reference that notes when it is loaded."""

    name: str

    def load(self) -> str:
        LOADED.append(self.name)
        return self.name.upper()


def describe(element: int, model: str, suffix: str = "") -> str:
    return f"{element} {model}{suffix}"


def worker(step: Step) -> Any:
    """The step's DoFn as it arrives on a worker."""
    return loads(dumps(step._fn))


def test_references_are_loaded_in_set_up_and_everything_else_is_handed_on() -> None:
    LOADED.clear()
    fn = worker(Step(describe, model=Model("clap"), suffix="!"))
    assert LOADED == []
    fn.setup()
    assert [*fn.process(1), *fn.process(2)] == ["1 CLAP!", "2 CLAP!"]
    assert LOADED == ["clap"]


def test_arguments_that_do_not_fit_are_found_when_the_job_is_put_together() -> None:
    for arguments in ({}, {"model": "m", "sufix": "!"}, {"suffix": "!"}):
        with pytest.raises(TypeError):
            Step(describe, **arguments)
    with pytest.raises(TypeError, match="clap"):
        BatchStep(score, captioner="m")


def test_steps_in_a_job_carry_their_labels_and_their_functions_names() -> None:
    pipeline = beam.Pipeline("FnApiRunner", options=PipelineOptions([]))
    elements = pipeline | beam.Create([3, 1, 2]) | "Describe" >> Step(describe, model=Model("m"))
    _ = elements | "Join" >> Gather(join, sep=",")
    labels: list[str] = []

    class Visitor(beam.pipeline.PipelineVisitor):
        def visit_transform(self, node: Any) -> None:
            labels.append(node.full_label)

    pipeline.visit(Visitor())
    assert "Describe/describe" in labels
    assert "Join/join" in labels


def join(elements: Iterable[str], more: Sequence[str] = (), *, sep: str) -> str:
    return sep.join([*sorted(elements), *more])


def test_gather_hands_over_all_elements_at_once_with_side_inputs() -> None:
    with beam.Pipeline("FnApiRunner", options=PipelineOptions([])) as pipeline:
        side = beam.pvalue.AsList(pipeline | "Side" >> beam.Create(["z"]))
        found = pipeline | "Create" >> beam.Create(["b", "a"]) | "Join" >> Gather(join, side, sep="-")
        nothing = pipeline | "Empty" >> beam.Create([]) | "JoinNothing" >> Gather(join, sep="-")
        assert_that(found, equal_to(["a-b-z"]), label="all")
        assert_that(nothing, equal_to([""]), label="none")


def test_what_travels_is_small_and_names_functions_instead_of_copying_them() -> None:
    clap = ClapReference(name="pocket", fingerprint="f" * 64)
    store = DatastoreReference(path="gs://bucket/store", fingerprint="f" * 64)
    steps: list[BatchStep] = [
        BatchStep(embed_audio, clap=clap),
        BatchStep(embed_for_reranking, stage="rerank_audio", reranker=clap, sample_rate=32000),
        BatchStep(retrieve, datastore=store, contexts=3, projection=None),
        BatchStep(write_captions, captioner=clap, beams=(2, 3)),
        BatchStep(rerank, reranker=clap),
        BatchStep(score, clap=clap),
    ]
    for step in steps:
        payload = dumps(step._fn)
        assert len(payload) < 1200
        for again in (loads(payload), pickle.loads(pickle.dumps(step._fn))):
            assert again._function.args == step._fn._function.args  # the function itself, found by its name
            assert again._arguments == step._fn._arguments


def test_models_and_stores_are_references_and_plain_settings_are_not() -> None:
    assert isinstance(ClapReference(name="a", fingerprint="b"), Reference)
    assert isinstance(DatastoreReference(path="a", fingerprint="b"), Reference)
    for value in (3, "pocket", (2, 3), None, np.zeros(3)):
        assert not isinstance(value, Reference)


def test_seconds_are_noted_under_the_functions_name_or_the_stage_given(make_batch: MakeBatch) -> None:
    for step, name in ((BatchStep(slow), "slow"), (BatchStep(slow, stage="other"), "other")):
        fn = worker(step)
        fn.setup()
        (batch,) = fn.process(make_batch(2))
        assert set(batch.seconds) == {"read_audio", name}
        assert batch.seconds["read_audio"] == 0.5
        assert batch.seconds[name] >= 0
    again = timed("read_audio", slow, make_batch(1))
    assert set(again.seconds) == {"read_audio"}


def slow(batch: Batch) -> Batch:
    return batch


# -- a clip that fails ------------------------------------------------------------------------------------------------


class FussyClap:
    """Fails on a batch that holds `poison`, gives NaN for `nan`, runs out of memory above `largest` clips."""

    name, fingerprint, dim, sample_rate, window_s, temperature = "fussy", "f" * 64, 3, 32000, 10.0, 0.1

    def __init__(self, poison: set[int], nan: set[int], largest: int = 100) -> None:
        self.poison, self.nan, self.largest = poison, nan, largest

    def embed_audio(self, waveforms: Sequence[FloatArray]) -> FloatArray:
        numbers = [int(waveform[0]) for waveform in waveforms]
        if len(numbers) > self.largest:
            raise RuntimeError("CUDA out of memory")
        if self.poison & set(numbers):
            raise ValueError("cannot be embedded")
        rows = [[np.nan] * 3 if number in self.nan else [number, 1, 0] for number in numbers]
        return np.array(rows, np.float32).reshape(-1, 3)


def sounds(count: int) -> Batch:
    clips = tuple(make_clip(number, np.full(8, number, np.float32)) for number in range(count))
    return Batch(unit="u", number=0, last=True, inputs=count, clips=clips)


@given(
    count=st.integers(0, 12),
    poison=st.sets(st.integers(0, 11)),
    nan=st.sets(st.integers(0, 11)),
    largest=st.integers(1, 12),
)
@settings(deadline=None)
def test_every_clip_is_embedded_or_is_one_dead_letter_in_order(
    count: int, poison: set[int], nan: set[int], largest: int
) -> None:
    batch = embed_audio(sounds(count), FussyClap(poison, nan, largest))  # type: ignore[arg-type]
    good = [number for number in range(count) if number not in poison | nan]
    bad = [number for number in range(count) if number in poison | nan]
    assert [clip.uri for clip in batch.clips] == [make_clip(number).uri for number in good]
    assert [row[0] for row in batch.embeddings] == good
    assert [dead_letter.uri for dead_letter in batch.dead] == [make_clip(number).uri for number in bad]
    codes = ["MODEL_FAILED" if number in poison else "NON_FINITE" for number in bad]
    assert [dead_letter.code for dead_letter in batch.dead] == codes
    assert {dead_letter.stage for dead_letter in batch.dead} <= {"embed_audio"}
    assert batch.inputs == count == len(batch.clips) + len(batch.dead)


@given(count=st.integers(1, 8), poison=st.sets(st.integers(0, 7)))
@settings(deadline=None)
def test_a_batch_of_one_gives_what_the_clip_gives_among_others(count: int, poison: set[int]) -> None:
    clap: Any = FussyClap(poison, set())
    together = embed_audio(sounds(count), clap)
    alone = [embed_audio(replace(sounds(count), clips=(clip,)), clap) for clip in sounds(count).clips]
    assert [clip.clip_id for batch in alone for clip in batch.clips] == [clip.clip_id for clip in together.clips]
    assert [dead_letter for batch in alone for dead_letter in batch.dead] == list(together.dead)
    rows = [batch.embeddings for batch in alone if len(batch.embeddings)]
    if rows:
        np.testing.assert_array_equal(np.concatenate(rows), together.embeddings)


def test_dead_letters_of_earlier_steps_stay_in_front() -> None:
    batch = embed_audio(sounds(3), FussyClap({1}, set()))  # type: ignore[arg-type]
    later = embed_for_reranking(replace(batch, clips=sounds(3).clips[::2]), FussyClap(set(), {2}), 32000)  # type: ignore[arg-type]
    assert [(dead_letter.stage, dead_letter.uri) for dead_letter in later.dead] == [
        ("embed_audio", make_clip(1).uri),
        ("rerank_audio", make_clip(2).uri),
    ]
    assert len(later.embeddings) == len(later.rerank_embeddings) == len(later.clips) == 1


def test_a_mistake_about_the_whole_job_ends_the_job() -> None:
    class Gone(FussyClap):
        def embed_audio(self, waveforms: Sequence[FloatArray]) -> FloatArray:
            raise OptionError("The device is gone.", "Plug it in.")

    with pytest.raises(OptionError, match="gone"):
        embed_audio(sounds(4), Gone(set(), set()))  # type: ignore[arg-type]


def test_a_step_runs_in_a_job_with_a_model_that_loads_there(tiny_clap_dir: Path) -> None:
    rng = np.random.default_rng(0)
    clips = tuple(make_clip(n, rng.standard_normal(3200).astype(np.float32)) for n in range(3))
    batch = replace(sounds(0), clips=clips, inputs=3)
    reference = ClapReference.of(str(tiny_clap_dir))
    expected = embed_audio(batch, reference.load()).embeddings

    def check(batches: list[Batch]) -> None:
        (found,) = batches
        np.testing.assert_array_equal(found.embeddings, expected)
        assert "embed_audio" in found.seconds

    with beam.Pipeline("FnApiRunner", options=PipelineOptions([])) as pipeline:
        done = pipeline | beam.Create([batch]) | "EmbedAudio" >> BatchStep(embed_audio, clap=reference)
        assert_that(done, check)
