"""METEOR: the formula against the program's values, its protocol, and pycocoevalcap where that is installed."""

from __future__ import annotations

import importlib.util
import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from sonogloss.errors import OptionError
from sonogloss.metrics import METRICS, evaluate, tokenize
from sonogloss.metrics.java import reason
from sonogloss.metrics.meteor import counts_of_line, meteor, meteor_counts
from sonogloss.metrics.metric import ClipTexts
from sonogloss.metrics.scorers import find_scorers

from .conftest import MakeJava

JAR = "meteor/meteor-1.5.jar"
HAS_METEOR = bool(shutil.which("java")) and importlib.util.find_spec("pycocoevalcap") is not None

# What the program answered to SCORE for five clips, and to EVAL for each of them and all together.
ANSWERS = [
    ("4 3 2 1 1 1 1 1 0 0 0 0 0 0 0 0 0 0 0 0 1 2 2", 0.2672277829495527),
    ("4 5 0 2 2 2 0 0 0 0 0 0 0 0 0 0 0 0 0 0 2 2 2", 0.21524663677130046),
    ("2 2 0 0 2 2 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1 2 2", 1.0),
    ("0 2 0 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0", 0.0),
    ("15 6 7 3 0 0 2 2 0 0 0 0 0 0 0 0 1 1 1 1 2 4 4", 0.14153175171031868),
]
ALL = 0.22901201187439346


def clip(caption: str, *references: str) -> ClipTexts:
    words, *others = tokenize([caption, *references])
    return ClipTexts(caption=caption, references=references, words=words, reference_words=others)


def test_the_formula_is_that_of_the_program() -> None:
    counts = np.array([counts_of_line(line) for line, _ in ANSWERS])
    assert meteor(counts) == pytest.approx([value for _, value in ANSWERS], abs=1e-12)
    assert meteor(counts.sum(axis=0)) == pytest.approx(ALL, abs=1e-12)
    assert meteor(np.zeros(23)) == 0


PROGRAM = """
import sys
for line in sys.stdin:
    start, *texts = line.rstrip("\\n").split(" ||| ")
    assert start == "SCORE", line
    words = texts[-1].split()
    print(" ".join(map(str, [float(len(words)), float(len(texts) - 1)] + [0.0] * 21)), flush=True)
"""


def test_each_clip_is_one_question_and_one_answer(java_program: MakeJava) -> None:
    java_program(PROGRAM, JAR)
    clips = [clip("a dog " * (number % 3), *["rain"] * (number % 4 + 1)) for number in range(250)]
    clips.append(ClipTexts(caption="", references=["x"], words=("a|||b", "|||"), reference_words=[("x|||y",)]))
    answers = meteor_counts(clips)[:, :2].tolist()
    assert answers[:-1] == [[number % 3 * 2, number % 4 + 1] for number in range(250)]
    assert answers[-1] == [2, 1]
    assert meteor_counts([]).shape == (0, 23)


@pytest.mark.parametrize("script", ["import sys; sys.exit('no room in memory')", "print('no room in memory')"])
def test_a_program_that_fails_is_an_error_in_words(java_program: MakeJava, script: str) -> None:
    java_program(script, JAR)
    with pytest.raises(OptionError, match=r"METEOR failed \(.*\).*leave meteor out"):
        meteor_counts([clip("a dog", "a cat")])


def test_a_program_that_says_nonsense_and_stays_is_ended(java_program: MakeJava, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    java_program(
        "import os, signal\n"
        f"open({str(pid)!r}, 'w').write(str(os.getpid()))\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('nonsense', flush=True)\n"
        "signal.pause()\n",
        JAR,
    )
    with pytest.raises(OptionError, match="METEOR failed"):
        meteor_counts([clip("a dog", "a cat")])
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


@pytest.mark.parametrize(
    ("stderr", "said"),
    [
        (b"Exception in thread main: no class\n\tat x.y(z.java)\n\t... 3 more\n", "Exception in thread main: no class"),
        (b"one\ntwo\n", "two"),
        (b"", "no message"),
    ],
)
def test_the_reason_is_the_error_and_not_the_end_of_its_trace(stderr: bytes, said: str) -> None:
    assert reason(stderr) == said


def test_without_java_or_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    found, lacking = find_scorers({"meteor", "references"})
    assert found == {}
    assert "needs the program java" in str(lacking["meteor"])
    assert "sonogloss[java-metrics]" in str(lacking["meteor"])


@pytest.mark.skipif(not HAS_METEOR, reason="Java or pycocoevalcap is not here")
def test_values_are_those_of_pycocoevalcap() -> None:
    from pycocoevalcap.meteor.meteor import Meteor

    rng = random.Random(0)
    words = "dog dogs barks barking barked rain falls falling on the roof home house".split()  # noqa: SIM905
    texts = [" ".join(rng.choices(words, k=rng.randint(1, 9))) for _ in range(1000)]
    captions = {str(number): texts[number] for number in range(200)}
    references = {str(number): texts[number % 5 + 4 * number : 4 * number + 5] for number in range(200)}
    wrapper = Meteor()
    corpus, clips = wrapper.compute_score(references, {key: [text] for key, text in captions.items()})
    wrapper.meteor_p.kill()
    wrapper.meteor_p.communicate()
    ours = evaluate(captions, references, metrics=["meteor"], scorers=find_scorers({"meteor"})[0])
    assert METRICS["meteor"].low <= corpus <= METRICS["meteor"].high
    assert ours.corpus[0].value == pytest.approx(corpus, abs=1e-9)
    assert [values["meteor"] for values in ours.clips.values()] == pytest.approx(clips, abs=1e-9)
