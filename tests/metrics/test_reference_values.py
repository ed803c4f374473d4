"""The numbers of pycocoevalcap, recorded for 2,421 clips and, where it is installed, computed again."""

import csv
import gzip
import json
from pathlib import Path

import pytest

from sonogloss.metrics import REFERENCE_METRICS, evaluate, tokenize

DATA = Path(__file__).parents[3] / "shared" / "data"
SETS = ["aac_metrics_example_1", "aac_metrics_example_2"]
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the recorded reference values are not here")

CLOTHO = "prompteus:efficient-jazz-72_validation_predict_clotho_greedy_config_backup_dataset"


def lines(path: Path) -> list[dict]:
    with gzip.open(path, "rt", encoding="utf-8") as handle:
        return [json.loads(line) for line in handle]


def recorded(name: str) -> dict[str, dict]:
    return {r["item"]: r for r in lines(DATA / "metrics" / "coco_reference_values.jsonl.gz") if r["set"] == name}


def load(name: str) -> tuple[dict[str, str], dict[str, list[str]]]:
    if name == CLOTHO:
        rows = recorded(name)
        references = {r["file_name"]: r["captions"] for r in lines(DATA / "captions" / "clotho_val.jsonl.gz")}
        return {k: r["prediction_tokens"] for k, r in rows.items()}, {k: references[k] for k in rows}
    with (DATA / "metrics" / f"{name}.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    candidates = {str(i): row["caption_predicted"] for i, row in enumerate(rows)}
    return candidates, {str(i): [row[f"caption_{n}"] for n in range(1, 6)] for i, row in enumerate(rows)}


@pytest.mark.parametrize("name", [*SETS, CLOTHO])
def test_corpus_and_clips_equal_the_recorded_values(name):
    candidates, references = load(name)
    clips = recorded(name)
    corpus = json.loads((DATA / "metrics" / "coco_reference_corpus.json").read_text())["corpus"][name]
    result = evaluate(candidates, references)
    assert result.clips.keys() == clips.keys()
    assert not result.without_references
    for row in result.corpus:
        assert row.n == corpus["items"]
        assert row.value == pytest.approx(corpus[row.metric], abs=1e-6), row.metric
    for key, values in result.clips.items():
        assert values == pytest.approx({m: clips[key][m] for m in REFERENCE_METRICS}, abs=1e-6), key


@pytest.mark.parametrize("name", SETS)
def test_simple_tokens_equal_the_recorded_ones(name):
    candidates, _ = load(name)
    clips = recorded(name)
    assert [" ".join(t) for t in tokenize(list(candidates.values()))] == [
        clips[key]["prediction_tokens"] for key in candidates
    ]


def test_equal_to_the_installed_reference_implementation(capsys):
    bleu = pytest.importorskip("pycocoevalcap.bleu.bleu")
    cider = pytest.importorskip("pycocoevalcap.cider.cider")
    rouge = pytest.importorskip("pycocoevalcap.rouge.rouge")
    candidates, references = load(SETS[0])
    keys = list(candidates)[:50]
    left = {key: [" ".join(tokenize([candidates[key]])[0])] for key in keys}
    right = {key: [" ".join(t) for t in tokenize(references[key][: 1 + i % 5])] for i, key in enumerate(keys)}
    result = evaluate({k: v[0] for k, v in left.items()}, right, tokenizer="whitespace")
    ours = {row.metric: row.value for row in result.corpus}
    scores, per_clip = bleu.Bleu(4).compute_score(right, left, verbose=0)
    expected = {f"bleu_{n}": score for n, score in enumerate(scores, start=1)}
    expected_clips = {f"bleu_{n}": list(values) for n, values in enumerate(per_clip, start=1)}
    for metric, scorer in (("rouge_l", rouge.Rouge()), ("cider_d", cider.Cider())):
        expected[metric], values = scorer.compute_score(right, left)
        expected_clips[metric] = list(values)
    assert ours == pytest.approx(expected, abs=1e-12)
    for metric, values in expected_clips.items():
        assert [result.clips[key][metric] for key in keys] == pytest.approx(values, abs=1e-12)
