"""SPICE (Anderson et al. 2016) with its published program, version 1.0; the corpus score is the mean of the clips'.

The program parses texts into graphs of objects, attributes and relations, and compares these. It needs two files of
Stanford CoreNLP 3.6.0 that the package pycocoevalcap does not carry; we never fetch them.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from sonogloss.errors import OptionError
from sonogloss.metrics.java import find_program, reason
from sonogloss.metrics.metric import ClipTexts
from sonogloss.metrics.sums import Numbers

_JAR = "spice/spice-1.0.jar"
_CORENLP = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")
_ARCHIVE = "https://nlp.stanford.edu/software/stanford-corenlp-full-2015-12-09.zip"


def find_spice() -> list[str]:
    """The command that starts the program.

    Raises:
        OptionError: Java, the package pycocoevalcap or the files of CoreNLP are not here.
    """
    java, jar = find_program(_JAR, what="SPICE", instead="leave spice and spider out")
    folder = os.path.join(os.path.dirname(jar), "lib")
    missing = [name for name in _CORENLP if not os.path.isfile(os.path.join(folder, name))]
    if missing:
        raise OptionError(
            f"SPICE needs {' and '.join(missing)} of Stanford CoreNLP, which pycocoevalcap does not bring.",
            f"Unpack the files of {_ARCHIVE} with these names into {folder}, or leave spice and spider out.",
        )
    return [java, "-Dfile.encoding=UTF-8", "-Xmx8G", "-jar", jar]


def spice_scores(clips: Sequence[ClipTexts]) -> Numbers:
    """The score of each clip, [clips] in [0, 1]; the program runs once for all of them.

    Raises:
        OptionError: the program or its files are not here, or it fails.
    """
    command = find_spice()
    content = [
        {"image_id": number, "test": " ".join(clip.words), "refs": [" ".join(words) for words in clip.reference_words]}
        for number, clip in enumerate(clips)
    ]
    with tempfile.TemporaryDirectory(prefix="sonogloss-spice-") as folder:
        questions, answers = (os.path.join(folder, name) for name in ("questions.json", "answers.json"))
        with open(questions, "w", encoding="utf-8") as file:
            json.dump(content, file)
        run = subprocess.run([*command, questions, "-out", answers, "-silent"], capture_output=True, check=False)
        try:
            with open(answers, encoding="utf-8") as file:
                found = {int(answer["image_id"]): _score(answer) for answer in json.load(file)}
            return np.array([found[number] for number in range(len(clips))], np.float64)
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise OptionError(
                f"SPICE failed ({reason(run.stderr)}).",
                "Check that Java has 8 GB of memory, or leave spice and spider out.",
            ) from error


def _score(answer: Any) -> float:
    """The F-measure; 0 where neither text has anything to compare."""
    value = answer["scores"]["All"]["f"]
    score = float("nan") if value is None else float(value)
    return score if score == score else 0.0
