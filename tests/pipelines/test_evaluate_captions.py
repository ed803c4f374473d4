from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sonogloss.metrics import METRICS
from sonogloss.pipelines.running import join_references as spreading
from sonogloss.transforms import key_buckets, score_captions
from tests.sentence_models import write_sentence_model

from .conftest import Run, assert_one_line

PREDICTIONS = [
    {"file_name": "a.wav", "caption": "a dog barks"},
    {"file_name": "b.wav", "caption": "rain falls on the roof"},
    {"file_name": "c.wav", "caption": "nobody refers to me"},
]


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    return jsonl(tmp_path / "predictions.jsonl", PREDICTIONS)


REFERENCES = [
    {"file_name": "deep/a.wav", "references": ["a dog barks", "a dog"]},
    {"file_name": "b.wav", "references": ["rain", "water falls"]},
    {"file_name": "d.wav", "references": ["never captioned"]},
]


def test_metrics_are_written_and_nothing_is_dropped_in_silence(run: Run, tmp_path: Path, predictions: Path) -> None:
    references = jsonl(tmp_path / "references.jsonl", REFERENCES)
    command = ["evaluate", "--results", predictions, "--references", references, "--output", tmp_path / "out"]
    outcome = run(*command, "--json")
    assert outcome.code == 0, outcome.err
    report = outcome.report
    assert report["clips"] == 2
    assert report["without_references"] == ["c.wav"]
    assert report["without_caption"] == ["d.wav"]
    corpus = pq.read_table(tmp_path / "out/metrics/corpus.parquet").to_pylist()
    assert corpus == report["corpus"]
    assert {row["metric"] for row in corpus} == {"bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider_d"}
    assert {row["n"] for row in corpus} == {2}
    clips = pq.read_table(tmp_path / "out/metrics/clips.parquet").to_pylist()
    assert (clips[0]["file_name"], clips[0]["rouge_l"]) == ("a.wav", 1.0)
    shown = run(*command).out
    assert "c.wav" in shown
    assert "d.wav" in shown


@pytest.mark.parametrize("kind", ["csv", "csv of json lists", "csv by pandas", "parquet", "rows"])
def test_references_come_in_every_shape(run: Run, tmp_path: Path, predictions: Path, kind: str) -> None:
    flat = [{"file_name": row["file_name"], "reference": text} for row in REFERENCES for text in row["references"]]
    path = tmp_path / f"references.{'jsonl' if kind == 'rows' else kind.split()[0]}"
    if kind == "csv by pandas":
        pd.DataFrame(REFERENCES).to_csv(path, index=False)
    elif kind == "csv of json lists":
        rows = [row | {"references": json.dumps(row["references"])} for row in REFERENCES]
        pd.DataFrame(rows).to_csv(path, index=False)
    elif kind == "csv":
        path.write_text("file_name,reference\n" + "".join(f"{row['file_name']},{row['reference']}\n" for row in flat))
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(REFERENCES), path)
    else:
        jsonl(path, flat)
    jsonl(tmp_path / "plain.jsonl", REFERENCES)
    common = [
        "evaluate",
        "--results",
        predictions,
        "--output",
        tmp_path / "out",
        "--overwrite",
        "--json",
        "--references",
    ]
    assert run(*common, path).report["corpus"] == run(*common, tmp_path / "plain.jsonl").report["corpus"]


