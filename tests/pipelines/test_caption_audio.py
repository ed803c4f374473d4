from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest

from sonogloss.clap import Clap, transformers_clap
from sonogloss.errors import FingerprintMismatchError
from sonogloss.indexes import Datastore, read_manifest, shard
from sonogloss.indexes.layout import ShardEntry, write_manifest
from sonogloss.indexes.shard import open_vectors
from sonogloss.pipelines.caption_audio import caption
from sonogloss.records import CAPTION_ROW_SCHEMA, CARRIED_SCHEMA, FloatArray
from sonogloss.transforms import write_rows
from sonogloss.transforms.work import Batch, UnitResult

from .conftest import CAPTIONS, Run, assert_one_line

Job = Callable[..., list[object]]


@pytest.fixture
def job(recordings: Path, store: Path, captioner: Path) -> Job:
    """The arguments of a caption job; a tenth of its inputs may fail."""

    def _job(output: Path, *options: object) -> list[object]:
        common = ["--datastore", store, "--captioner", captioner, "--output", output, "--max-dead-letters", "0.1"]
        return ["caption", "--audio", recordings, *common, *options]

    return _job


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, recordings: Path, store: Path, captioner: Path) -> Path:
    """An uninterrupted run."""
    output = tmp_path_factory.mktemp("results")
    report = caption(
        audio=str(recordings), datastore=str(store), output=str(output), captioner=str(captioner), max_dead_letters=0.1
    )
    assert report["problems"] == []
    return output


def parts(output: Path) -> dict[str, bytes]:
    return {str(path.relative_to(output)): path.read_bytes() for path in sorted(output.rglob("part-*"))}


def rows(output: Path) -> list[dict[str, Any]]:
    found = [row for path in output.glob("captions/*.parquet") for row in pq.read_table(path).to_pylist()]
    return sorted(found, key=lambda row: (row["uri"], row["start_s"]))


def test_every_clip_is_a_row_and_every_failure_a_dead_letter(
    results: Path, recordings: Path, tiny_clap: Clap, store: Path
) -> None:
    found = rows(results)
    assert [(Path(row["uri"]).name, row["start_s"], row["end_s"]) for row in found] == [
        *((f"{number}.wav", 0.0, 1.0) for number in range(3)),
        ("3.wav", 0.0, 10.0),
        ("3.wav", 10.0, 20.0),
        ("3.wav", 20.0, 25.0),
        *((f"{number}.wav", 0.0, 1.0) for number in range(4, 9)),
    ]
    run = json.loads((results / "run.json").read_text())
    assert run["format"] == "sonogloss-results"
    assert run["counts"] == {"inputs": 12, "captions": 11, "dead_letters": 1, "skipped": 0}
    assert run["dead_letter_codes"] == {"UNSUPPORTED": 1}
    assert set(run["stage_times_s"]) == {"read_audio", "embed_audio", "retrieve", "write_captions", "score"}
    assert run["fingerprints"]["clap"] == tiny_clap.fingerprint
    assert run["configuration"]["contexts"] == 2
    dead = [row for path in results.glob("dead_letters/*.parquet") for row in pq.read_table(path).to_pylist()]
    assert [(Path(row["uri"]).name, row["stage"], row["code"]) for row in dead] == [
        ("9.wav", "read_audio", "UNSUPPORTED")
    ]
    row = found[0]
    assert list(row) == [*CAPTION_ROW_SCHEMA.names, *CARRIED_SCHEMA.names]
    assert row["caption"]
    assert row["method"] == "drcap"
    assert row["contexts"][0]["text"] in CAPTIONS
    assert len(row["contexts"]) == 2
    query = f"select count(*) from '{results}/captions/part-*.parquet'"
    assert duckdb.sql(query).fetchall() == [(11,)]


def test_contexts_and_scores_are_those_of_the_clip(
    results: Path, recordings: Path, tiny_clap: Clap, store: Path
) -> None:
    import soundfile

    samples, _ = soundfile.read(recordings / "0.wav", dtype="float32")
    vector = tiny_clap.embed_audio([samples])
    row = rows(results)[0]
    (contexts,) = Datastore.open(str(store)).search(vector, 2)
    assert [context["text"] for context in row["contexts"]] == [context.text for context in contexts]
    expected = float((tiny_clap.embed_text([row["caption"]]) @ vector.T)[0, 0])
    assert row["clap_score"] == pytest.approx(expected, abs=1e-5)


