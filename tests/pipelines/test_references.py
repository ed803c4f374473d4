"""evaluate finds keys and texts, scores what it should, and says when a result says little."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from .conftest import Outcome, Run, assert_one_line

AUDIOCAPS = "audiocap_id,youtube_id,start_time,caption\n"
CAPTIONS = {"a.wav": "a dog barks", "b.wav": "rain falls on the roof", "c.wav": "nobody refers to me"}
REFERENCES = {"a.wav": ["a dog barks", "a dog"], "b.wav": ["rain", "water falls"]}

Evaluate = Callable[..., Outcome]


@pytest.fixture
def evaluate(run: Run, tmp_path: Path) -> Evaluate:
    """Score captions by file name against references: a mapping, or a table by its name and text."""

    def _evaluate(captions: dict[str, Any], references: Any, *options: object) -> Outcome:
        name, text = (
            references if isinstance(references, tuple) else ("references.jsonl", lines(references, "references"))
        )
        (tmp_path / name).write_text(text)
        (tmp_path / "captions.jsonl").write_text(lines(captions, "caption"))
        return run(
            "evaluate", "--results", tmp_path / "captions.jsonl", "--references", tmp_path / name,
            "--output", tmp_path / "out", "--overwrite", "--json", *options,
        )  # fmt: skip

    return _evaluate


def lines(values: dict[str, Any], column: str) -> str:
    return "".join(json.dumps({"file_name": name, column: value}) + "\n" for name, value in values.items())


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("clotho.csv", "file_name,caption_1,caption_2\na.wav,a dog barks,a dog\nb.wav,rain,water falls\n"),
        ("audiocaps.csv", f"{AUDIOCAPS}1,a,30,a dog barks\n2,a,30,a dog\n3,b,0,rain\n4,b,0,water falls\n"),
        ("by_id.csv", f"{AUDIOCAPS}a,x,30,a dog barks\na,x,30,a dog\nb,y,0,rain\nb,y,0,water falls\n"),
        ("metadata.jsonl", lines(REFERENCES, "text")),
        ("captions.jsonl", lines(REFERENCES, "captions")),
        ("filename.jsonl", lines(REFERENCES, "references").replace("file_name", "filename")),
    ],
)
def test_published_layouts_are_references(evaluate: Evaluate, name: str, text: str) -> None:
    found = evaluate(CAPTIONS, (f"r_{name}", text))
    assert found.code == 0, found.err
    assert found.report["corpus"] == evaluate(CAPTIONS, REFERENCES).report["corpus"]


def test_audiocaps_clips_are_found_by_video_and_start(evaluate: Evaluate) -> None:
    captions = {f"Y{name}_30.wav": text for name, text in (("x-_1", "a dog barks"), ("x-_2", "rain falls"))}
    table = f"{AUDIOCAPS}1,x-_1,30,a dog barks\n2,x-_2,30,rain falls\n3,x-_2,60,wind\n"
    report = evaluate(captions, ("a.csv", table)).report
    assert report["clips"] == 2
    assert report["without_caption"] == ["x-_2_60"]


def test_a_key_and_columns_of_ones_own(evaluate: Evaluate) -> None:
    table = ("mine.csv", "sound,first,second,caption\na,a dog barks,a dog,no\nb,rain,water falls,no\n")
    found = evaluate(CAPTIONS, table, "--key", "sound", "--references-column", "first", "second")
    assert found.report["key"] == "sound"
    assert found.report["corpus"] == evaluate(CAPTIONS, REFERENCES).report["corpus"]
    assert_one_line(evaluate(CAPTIONS, table, "--key", "name"), "no column name")
    assert_one_line(evaluate(CAPTIONS, table), "no key column")


def test_keys_match_however_their_letters_are_composed(evaluate: Evaluate) -> None:
    report = evaluate({"\u00c9vreux.wav": "rain falls"}, {"E\u0301vreux.wav": ["rain falls"]}).report
    assert report["clips"] == 1
    assert report["without_references"] == []


def test_a_result_that_says_little_says_so(evaluate: Evaluate) -> None:
    references = {"a.wav": ["a dog barks"]}
    outcome = evaluate(CAPTIONS, references)
    assert outcome.code == 1
    assert outcome.report["problems"] == [
        "2 of 3 captions have no references, more than --max-unmatched 0.5 allows: the metrics say little of this run"
    ]
    assert evaluate(CAPTIONS, references, "--max-unmatched", "0.7").code == 0


def test_cider_d_of_one_clip_is_not_computed(evaluate: Evaluate) -> None:
    one = {"a.wav": "a dog barks"}
    report = evaluate(one, REFERENCES).report
    assert "cider_d" not in {row["metric"] for row in report["corpus"]}
    assert report["not_available"] == {"cider_d": "it says nothing of fewer than 2 clips"}
    assert_one_line(evaluate(one, REFERENCES, "--metrics", "cider_d"), "cider_d cannot be computed", "2 clips")


def test_empty_captions_score_nothing_and_are_named(evaluate: Evaluate, tmp_path: Path) -> None:
    captions = {"a.wav": None, "b.wav": " ", "c.wav": "none"}
    outcome = evaluate(captions, {name: ["none"] for name in captions})
    report = outcome.report
    assert outcome.code == 1
    assert report["problems"][0].startswith("2 of 3 captions are empty")
    assert report["empty_captions"] == ["a.wav", "b.wav"]
    clips = pq.read_table(tmp_path / "out/metrics/clips.parquet").to_pylist()
    assert [row["rouge_l"] for row in clips] == [0.0, 0.0, 1.0]


def test_identical_captions_of_any_script_are_equal(evaluate: Evaluate) -> None:
    captions = {"a.wav": "狗在叫，雨在下。", "b.wav": "собака лает громко ночью", "c.wav": "คนกำลังพูด"}
    report = evaluate(captions, {name: [text] for name, text in captions.items()}).report
    values = {row["metric"]: row["value"] for row in report["corpus"]}
    assert values["bleu_4"] == pytest.approx(1)
    assert values["rouge_l"] == 1
    assert values["cider_d"] == pytest.approx(10)


def test_intervals_hold_the_value_and_can_be_left_out(evaluate: Evaluate) -> None:
    captions = {f"{number}.wav": f"sound {number % 4}" for number in range(30)}
    references = {name: ["sound 1"] for name in captions}
    rows = evaluate(captions, references).report["corpus"]
    assert all(row["low"] <= row["value"] <= row["high"] for row in rows)
    assert any(row["low"] < row["high"] for row in rows)
    assert rows == evaluate(captions, references).report["corpus"]
    without = evaluate(captions, references, "--bootstrap", "0").report["corpus"]
    assert all(row["low"] is row["high"] is None for row in without)


def test_a_recording_is_one_item_with_its_best_caption(run: Run, tmp_path: Path) -> None:
    said = [("a", 0.1, "wind"), ("a", 0.7, "a dog barks"), ("a", 0.7, "dogs"), ("b", 0.2, "rain"), ("c", 0.9, "x")]
    rows = [
        {"uri": f"/x/{name}.wav", "clip_id": f"{name}{number}", "caption": caption, "clap_score": score}
        for number, (name, score, caption) in enumerate(said)
    ]
    path = tmp_path / "windows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "r.jsonl").write_text(lines(REFERENCES, "references"))
    command = ["evaluate", "--results", path, "--references", tmp_path / "r.jsonl", "--output", tmp_path / "out"]
    command += ["--metrics", "bleu_1,clap_sim", "--overwrite", "--json"]
    report = run(*command, "--per", "recording").report
    assert (report["clips"], report["several_captions"]) == (2, [])
    assert [row["n"] for row in report["corpus"]] == [2, 2]
    clips = pq.read_table(tmp_path / "out/metrics/clips.parquet").to_pylist()
    assert [(clip["clip_id"], clip["clap_sim"]) for clip in clips] == [("a1", 0.7), ("b3", 0.2)]
    assert run(*command).report["clips"] == 4
    by_id = tmp_path / "ids.jsonl"
    by_id.write_text('{"clip_id": "a1", "references": ["a dog"]}\n')
    assert_one_line(run(*command, "--per", "recording", "--references", by_id), "references of recordings", "file_name")
    path.write_text("".join(json.dumps({**row, "clap_score": None}) + "\n" for row in rows))
    assert_one_line(run(*command, "--metrics", "bleu_1", "--per", "recording"), "several captions of 'a.wav'")


@pytest.mark.parametrize(
    ("name", "document"),
    [
        (
            "coco.json",
            {
                "images": [{"id": 7, "file_name": "a.wav"}, {"id": 8, "file_name": "b.wav"}],
                "annotations": [
                    {"id": 1, "image_id": 7, "caption": "a dog barks"},
                    {"id": 2, "image_id": 8, "caption": "rain"},
                    {"id": 3, "image_id": 7, "caption": "a dog"},
                    {"id": 4, "image_id": 8, "caption": "water falls"},
                ],
            },
        ),
        (
            "bare_coco.json",
            {
                "annotations": [
                    {"id": number, "image_id": name[0], "caption": text}
                    for name, texts in REFERENCES.items()
                    for number, text in enumerate(texts)
                ]
            },
        ),
        (
            "wavcaps.json",
            {"num_captions_per_audio": 2, "data": [{"id": n[0], "caption": t} for n, t in REFERENCES.items()]},
        ),
    ],
)
@pytest.mark.parametrize("indent", [None, 1])
def test_json_documents_are_references(evaluate: Evaluate, name: str, document: Any, indent: int | None) -> None:
    found = evaluate(CAPTIONS, (name, json.dumps(document, indent=indent)))
    assert found.code == 0, found.err
    assert found.report["corpus"] == evaluate(CAPTIONS, REFERENCES).report["corpus"]
