"""What travels to the workers: small whatever there is to do, named as the documents name it, and decided there."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from apache_beam import Pipeline
from apache_beam.portability.api import beam_runner_api_pb2 as beam_api

from sonogloss.clap.outline import outline_clap
from sonogloss.indexes.mapped import Mapped
from sonogloss.pipelines import build_datastore
from sonogloss.pipelines.command_line import main
from sonogloss.pipelines.running import audio_job, caption_dumps
from sonogloss.sources import Source, SourceTable
from sonogloss.transforms import models
from sonogloss.transforms.read_captions import SourceFile
from sonogloss.transforms.skipped_files import NOTHING_SKIPPED
from tests.anywhere.dataflow import payloads, steps, unpacked
from tests.indexes.conftest import build as build_store
from tests.indexes.conftest import unit_rows

REMOTE = ("--runner", "PortableRunner", "--job_endpoint", "localhost:1", "--environment_type", "DOCKER")
KIB = 1 << 10

Submit = Callable[..., beam_api.Pipeline]


class SubmittedError(Exception):
    """The job would run now."""


@pytest.fixture
def submit(monkeypatch: pytest.MonkeyPatch) -> Submit:
    """The graph of a command, as a machine without a GPU makes it."""
    graphs: list[beam_api.Pipeline] = []

    def keep(pipeline: Pipeline, **_: Any) -> None:
        graphs.append(pipeline.to_runner_api())
        raise SubmittedError

    def load(*arguments: object, **options: object) -> None:
        raise AssertionError("a launcher loads no weights and no vectors")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(models, "_loaded", {})
    monkeypatch.setattr(models, "load_clap", load)
    monkeypatch.setattr(models, "load_captioner", load)
    monkeypatch.setattr(Mapped, "get", load)
    for module in (audio_job, build_datastore):
        monkeypatch.setattr(module, "run_pipeline", keep)

    def _submit(*words: object) -> beam_api.Pipeline:
        with pytest.raises(SubmittedError):
            main([*map(str, words), *REMOTE])
        return graphs.pop()

    return _submit


def walk(job: str) -> list[str]:
    """The steps that the diagram of the documents names, in its order."""
    page = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text()
    lines = page.partition(f"subgraph {job} ")[2].partition("end\n")[0]
    return [
        "".join(word.title() for word in name.split("_"))
        for name in re.findall(r"\w+\[(\w+_\w+|score|retrieve)\]", lines)
    ]


def caption(submit: Submit, folder: Path, *options: object) -> beam_api.Pipeline:
    words = ["--audio", folder / "a.wav", "--captioner", "pocket:zeraucap", "--output", folder / "results"]
    return submit("caption", *words, *options)


def build(submit: Submit, folder: Path) -> beam_api.Pipeline:
    (folder / "dump.txt").write_text("a dog barks\nrain falls\n")
    return submit("build-datastore", "--captions", folder / "dump.txt", "--output", folder / "store")


def many_recordings(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    sources = SourceTable.of(
        Source(uri=f"/archive/{n // 1000:05d}/{n:09d}.flac", bytes=1000, version=str(n)) for n in range(count)
    )
    monkeypatch.setattr(audio_job, "list_audio", lambda patterns, look: (sources, NOTHING_SKIPPED))


def many_dumps(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    dumps = [SourceFile(uri=f"/archive/{n:09d}.txt", source=f"dump {n}", number=n) for n in range(count)]
    sizes = [{"uri": dump.uri, "bytes": 1000} for dump in dumps]
    found = caption_dumps.CaptionDumps(files=dumps, sizes=sizes, licenses={dump.source: "CC0" for dump in dumps})
    monkeypatch.setattr(build_datastore, "list_dumps", lambda *patterns, **options: found)
    monkeypatch.setattr(caption_dumps, "parts_of", lambda uri: [None])


def assert_small(graph: beam_api.Pipeline) -> None:
    assert graph.ByteSize() < 200 * KIB
    assert {name: len(content) for name, content in payloads(graph).items() if len(content) >= 2 * KIB} == {}
    assert not [name for name, content in payloads(graph).items() if b"__main__" in unpacked(content)]


@pytest.fixture
def folder(tmp_path: Path, encode: Callable[..., bytes]) -> Path:
    (tmp_path / "a.wav").write_bytes(encode([0.0, 0.5, -0.5] * 1000))
    return tmp_path


def test_the_steps_are_those_of_the_documents(submit: Submit, folder: Path) -> None:
    for graph, name in ((caption(submit, folder), "sound"), (build(submit, folder), "text")):
        found = [step for step in steps(graph) if step in walk(name)]
        assert found == walk(name)
        assert len(found) >= 4
        assert_small(graph)


def test_the_device_is_decided_on_the_worker(submit: Submit, folder: Path) -> None:
    for graph in (caption(submit, folder), build(submit, folder)):
        models = [found for each in payloads(graph).values() if b"ClapReference" in (found := unpacked(each))]
        assert models
        assert all(b"auto" in content and b"cuda" not in content for content in models)
    asked = payloads(caption(submit, folder, "--device", "cuda"))
    assert b"cuda" in unpacked(asked["EmbedAudio/embed_audio"])


def test_a_datastore_is_looked_at_by_its_manifest(submit: Submit, folder: Path, tmp_path: Path) -> None:
    clap = outline_clap("pocket")
    assert clap is not None
    store = build_store(tmp_path / "made", unit_rows(20, clap.dim), fingerprint=clap.fingerprint)
    words = ["--audio", folder / "a.wav", "--datastore", store, "--output", folder / "results"]
    assert b"made" in unpacked(payloads(submit("caption", *words))["Retrieve/retrieve"])


@pytest.mark.parametrize("count", [1000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_the_graph_does_not_grow(submit: Submit, folder: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    small = caption(submit, folder).ByteSize(), build(submit, folder).ByteSize()
    many_recordings(monkeypatch, count)
    many_dumps(monkeypatch, count)
    large = caption(submit, folder), build(submit, folder)
    for graph, size in zip(large, small, strict=True):
        assert_small(graph)
        assert abs(graph.ByteSize() - size) < KIB


def test_labels_are_embedded_on_the_worker(submit: Submit, folder: Path) -> None:
    graph = submit("classify", "--audio", folder / "a.wav", "--labels", "pocket", "--output", folder / "tags")
    assert_small(graph)
    assert b"TaggerReference" in unpacked(payloads(graph)["TagClips/tag_clips"])


def test_candidates_need_no_weights_either(submit: Submit, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--audio", folder / "a.wav", "--output", folder / "results", "--candidates", 3]
    assert_small(submit("caption", *words, "--captioner", "pocket:soft-hard"))
    guided = ["caption", *words, "--captioner", "pocket:zeraucap", *REMOTE]
    assert main([str(word) for word in guided]) == 2
    assert "one caption a clip" in capsys.readouterr().err


def test_a_dry_run_for_workers_elsewhere_says_how_much_there_is(
    submit: Submit, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["caption", "--audio", folder / "a.wav", "--captioner", "pocket:zeraucap", "--output", folder / "results"]
    assert main([str(word) for word in [*words, "--dry-run", "--json", *REMOTE]]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["extent"]["clips"], report["rows"], report["estimate"]) == (1, [], None)
    assert main([str(word) for word in [*words, "--dry-run", *REMOTE]]) == 0
    assert "1 recordings" in capsys.readouterr().out
    assert not (folder / "results").exists()