def test_the_same_command_elsewhere_gives_the_same_bytes(run: Run, job: Job, results: Path, tmp_path: Path) -> None:
    assert run(*job(tmp_path)).code == 0
    assert parts(tmp_path) == parts(results)


@pytest.mark.parametrize("long", ["windows", "pool"])
def test_a_store_whose_shards_are_asked_one_by_one_gives_the_same_bytes(
    run: Run, job: Job, tiny_clap_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, long: str
) -> None:
    (tmp_path / "dump.txt").write_text("\n".join([*CAPTIONS, "wind", "a car", "two horns"]))
    build = ["build-datastore", "--captions", tmp_path / "dump.txt", "--output", tmp_path / "store", "--shards", "3"]
    assert run(*build, "--clap", tiny_clap_dir).code == 0
    opened = Counter[str]()

    def counted(local: str, entry: ShardEntry, dtype: str) -> FloatArray:
        opened[f"{local}/{entry.vectors.path}"] += 1
        return open_vectors(local, entry, dtype)

    monkeypatch.setattr(shard, "open_vectors", counted)
    options = ["--datastore", tmp_path / "store", "--long", long]  # beside the one that every job has
    assert run(*job(tmp_path / "whole"), *options).code == 0
    opened.clear()
    assert run(*job(tmp_path / "parted"), *options, "--search", "partitioned").code == 0
    assert parts(tmp_path / "parted") == parts(tmp_path / "whole")
    assert sorted(opened.values()) == [1, 1, 1, 1]
    report = json.loads((tmp_path / "parted" / "run.json").read_text())
    assert "retrieve" in report["stage_times_s"]


