"""SPICE: what the program is given and what becomes of its answers, and what is said where it is not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sonogloss.errors import OptionError
from sonogloss.metrics import evaluate
from sonogloss.metrics.scorers import find_scorers
from sonogloss.metrics.spice import spice_scores

from .conftest import MakeJava
from .test_meteor import clip

JAR = "spice/spice-1.0.jar"
CORENLP = ["spice/lib/stanford-corenlp-3.6.0.jar", "spice/lib/stanford-corenlp-3.6.0-models.jar"]

# A stand-in: the share of the caption's words that any reference has; answers come in another order.
PROGRAM = """
import json, sys
questions, out, answers = [word for word in sys.argv if word.endswith(".json") or word == "-out"]
found = []
for item in json.load(open(questions)):
    known = {word for text in item["refs"] for word in text.split()}
    words = item["test"].split()
    f = sum(word in known for word in words) / len(words) if words else None
    found.append({"image_id": item["image_id"], "scores": {"All": {"f": f}}})
json.dump(found[::-1], open(answers, "w"))
"""


def test_answers_belong_to_their_clips(java_program: MakeJava) -> None:
    java_program(PROGRAM, JAR, *CORENLP)
    clips = [clip("a dog", "a cat"), clip("", "rain"), clip("rain", "snow", "rain")]
    assert spice_scores(clips).tolist() == [0.5, 0.0, 1.0]


def test_spider_is_the_mean_of_cider_d_and_spice(java_program: MakeJava) -> None:
    java_program(PROGRAM, JAR, *CORENLP)
    captions, references = {"1": "a dog barks", "2": "rain"}, {"1": ["a dog"], "2": ["rain falls"]}
    found, _ = find_scorers({"spice"})
    result = evaluate(captions, references, metrics=["spider", "cider_d", "spice"], scorers=found)
    for values in [*result.clips.values(), {row.metric: row.value for row in result.corpus}]:
        assert values["spider"] == pytest.approx((values["cider_d"] + values["spice"]) / 2)


@pytest.mark.parametrize(
    "script", ["import sys; sys.exit('no room in memory')", PROGRAM.replace("found[::-1]", "found[1:]")]
)
def test_a_program_that_fails_is_an_error_in_words(
    java_program: MakeJava, script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    java_program(script, JAR, *CORENLP)
    (tmp_path / "left").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "left"))
    with pytest.raises(OptionError, match=r"SPICE failed \(.*\).*leave spice"):
        spice_scores([clip("a dog", "a cat"), clip("rain", "rain")])
    assert list((tmp_path / "left").iterdir()) == []


def test_what_it_lacks_is_named_and_never_fetched(java_program: MakeJava, monkeypatch: pytest.MonkeyPatch) -> None:
    java_program("raise SystemExit(1)", JAR, CORENLP[0])
    found, lacking = find_scorers({"spice"})
    assert found == {}
    assert "needs stanford-corenlp-3.6.0-models.jar" in str(lacking["spice"])
    assert "spice/lib" in str(lacking["spice"])
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert "needs the program java" in str(find_scorers({"spice"})[1]["spice"])
