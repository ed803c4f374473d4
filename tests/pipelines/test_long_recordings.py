"""`--long` and `--skip-silent`: what becomes of recordings of several windows, in caption, classify and in Python."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.parquet as pq
import pytest

import sonogloss
from sonogloss.clap import Clap
from sonogloss.pipelines.config.captioning import CaptionSettings
from sonogloss.pipelines.running import audio_job
from sonogloss.pipelines.running.caption_job import prepare
from sonogloss.records import FloatArray, clip_id
from sonogloss.transforms import long_sources, work

from .conftest import Run, assert_one_line

Encode = Callable[..., bytes]
Caption = Callable[..., list[dict[str, Any]]]
RATE = 32000
INEXACT = ("clap_score", "embedding")


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory, encode: Encode) -> Path:
    """Seven windows, one, a silent one between two others, only silence, two channels, and a text called wav."""
    folder = tmp_path_factory.mktemp("collection")
    rng = np.random.default_rng(3)

    def noise(seconds: float, level: float = 0.1) -> FloatArray:
        return (level * rng.standard_normal(round(seconds * RATE))).astype(np.float32)

    tone = np.sin(np.arange(10 * RATE) / 9).astype(np.float32)
    sounds = {
        "a": np.concatenate([part for _ in range(3) for part in (noise(10), 0.5 * tone)] + [noise(3.3)]),
        "b": noise(1),
        "c": np.concatenate([noise(10), np.zeros(10 * RATE, np.float32), 0.3 * tone]),
        "d": np.zeros(15 * RATE),
        "e": np.stack([noise(12), noise(12, 0.01)], axis=1),
    }
    for name, samples in sounds.items():
        (folder / f"{name}.wav").write_bytes(encode(samples))
    (folder / "f.wav").write_text("a text that is called wav")
    return folder


@pytest.fixture
def caption(run: Run, collection: Path, store: Path, captioner: Path) -> Caption:
    def _caption(output: Path, *options: object) -> list[dict[str, Any]]:
        common = ["caption", "--audio", collection, "--datastore", store, "--captioner", captioner, "--embedding"]
        outcome = run(*common, "--output", output, "--max-dead-letters", "0.5", *options)
        assert outcome.code == 0, outcome.err
        assert run("verify", output).code == 0
        return rows(output)

    return _caption


def rows(output: Path, folder: str = "captions") -> list[dict[str, Any]]:
    found = [row for path in output.glob(f"{folder}/*.parquet") for row in pq.read_table(path).to_pylist()]
    return sorted(found, key=lambda row: (row["uri"], row["member"] or "", row["start_s"]))


def assert_same(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """The same rows, but for the last digits, which depend on how many clips a model takes at once."""
    for row, other in zip(found, expected, strict=True):
        for name, value in row.items():
            if name == "contexts":
                assert [context["id"] for context in value] == [context["id"] for context in other[name]]
            else:
                assert value == (pytest.approx(other[name], abs=1e-6) if name in INEXACT else other[name]), name


def named(found: list[dict[str, Any]]) -> list[str]:
    return [Path(row["uri"]).stem for row in found]


def counts(output: Path) -> dict[str, Any]:
    run_file = json.loads((output / "run.json").read_text())
    return {**run_file["counts"], "codes": run_file["skipped_codes"]}


def mean_of(found: list[dict[str, Any]], name: str) -> FloatArray:
    total = np.sum([row["embedding"] for row in found if Path(row["uri"]).stem == name], axis=0)
    result: FloatArray = (total / np.linalg.norm(total)).astype(np.float32)
    return result


def test_a_pooled_recording_has_one_row_from_all_its_windows(caption: Caption, tmp_path: Path, tiny_clap: Clap) -> None:
    windows = caption(tmp_path / "windows")
    assert named(windows) == list("aaaaaaabcccddee")
    pooled = caption(tmp_path / "pool", "--long", "pool")
    assert named(pooled) == list("abcde")
    assert counts(tmp_path / "pool") == {"inputs": 6, "captions": 5, "dead_letters": 1, "skipped": 0, "codes": {}}
    for row in pooled:
        expected = mean_of(windows, Path(row["uri"]).stem)
        np.testing.assert_allclose(row["embedding"], expected, atol=1e-6)
        assert (row["start_s"], row["end_s"]) == (0.0, row["duration_s"])
        assert row["clip_id"] == clip_id(row["uri"], None, 0.0, row["duration_s"])
        [text] = tiny_clap.embed_text([row["caption"]])
        assert row["clap_score"] == pytest.approx(float(text @ np.array(row["embedding"])), abs=1e-6)
    assert [row["flags"] for row in pooled] == [[], [], [], ["SILENT"], ["MIXED_DOWN"]]
    one = next(row for row in windows if row["uri"].endswith("b.wav"))
    assert_same([one], [pooled[1]])


def test_a_pooled_row_does_not_depend_on_batches(
    caption: Caption, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pooled = caption(tmp_path / "32", "--long", "pool", "--channels", "split")
    for size in (1, 3):
        monkeypatch.setattr(audio_job, "BATCH_SIZE", size)
        assert_same(caption(tmp_path / str(size), "--long", "pool", "--channels", "split"), pooled)
    assert [(row["member"], row["end_s"]) for row in pooled[-2:]] == [("#channel=1", 12.0), ("#channel=2", 12.0)]


def test_a_summary_is_the_caption_of_a_window_that_is_nearest_to_the_whole(
    caption: Caption, tmp_path: Path, tiny_clap: Clap, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = caption(tmp_path / "windows")
    pooled = caption(tmp_path / "pool", "--long", "pool")
    summaries = caption(tmp_path / "summary", "--long", "summary")
    assert counts(tmp_path / "summary") == counts(tmp_path / "pool")
    own = {"caption", "clap_score", "contexts"}
    for row, other in zip(summaries, pooled, strict=True):
        assert_same(*([{name: each[name] for name in each.keys() - own}] for each in (row, other)))
        cosines = {
            each["caption"]: float(tiny_clap.embed_text([each["caption"]])[0] @ np.array(row["embedding"], np.float32))
            for each in windows
            if each["uri"] == row["uri"]
        }
        assert row["clap_score"] == pytest.approx(max(cosines.values()), abs=1e-6)
        assert row["clap_score"] == pytest.approx(cosines[row["caption"]], abs=1e-6)
        first = next(each for each in windows if (each["uri"], each["caption"]) == (row["uri"], row["caption"]))
        assert_same([{"contexts": row["contexts"]}], [{"contexts": first["contexts"]}])
    assert len({each["caption"] for each in windows if each["uri"].endswith("a.wav")}) > 1
    for size in (1, 3):
        monkeypatch.setattr(audio_job, "BATCH_SIZE", size)
        assert_same(caption(tmp_path / str(size), "--long", "summary"), summaries)


def test_a_summary_goes_on_where_it_was_and_loudness_may_choose_it(
    caption: Caption, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "SMALLEST_UNIT", 2)
    options = ("--long", "summary", "--pool-weights", "loudness", "--candidates", "3", "--search", "partitioned")
    summaries = caption(tmp_path / "summary", *options)
    assert len(list(tmp_path.glob("summary/dead_letters/*.parquet"))) == 3
    before = {path.name: path.read_bytes() for path in tmp_path.glob("summary/captions/*")}
    next(iter(tmp_path.glob("summary/captions/*"))).unlink()  # as if the job had been killed in this unit
    (tmp_path / "summary" / "run.json").unlink()
    assert caption(tmp_path / "summary", *options) == summaries
    assert {path.name: path.read_bytes() for path in tmp_path.glob("summary/captions/*")} == before
    assert named(summaries) == list("abcde")
    assert_same(caption(tmp_path / "replicated", *options[:-2]), summaries)


def test_loud_windows_may_count_more(caption: Caption, tmp_path: Path) -> None:
    windows = [row for row in caption(tmp_path / "windows") if row["uri"].endswith("c.wav")]
    pooled = caption(tmp_path / "pool", "--long", "pool", "--pool-weights", "loudness")
    weights = [0.1, 1e-6, 0.3 / np.sqrt(2)]
    total = np.sum([w * np.array(row["embedding"]) for w, row in zip(weights, windows, strict=True)], axis=0)
    found = next(row for row in pooled if row["uri"].endswith("c.wav"))
    np.testing.assert_allclose(found["embedding"], total / np.linalg.norm(total), atol=1e-3)
    stages = json.loads((tmp_path / "pool" / "run.json").read_text())["stage_times_s"]
    assert "measure_loudness" in stages


def test_the_first_window_is_that_of_all(caption: Caption, tmp_path: Path) -> None:
    windows = caption(tmp_path / "windows")
    first = caption(tmp_path / "first", "--long", "first")
    assert_same(first, [row for row in windows if row["start_s"] == 0])
    again = caption(tmp_path / "first", "--max-windows", "1")  # the same rows by another name: done before
    assert again == first


def test_a_reranker_hears_the_whole_recording(
    caption: Caption,
    tmp_path: Path,
    write_clap: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "judge").mkdir()
    write_clap(tmp_path / "judge", seed=5)
    own = caption(tmp_path / "own", "--long", "pool", "--candidates", "3")
    other = caption(tmp_path / "other", "--long", "pool", "--candidates", "3", "--rerank", tmp_path / "judge")
    assert [row["embedding"] for row in own] == [row["embedding"] for row in other]
    assert named(own) == named(other) == list("abcde")


def test_tags_of_a_recording_come_from_its_mean(
    run: Run, collection: Path, tiny_clap_dir: Path, tiny_clap: Clap, tmp_path: Path
) -> None:
    (tmp_path / "labels.txt").write_text("dog\nrain\nbirds\n")
    command = ["classify", "--audio", collection, "--labels", tmp_path / "labels.txt", "--clap", tiny_clap_dir]
    command += ["--all-scores", "--max-dead-letters", "0.5"]
    assert run(*command, "--output", tmp_path / "pool", "--long", "pool").code == 0
    assert run(*command, "--output", tmp_path / "windows").code == 0
    assert named(rows(tmp_path / "pool", "labels")) == list("abcde")
    pooled, windows = rows(tmp_path / "pool", "labels")[0], rows(tmp_path / "windows", "labels")[:7]
    # Scores are cosines: those of the mean are the mean of the windows', but for its length.
    mean = np.mean([row["scores"] for row in windows], axis=0)
    np.testing.assert_allclose(np.array(pooled["scores"]) / mean, pooled["scores"][0] / mean[0], rtol=1e-4)
    prompts = tmp_path / "prompts"
    argv = ["tune-labels", "--labels", tmp_path / "labels.txt", "--name-only", "--output", prompts, "--clap"]
    assert run(*argv, tiny_clap_dir, "--slots", "2", "--epochs", "1", "--texts-per-label", "16").code == 0
    refused = [*command, "--label-prompts", prompts, "--output", tmp_path / "refused", "--long", "pool"]
    assert_one_line(run(*refused), "--long pool", "--label-prompts")
    assert_one_line(run(*command, "--output", tmp_path / "refused", "--long", "summary"), "--long summary", "captions")


def test_silent_windows_are_left_out_and_counted(
    run: Run, caption: Caption, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = caption(tmp_path / "windows")
    loud = caption(tmp_path / "loud", "--skip-silent")
    assert_same(loud, [row for row in windows if "SILENT" not in row["flags"]])
    expected = {"inputs": 16, "captions": 12, "dead_letters": 1, "skipped": 3, "codes": {"SILENT": 3}}
    assert counts(tmp_path / "loud") == expected
    (tmp_path / "loud" / "run.json").unlink()  # as if the job had been killed before its end
    assert caption(tmp_path / "loud", "--skip-silent") == loud
    assert counts(tmp_path / "loud") == expected
    monkeypatch.setattr(audio_job, "BATCH_SIZE", 1)
    assert_same(caption(tmp_path / "one", "--skip-silent"), loud)
    assert counts(tmp_path / "one") == expected
    pooled = caption(tmp_path / "pool", "--skip-silent", "--long", "pool")
    assert named(pooled) == list("abce")
    np.testing.assert_allclose(pooled[2]["embedding"], mean_of(loud, "c"), atol=1e-6)
    assert counts(tmp_path / "pool") == {
        "inputs": 8, "captions": 4, "dead_letters": 1, "skipped": 3, "codes": {"SILENT": 3},
    }  # fmt: skip


def test_a_changed_recording_takes_its_silent_windows_along(
    run: Run, store: Path, captioner: Path, encode: Encode, tmp_path: Path
) -> None:
    audio, output = tmp_path / "audio", tmp_path / "out"
    audio.mkdir()
    rng = np.random.default_rng(0)
    for name in "ab":
        (audio / f"{name}.wav").write_bytes(encode(np.concatenate([rng.standard_normal(RATE) / 9, np.zeros(3 * RATE)])))
    command = ["caption", "--audio", audio, "--datastore", store, "--captioner", captioner, "--output", output]
    command += ["--window", "1", "--skip-silent"]
    assert run(*command).code == 0
    assert counts(output) == {"inputs": 8, "captions": 2, "dead_letters": 0, "skipped": 6, "codes": {"SILENT": 6}}
    (audio / "a.wav").write_bytes(encode(rng.standard_normal(2 * RATE) / 9))
    assert run(*command).code == 0
    assert counts(output) == {"inputs": 6, "captions": 3, "dead_letters": 0, "skipped": 3, "codes": {"SILENT": 3}}
    assert run("verify", output).code == 0


def test_a_dry_run_shows_what_a_run_would_write(
    run: Run,
    caption: Caption,
    collection: Path,
    store: Path,
    captioner: Path,
    tmp_path: Path,
) -> None:
    pooled = caption(tmp_path / "pool", "--long", "pool")
    common = ["caption", "--datastore", store, "--captioner", captioner, "--output", tmp_path / "dry", "--dry-run"]
    common += ["--json", "--long", "pool", "--skip-silent", "--audio"]
    [row] = run(*common, collection).report["rows"]
    assert (row["caption"], row["start_s"], row["end_s"]) == (pooled[0]["caption"], 0.0, pooled[0]["end_s"])
    outcome = run(*common, collection / "d.wav")
    assert outcome.code == 0, outcome.err
    assert outcome.report["rows"] == []


def test_a_captioner_in_python_pools_and_skips_too(
    caption: Caption, collection: Path, store: Path, captioner: Path, tmp_path: Path
) -> None:
    pooled = dict(zip("abcde", caption(tmp_path / "pool", "--long", "pool"), strict=True))
    opened = sonogloss.load_captioner(captioner, datastore=store, long="pool")
    for name in "ace":
        [row] = opened.caption(collection / f"{name}.wav")
        assert (row.clip.clip_id, row.caption) == (pooled[name]["clip_id"], pooled[name]["caption"])
    quiet = sonogloss.load_captioner(captioner, datastore=store, skip_silent=True)
    assert [len(rows) for rows in quiet.caption([collection / f"{name}.wav" for name in "acd"])] == [7, 2, 0]


@pytest.mark.parametrize("long", ["pool", "summary"])
@pytest.mark.parametrize("method", ["soft-hard", "zeraucap"])
def test_every_method_captions_a_recording_as_one(method: str, long: Literal["pool", "summary"]) -> None:
    opened = sonogloss.load_captioner(f"pocket:{method}", long=long)
    sound = np.random.default_rng(0).standard_normal(21 * opened.sample_rate).astype(np.float32) / 10
    [row] = opened.caption(sound, opened.sample_rate)
    assert row.caption
    assert (row.clip.start_s, row.clip.end_s) == (0.0, 21.0)
    assert row.keywords


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--long", "first", "--max-windows", "3"], ["--long first", "--max-windows"]),
        (["--pool-weights", "loudness"], ["--pool-weights", "--long pool"]),
        (["--long", "all"], ["--long", "summary"]),
    ],
)
def test_options_that_exclude_each_other_are_refused(
    run: Run, collection: Path, store: Path, tmp_path: Path, options: list[str], words: list[str]
) -> None:
    assert_one_line(run("caption", "--audio", collection, "--output", tmp_path / "out", *options), *words)


def test_what_the_options_leave_as_it_was_leaves_the_digest_as_it_was(store: Path, captioner: Path) -> None:
    """Results that were written before the options existed resume."""
    assert CaptionSettings().policy_digest() == {"window_s": 10.0, "hop_s": 10.0, "max_windows": None}
    assert CaptionSettings().row_options() == {}

    def digest(**options: Any) -> str:
        return prepare(CaptionSettings(datastore=store, captioner=captioner, device="cpu", **options)).digest()

    assert digest(long="first") == digest(max_windows=1)
    assert digest(parity=True, long="pool") != digest(parity=True)
    pools = [{"long": "pool"}, {"long": "pool", "pool_weights": "loudness"}, {"long": "pool", "max_windows": 2}]
    pools += [{"long": "summary"}, {"long": "summary", "pool_weights": "loudness"}]
    assert len({digest(**options) for options in [{}, {"skip_silent": True}, {"long": "first"}, *pools]}) == 8


def test_a_long_recording_is_several_units_with_the_rows_of_one(
    run: Run, store: Path, captioner: Path, encode: Encode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audio = tmp_path / "audio"
    audio.mkdir()
    rng = np.random.default_rng(0)
    for name, seconds in (("a", 70), ("b", 3)):
        (audio / f"{name}.flac").write_bytes(encode(0.1 * rng.standard_normal(seconds * 8000), 8000, container="FLAC"))
    command = ["caption", "--audio", audio, "--datastore", store, "--captioner", captioner, "--window", "1", "--json"]
    assert run(*command, "--output", tmp_path / "whole").code == 0
    expected = rows(tmp_path / "whole")
    assert len(expected) == 73
    monkeypatch.setattr(long_sources, "PART_BYTES", 50_000)
    monkeypatch.setattr(work, "SMALLEST_UNIT_BYTES", 50_000)
    again = run(*command, "--output", tmp_path / "whole")  # done in one piece by an earlier release
    assert again.report["done_before"]
    assert again.report["sources"] == again.report["taken_over"] == 2
    report = run(*command, "--output", tmp_path / "parts").report
    assert (report["sources"], report["computed"], report["problems"]) == (2, 2, [])
    assert len(list((tmp_path / "parts" / "dead_letters").iterdir())) > 2
    assert_same(rows(tmp_path / "parts"), expected)
    described = json.loads((tmp_path / "parts" / "run.json").read_text())
    part = next(part for part in described["parts"] if part["path"].startswith("captions") and part["rows"] > 9)
    (tmp_path / "parts" / part["path"]).unlink()  # as if the job had been killed in this unit
    (tmp_path / "parts" / "run.json").unlink()
    assert run(*command, "--output", tmp_path / "parts").code == 0
    assert_same(rows(tmp_path / "parts"), expected)
    assert run("verify", tmp_path / "parts").code == 0
    assert run(*command, "--output", tmp_path / "summary", "--long", "summary").report["counts"]["captions"] == 2
    assert [row["end_s"] for row in rows(tmp_path / "summary")] == [70.0, 3.0]  # one that has one row stays in one unit
    (audio / "a.flac").write_bytes(encode(0.1 * rng.standard_normal(66 * 8000), 8000, container="FLAC"))
    report = run(*command, "--output", tmp_path / "parts").report
    assert report["counts"]["captions"] == 69
    assert report["computed"] == 1


def test_a_long_recording_that_breaks_is_a_dead_letter_of_each_part(
    run: Run, store: Path, captioner: Path, encode: Encode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_sources, "PART_BYTES", 50_000)
    (tmp_path / "audio").mkdir()
    samples = np.zeros(70 * 8000, np.float32)
    (tmp_path / "audio" / "b.wav").write_bytes(encode(samples[:8000], 8000))
    samples[-5] = np.nan
    (tmp_path / "audio" / "a.wav").write_bytes(encode(samples, 8000, subtype="FLOAT"))
    command = ["caption", "--audio", tmp_path / "audio", "--datastore", store, "--captioner", captioner]
    outcome = run(*command, "--window", "1", "--output", tmp_path / "out", "--max-dead-letters", "1", "--json")
    assert outcome.report["dead_letter_codes"] == {"NON_FINITE": 3}
    assert outcome.report["counts"] == {"inputs": 4, "captions": 1, "dead_letters": 3, "skipped": 0}