def test_a_killed_job_goes_on_where_it_stood(
    run: Run, job: Job, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    units = done = 0
    add = write_rows.UnitWriter.add

    def dies_in_the_second_unit(self: write_rows.UnitWriter, batch: Batch) -> UnitResult | None:
        nonlocal units
        units += 1
        if units == 2:
            raise RuntimeError("the machine went away")
        return add(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(write_rows.UnitWriter, "add", dies_in_the_second_unit)
        with pytest.raises(RuntimeError, match="went away"):
            run(*job(tmp_path))
    assert not (tmp_path / "run.json").exists()
    assert len(list(tmp_path.glob("captions/*.parquet"))) == 1
    (tmp_path / "captions" / f"part-{'0' * 16}-000.parquet.tmp-12345678").write_bytes(b"half a file")

    def counts(self: write_rows.UnitWriter, batch: Batch) -> UnitResult | None:
        nonlocal done
        done += 1
        return add(self, batch)

    monkeypatch.setattr(write_rows.UnitWriter, "add", counts)
    again = run(*job(tmp_path, "--json"))
    assert again.code == 0, again.err
    assert (again.report["taken_over"], again.report["computed"]) == (8, 2)
    assert done == 1
    assert again.report["counts"] == {"inputs": 12, "captions": 11, "dead_letters": 1, "skipped": 0}
    assert again.report["dead_letter_codes"] == {"UNSUPPORTED": 1}
    assert parts(tmp_path) == parts(results)
    assert run("verify", tmp_path).code == 0


def test_a_finished_output_is_left_alone_and_says_so(run: Run, job: Job, results: Path, tmp_path: Path) -> None:
    output = tmp_path / "copy"
    shutil.copytree(results, output)
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*") if path.is_file()}
    outcome = run(*job(output))
    assert outcome.code == 0
    assert "nothing to do" in outcome.out
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*") if path.is_file()} == before


def test_other_options_into_the_same_output_are_refused_unless_begun_anew(
    run: Run, job: Job, results: Path, tmp_path: Path
) -> None:
    output = tmp_path / "copy"
    shutil.copytree(results, output)
    assert_one_line(run(*job(output, "--contexts", "1")), "--output", "--overwrite", "--contexts was 2")
    assert parts(output) == parts(results)
    assert run(*job(output, "--contexts", "1", "--no-resume")).code == 0
    assert {len(row["contexts"]) for row in rows(output)} == {1}
    assert run("verify", output).code == 0


def test_added_recordings_cost_only_themselves_and_lost_ones_keep_their_rows(
    run: Run, recordings: Path, store: Path, captioner: Path, tmp_path: Path
) -> None:
    folder, output = tmp_path / "audio", tmp_path / "out"
    shutil.copytree(recordings, folder)
    command = ["caption", "--audio", folder, "--datastore", store, "--captioner", captioner, "--output", output]
    command += ["--max-dead-letters", "0.1", "--json"]
    assert run(*command).code == 0
    shutil.copy(folder / "0.wav", folder / "99.wav")
    more = run(*command)
    assert more.code == 0, more.err
    assert more.report["counts"]["captions"] == 12
    assert (more.report["taken_over"], more.report["computed"]) == (10, 1)
    assert run("verify", output).code == 0
    before = parts(output)
    (folder / "1.wav").unlink()
    less = run(*command)
    assert less.report["done_before"]
    assert less.report["vanished"] == {"count": 1, "first": [str(folder / "1.wav")]}
    assert parts(output) == before


def test_a_damaged_part_is_found_by_verify_and_made_again(run: Run, job: Job, results: Path, tmp_path: Path) -> None:
    output = tmp_path / "copy"
    shutil.copytree(results, output)
    victim = next(output.glob("captions/*.parquet"))
    content = bytearray(victim.read_bytes())
    content[len(content) // 3] ^= 1
    victim.write_bytes(content)
    damaged = run("verify", output)
    assert damaged.code == 1
    assert victim.name in damaged.err
    assert run(*job(output)).code == 0
    assert parts(output) == parts(results)
    assert run("verify", output).code == 0


def test_a_clip_that_breaks_the_model_stands_alone(
    run: Run, job: Job, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed = transformers_clap.TransformersClap.embed_audio

    def fragile(self: transformers_clap.TransformersClap, waveforms: Sequence[FloatArray]) -> FloatArray:
        if any(len(waveform) == 5 * 32000 for waveform in waveforms):  # the last clip of 3.wav
            raise RuntimeError("an illegal memory access was encountered")
        return embed(self, waveforms)

    monkeypatch.setattr(transformers_clap.TransformersClap, "embed_audio", fragile)
    outcome = run(*job(tmp_path, "--json"))
    assert outcome.code == 1  # two of twelve
    assert "2 of 12 inputs" in outcome.err
    assert outcome.report["dead_letter_codes"] == {"MODEL_FAILED": 1, "UNSUPPORTED": 1}
    expected = [row for row in rows(results) if row["start_s"] != 20.0]
    found = rows(tmp_path)
    assert [row["clip_id"] for row in found] == [row["clip_id"] for row in expected]
    assert [row["caption"] for row in found] == [row["caption"] for row in expected]


def test_too_many_dead_letters_are_an_unsound_result(run: Run, job: Job, tmp_path: Path, recordings: Path) -> None:
    outcome = run(*job(tmp_path, "--max-dead-letters", "0.05"))
    assert outcome.code == 1
    assert "--max-dead-letters" in outcome.err


def test_audio_of_which_nothing_can_be_read_is_a_mistake(
    run: Run, store: Path, captioner: Path, tmp_path: Path, recordings: Path
) -> None:
    models = ["--datastore", store, "--captioner", captioner]
    outcome = run("caption", "--audio", recordings / "9.wav", *models, "--output", tmp_path)
    assert outcome.code == 2
    [line] = [line for line in outcome.err.splitlines() if line.startswith("sonogloss:")]
    assert "9.wav" in line
    assert "seems to be text" in line
    assert len(list(tmp_path.glob("dead_letters/*.parquet"))) == 1
    outcome = run("caption", "--audio", recordings / "9.wav", *models, "--output", tmp_path / "dry", "--dry-run")
    assert_one_line(outcome, "9.wav", "seems to be text")


def test_windows_embeddings_and_no_contexts(run: Run, job: Job, tmp_path: Path, tiny_clap: Clap) -> None:
    options = ["--window", "5", "--contexts", "0", "--embedding", "--no-projection", "--beams", "1"]
    assert run(*job(tmp_path, *options)).code == 0
    found = rows(tmp_path)
    assert [row["end_s"] for row in found if row["uri"].endswith("3.wav")] == [5, 10, 15, 20, 25]
    assert {len(row["contexts"]) for row in found} == {0}
    vectors = np.array([row["embedding"] for row in found])
    assert vectors.shape == (13, tiny_clap.dim)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_a_dry_run_tries_everything_and_writes_nothing(run: Run, job: Job, results: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    outcome = run(*job(output, "--dry-run", "--json"))
    assert outcome.code == 0, outcome.err
    assert outcome.report["sources"] == 10
    assert outcome.report["rows"][0]["caption"] == rows(results)[0]["caption"]
    assert not output.exists()
    assert "nothing was written" in run(*job(output, "--dry-run")).out


def test_the_function_is_the_command(recordings: Path, store: Path, captioner: Path, tmp_path: Path) -> None:
    report = caption(
        audio=[str(recordings / "0.wav")], datastore=str(store), output=str(tmp_path), captioner=str(captioner)
    )
    assert report["counts"]["captions"] == 1


def test_a_captioner_of_another_clap_is_refused(recordings: Path, store: Path, captioner: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(captioner, other)
    content = json.loads((other / "captioner.json").read_text())
    content["clap"]["fingerprint"] = "0" * 64
    (other / "captioner.json").write_text(json.dumps(content))
    with pytest.raises(FingerprintMismatchError, match="fixes its CLAP"):
        caption(audio=[str(recordings)], datastore=str(store), output=str(tmp_path), captioner=str(other))


@pytest.fixture
def other_store(tmp_path: Path, store: Path) -> Path:
    """A datastore that says it was made with another CLAP."""
    other = tmp_path / "other-store"
    shutil.copytree(store, other)
    manifest = read_manifest(str(other))
    clap = {**manifest.clap, "fingerprint": "0" * 64, "name": "another-clap"}
    write_manifest(str(other), replace(manifest, clap=clap))
    return other


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--audio", "{tmp}/none.wav"], ["--audio", "none.wav"]),
        (["--audio", "{tmp}/*.flac"], ["--audio", "matches no file"]),
        (["--datastore", "{tmp}/none"], ["none", "datastore"]),
        (["--datastore", "{tmp}"], ["unfinished"]),
        (["--datastore", "{tmp}/other-store"], ["other-store", "fingerprint"]),
        (["--captioner", "{tmp}/none"], ["captioner", "none"]),
        (["--captioner", "{tmp}/holed"], ["mapper.safetensors", "missing"]),
        (["--clap", "{tmp}/none"], ["CLAP", "none"]),
        (["--output", "{tmp}/a-file/below"], ["is not a directory"]),
        (["--window", "0"], ["--window"]),
        (["--window", "30"], ["--window", "10 s"]),
        (["--hop", "-1"], ["--hop"]),
        (["--contexts", "-1"], ["--contexts"]),
        (["--max-dead-letters", "2"], ["--max-dead-letters"]),
        (["--device", "cuda"], ["--device"]),
    ],
)
def test_an_impossible_job_is_told_in_one_line(
    run: Run, job: Job, tmp_path: Path, captioner: Path, other_store: Path, options: list[str], words: list[str]
) -> None:
    (tmp_path / "a-file").touch()
    shutil.copytree(captioner, tmp_path / "holed")
    (tmp_path / "holed" / "mapper.safetensors").unlink()
    outcome = run(*job(tmp_path / "out", *(option.format(tmp=tmp_path) for option in options)))
    assert_one_line(outcome, *words)
    assert not list(tmp_path.rglob("run.json"))


def test_the_failures_of_a_run_are_run_again_by_their_folder(
    run: Run, recordings: Path, store: Path, captioner: Path, tmp_path: Path
) -> None:
    (tmp_path / "audio").mkdir()
    (tmp_path / "audio" / "good.wav").write_bytes((recordings / "0.wav").read_bytes())
    (tmp_path / "audio" / "bad.wav").write_bytes(b"")
    common = ["caption", "--datastore", store, "--captioner", captioner, "--max-dead-letters", "1", "--json"]
    first = run(*common, "--audio", tmp_path / "audio", "--output", tmp_path / "first").report
    assert (first["counts"]["captions"], first["dead_letter_codes"]) == (1, {"EMPTY": 1})
    (tmp_path / "audio" / "bad.wav").write_bytes((recordings / "1.wav").read_bytes())
    again = run(*common, "--audio", tmp_path / "first" / "dead_letters", "--output", tmp_path / "again").report
    assert again["counts"] == {"inputs": 1, "captions": 1, "dead_letters": 0, "skipped": 0}