def test_results_of_a_caption_job_are_scored_by_file_and_by_window(
    run: Run, tmp_path: Path, recordings: Path, store: Path, captioner: Path
) -> None:
    command = ["caption", "--audio", recordings, "--datastore", store, "--captioner", captioner, "--output", tmp_path]
    assert run(*command, "--max-dead-letters", "0.1", "--json").code == 0
    rows = [{"file_name": f"{number}.wav", "references": ["a dog barks"]} for number in range(10)]
    references = jsonl(tmp_path / "references.jsonl", rows)
    outcome = run(
        "evaluate", "--results", tmp_path, "--references", references, "--output", tmp_path, "--metrics",
        "clap_sim, rouge_l", "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert outcome.report["clips"] == 11
    assert outcome.report["several_captions"] == ["3.wav"]
    assert outcome.report["without_caption"] == ["9.wav"]
    assert [row["metric"] for row in outcome.report["corpus"]] == ["clap_sim", "rouge_l"]
    clips = pq.read_table(tmp_path / "metrics/clips.parquet")
    assert clips.column_names == ["file_name", "clip_id", "clap_sim", "rouge_l"]
    assert len(set(clips.column("clip_id").to_pylist())) == 11


@pytest.mark.parametrize(
    ("references", "options", "words"),
    [
        (None, [], ["--references", "is not a file"]),
        ('{"file_name": "a.wav", "references": ["x"]}\nbroken', [], ["line 2"]),
        ('{"name": "a.wav", "references": ["x"]}', [], ["key column"]),
        ('{"file_name": "a.wav", "words": "x"}', [], ["no column references"]),
        ('{"file_name": "z.wav", "references": ["x"]}', [], ["in common"]),
        ('{"file_name": "a.wav", "references": 5}', [], ["line 1"]),
        ("", [], ["no rows"]),
        (
            '{"file_name": "x/a.wav", "references": ["x"]}\n{"file_name": "y/a.wav", "references": ["y"]}',
            [],
            ["two files", "uri"],
        ),
        (
            '{"file_name": "a.wav", "references": ["x"]}',
            ["--metrics", "beauty"],
            ["There is no --metrics 'beauty'", "bleu_1"],
        ),
        ('{"file_name": "a.wav", "references": ["x"]}', ["--tokenizer", "axe"], ["--tokenizer"]),
        ('{"file_name": "a.wav", "references": ["x"]}', ["--results", "none.jsonl"], ["--results"]),
    ],
)
def test_what_cannot_be_compared_is_told_in_one_line(
    run: Run, tmp_path: Path, predictions: Path, references: str | None, options: list[str], words: list[str]
) -> None:
    path = tmp_path / "references.jsonl"
    if references is not None:
        path.write_text(references)
    outcome = run("evaluate", "--results", predictions, "--references", path, "--output", tmp_path / "out", *options)
    assert_one_line(outcome, *words)


def test_metrics_are_computed_once_and_never_replaced_by_mistake(run: Run, tmp_path: Path) -> None:
    predictions, references, others = (tmp_path / name for name in ("p.jsonl", "r.jsonl", "o.jsonl"))
    predictions.write_text(json.dumps({"clip_id": "1", "caption": "a dog barks"}))
    references.write_text(json.dumps({"clip_id": "1", "references": ["a dog barks loudly"]}))
    others.write_text(json.dumps({"clip_id": "1", "references": ["rain falls"]}))
    common = ["evaluate", "--results", predictions, "--output", tmp_path / "out", "--json", "--references"]
    first = run(*common, references).report
    again = run(*common, references).report
    assert (first["done_before"], again["done_before"]) == (False, True)
    assert again["corpus"] == first["corpus"]
    assert_one_line(run(*common, others), "other inputs or options", "--overwrite")
    assert_one_line(run(*common, references, "--metrics", "bleu_1"), "other inputs or options")
    replaced = run(*common, others, "--overwrite").report
    assert replaced["corpus"] != first["corpus"]
    references.write_text(json.dumps({"clip_id": "1", "references": ["a cat"]}))
    assert_one_line(run(*common, references), "other inputs or options")
    (tmp_path / "out" / "metrics" / "metrics.json").unlink()
    assert_one_line(run(*common, others, "--overwrite"), "Move them away")  # nothing says that they are ours


def test_a_group_has_a_row_for_each_of_its_metrics(run: Run, tmp_path: Path, predictions: Path) -> None:
    references = jsonl(tmp_path / "references.jsonl", REFERENCES)
    command = ["evaluate", "--results", predictions, "--references", references, "--output", tmp_path / "out"]
    report = run(*command, "--metrics", "all", "--json").report
    rows = {row["metric"]: row for row in report["corpus"]}
    assert {*rows, *report["not_available"]} == set(METRICS) - {"accuracy", "map"}
    assert "msclap" in report["not_available"]["mace"]
    assert rows["vocab.cands"]["value"] == 8
    assert (rows["vocab.cands"]["low"], rows["vocab.cands"]["high"]) == (None, None)  # of a whole corpus only
    assert rows["self_bleu_4"]["low"] is not None
    columns = pq.read_table(tmp_path / "out/metrics/clips.parquet").column_names
    assert "self_bleu_4" in columns
    assert "vocab.cands" not in columns
    shown = run(*command, "--metrics", "all").out
    assert all(name in shown for name in (*rows, *report["not_available"]))


def test_a_metric_asked_for_by_name_that_cannot_run_says_what_to_install(
    run: Run, tmp_path: Path, predictions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    references = jsonl(tmp_path / "references.jsonl", REFERENCES)
    command = ["evaluate", "--results", predictions, "--references", references, "--output", tmp_path / "out"]
    assert_one_line(run(*command, "--metrics", "sbert_sim"), "sbert_sim needs a sentence model", "--sentence-model")
    assert_one_line(run(*command, "--metrics", "bleu,meteor"), "METEOR needs the program java", "java-metrics")


def test_metrics_of_an_earlier_release_count_as_computed(run: Run, tmp_path: Path, predictions: Path) -> None:
    references = jsonl(tmp_path / "references.jsonl", REFERENCES)
    command = ["evaluate", "--results", predictions, "--references", references, "--output", tmp_path / "out", "--json"]
    assert run(*command).code == 0
    path = tmp_path / "out/metrics/metrics.json"
    record = json.loads(path.read_text())
    del record["inputs"]["sentence_model"], record["inputs"]["fluency_model"]  # options that came later
    path.write_text(json.dumps(record))
    assert run(*command).report["done_before"]


def test_a_sentence_model_is_named_and_the_rest_of_its_group_says_what_it_lacks(
    run: Run, tmp_path: Path, predictions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    references = jsonl(tmp_path / "references.jsonl", REFERENCES)
    write_sentence_model(tmp_path / "sentences")
    command = ["evaluate", "--results", predictions, "--references", references, "--output", tmp_path / "out"]
    command += ["--metrics", "dcase", "--sentence-model", tmp_path / "sentences"]
    report = run(*command, "--json").report
    assert [row["metric"] for row in report["corpus"]] == ["cider_d", "sbert_sim", "vocab.cands"]
    lacking = report["not_available"]
    assert list(lacking) == ["meteor", "spice", "spider", "fer", "spider_fl", "fense"]
    assert "--fluency-model" in lacking["fense"]
    assert "java" in lacking["spider"]
    shown = run(*command).out
    assert "fer" in shown
    assert f"meteor not available: {lacking['meteor']}" in shown


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ('{"file_name": "b.wav", "caption": 5}', "line 2: the caption is not text"),
        ('{"file_name": "b.wav", "caption": ["rain"]}', "line 2: the caption is not text"),
        ('{"file_name": null, "caption": "rain"}', "line 2: it has no file_name"),
        ('{"caption": "rain"}', "line 2: it has no file_name"),
    ],
)
def test_a_caption_without_text_or_key_is_named_by_its_line(run: Run, tmp_path: Path, row: str, words: str) -> None:
    (tmp_path / "r.jsonl").write_text('{"file_name": "a.wav", "caption": "a dog barks"}\n' + row + "\n")
    (tmp_path / "refs.jsonl").write_text('{"file_name": "a.wav", "references": ["a dog barks"]}\n')
    names = ["--results", tmp_path / "r.jsonl", "--references", tmp_path / "refs.jsonl"]
    assert_one_line(run("evaluate", *names, "--output", tmp_path / "e"), "r.jsonl", words)


def test_keys_that_some_rows_lack_end_in_no_traceback(run: Run, tmp_path: Path) -> None:
    """Null is no word: a reference called None is not what it matches."""
    (tmp_path / "r.jsonl").write_text(
        '{"clip_id": "a", "file_name": "a.wav", "caption": "a dog barks"}\n{"file_name": "b.wav"}\n'
    )
    (tmp_path / "refs.jsonl").write_text(
        '{"clip_id": "a", "references": ["a dog barks"]}\n{"clip_id": "None", "references": ["rain"]}\n'
    )
    names = ["--results", tmp_path / "r.jsonl", "--references", tmp_path / "refs.jsonl"]
    outcome = run("evaluate", *names, "--metrics", "bleu_1", "--output", tmp_path / "e", "--json")
    report = json.loads(outcome.out)
    assert outcome.code == 0, outcome
    assert report["without_caption"] == ["None"]


def test_a_corpus_of_many_parts_scores_what_one_part_does(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["rain", "wind", "dog", "barks", "falls", "loudly", "far", "away"]
    rng = random.Random(0)

    def text() -> str:
        return " ".join(rng.choices(words, k=rng.randint(2, 8)))

    rows = [{"clip_id": f"{n}", "caption": text(), "clap_score": None if n % 5 else 0.5} for n in range(70)]
    predictions = jsonl(tmp_path / "p.jsonl", rows)
    known = [{"clip_id": f"{n}", "captions": [text() for _ in range(1 + n % 3)]} for n in range(3, 72)]
    references = jsonl(tmp_path / "r.jsonl", known)
    command = ["evaluate", "--results", predictions, "--references", references, "--metrics", "all", "--json"]
    whole = run(*command, "--output", tmp_path / "whole").report
    monkeypatch.setattr(spreading, "ROWS_A_PART", 16)
    monkeypatch.setattr(key_buckets, "ROWS_A_PART", 16)
    monkeypatch.setattr(spreading, "BUCKET_BYTES", 999)
    monkeypatch.setattr(score_captions, "_ROWS_AT_ONCE", 7)
    parts = run(*command, "--output", tmp_path / "parts").report
    assert len(whole["corpus"]) > 10
    for one, other in zip(whole["corpus"], parts["corpus"], strict=True):
        assert (one["metric"], one["n"]) == (other["metric"], other["n"])
        assert one["value"] == pytest.approx(other["value"], abs=1e-12), one["metric"]
        if one["low"] is not None:
            assert (other["low"], other["high"]) == pytest.approx((one["low"], one["high"]), abs=0.05), one["metric"]
    tables = [pq.read_table(tmp_path / name / "metrics/clips.parquet").to_pylist() for name in ("whole", "parts")]
    for one, other in zip(*tables, strict=True):
        assert one == pytest.approx(other, abs=1e-12)
    for name in ("without_references", "without_caption", "counts", "not_available"):
        assert whole[name] == parts[name]


@pytest.mark.slow
def test_workers_give_the_same_bytes(run: Run, tmp_path: Path, predictions: Path) -> None:
    references = jsonl(tmp_path / "references.jsonl", REFERENCES)
    command = ["evaluate", "--results", predictions, "--references", references, "--metrics", "bleu,self_bleu_4"]
    assert run(*command, "--output", tmp_path / "here").code == 0
    assert run(*command, "--output", tmp_path / "there", "--workers", "2").code == 0
    for name in ("corpus", "clips"):
        here, there = (tmp_path / folder / f"metrics/{name}.parquet" for folder in ("here", "there"))
        assert here.read_bytes() == there.read_bytes()


def test_metrics_are_inspected_and_verified(run: Run, tmp_path: Path, predictions: Path) -> None:
    references = jsonl(tmp_path / "references.jsonl", REFERENCES)
    output = tmp_path / "out"
    assert run("evaluate", "--results", predictions, "--references", references, "--output", output).code == 0
    report = run("inspect", output, "--json").report
    assert report["kind"] == "sonogloss-metrics"
    assert report["facts"]["results"] == str(predictions)
    assert report["facts"]["rouge_l"].endswith("of 2 clips")
    assert "rouge_l: " in run("inspect", output).out
    assert run("verify", output).code == 0
    (output / "metrics/clips.parquet").unlink()
    assert run("verify", output, "--json").report["problems"] == ["metrics/clips.parquet is missing."]


def test_what_captions_say_that_the_datastore_does_not(run: Run, tmp_path: Path, predictions: Path) -> None:
    dump = tmp_path / "captions.txt"
    dump.write_text("A dog barks!\nwind\nheavy rain falls on the road\n")
    assert run("build-datastore", "--captions", dump, "--clap", "pocket", "--output", tmp_path / "store").code == 0
    references = jsonl(tmp_path / "references.jsonl", REFERENCES)
    command = ("evaluate", "--results", predictions, "--references", references, "--output", tmp_path / "out")
    outcome = run(*command, "--metrics", "novel_trigrams", "--datastore", tmp_path / "store", "--json")
    assert outcome.code == 0, outcome.err
    [row] = outcome.report["corpus"]
    # "a dog barks" and "rain falls on", "falls on the" are known, "on the roof" is new.
    assert (row["value"], row["n"]) == (0.25, 2)
    assert_one_line(run(*command, "--metrics", "novel_trigrams", "--overwrite"), "--datastore")
