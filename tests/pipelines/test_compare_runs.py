"""compare, as a user calls it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from .conftest import Run, assert_one_line


def write(path: Path, column: str, values: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps({"file_name": name, column: value}) + "\n" for name, value in values.items()))
    return path


def test_runs_are_compared_on_the_clips_that_they_share(run: Run, tmp_path: Path) -> None:
    right = {f"{number}.wav": f"sound {number} rings" for number in range(8)}
    references = write(tmp_path / "r.jsonl", "references", {name: [text] for name, text in right.items()})
    good = write(tmp_path / "good.jsonl", "caption", right)
    bad = write(
        tmp_path / "bad.jsonl", "caption", {f"{number}.wav": f"sound {number // 2} [red]" for number in range(6)}
    )
    output = tmp_path / "clips.parquet"
    command = ["compare", bad, good, "--references", references]
    outcome = run(*command, "--metrics", "rouge_l,bleu_1", "--output", output, "--json")
    assert outcome.code == 0, outcome.err
    report = outcome.report
    assert report["clips"] == 6
    assert report["not_compared"] == {str(good): 2}
    rouge, bleu = report["differences"]
    before, after = (one["values"]["rouge_l"]["value"] for one in report["runs"])
    assert after == 1.0
    assert rouge["value"] == pytest.approx(after - before)
    assert rouge["low"] <= rouge["value"] <= rouge["high"]
    assert (rouge["wins"], rouge["losses"], rouge["ties"]) == (6, 0, 0)
    assert rouge["p"] < 0.1
    assert bleu["metric"] == "bleu_1"
    assert pq.read_table(output).column_names == [
        "clip",
        *(f"{m} {n}" for n in (bad, good) for m in ("rouge_l", "bleu_1")),
    ]
    assert "[red]" in run(*command).out
    assert_one_line(run("compare", good, "--references", references), "one run")
    assert_one_line(run(*command, "--output", output), "exists")
    assert_one_line(run(*command, "--bootstrap", "0"), "--bootstrap 0", "1 or more")


def test_fewer_repetitions_win_and_a_value_of_a_whole_run_is_not_compared(run: Run, tmp_path: Path) -> None:
    names = [f"{number}.wav" for number in range(4)]
    references = write(tmp_path / "r.jsonl", "references", {name: ["rain falls"] for name in names})
    same = write(tmp_path / "same.jsonl", "caption", dict.fromkeys(names, "rain falls"))
    varied = write(tmp_path / "varied.jsonl", "caption", {name: f"rain falls on {name}" for name in names})
    command = ["compare", same, varied, "--references", references, "--metrics"]
    report = run(*command, "repeated_captions,vocab.cands", "--json").report
    (row,) = report["differences"]
    assert (row["value"], row["wins"], row["losses"]) == (-1.0, 4, 0)
    assert list(report["not_available"]) == ["vocab.cands"]
    assert_one_line(run(*command, "vocab.cands"), "vocab.cands cannot be compared", "see evaluate")
