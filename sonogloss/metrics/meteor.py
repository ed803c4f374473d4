"""METEOR (Denkowski & Lavie 2014, "Meteor Universal") with its published program, version 1.5, for English.

The program aligns caption and reference (equal words, equal stems, synonyms, paraphrases) and gives counts of the
alignment with the best of the references. Counts add up over clips; the score is a formula of them (sections 2 and 3
of the paper, with the parameters of the English ranking task), which we compute, so that any sum of clips has one. A
corpus score is made from summed counts and is not the mean of the clips' scores.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from typing import IO

import numpy as np

from sonogloss.errors import OptionError
from sonogloss.metrics.java import find_program, reason
from sonogloss.metrics.metric import ClipTexts
from sonogloss.metrics.sums import Numbers
from sonogloss.metrics.tokenize import Tokens

_JAR = "meteor/meteor-1.5.jar"
_ALPHA, _BETA, _GAMMA, _DELTA = 0.85, 0.2, 0.6, 0.75
_STAGES = (1.0, 0.6, 0.8, 0.6)  # weights of equal words, stems, synonyms, paraphrases
_COUNTS = 4 + 4 * len(_STAGES) + 3
_AT_ONCE = 100  # clips: what the program answers to them fits into a pipe that nobody reads yet


def counts_of_line(line: str) -> list[float]:
    """The counts that the program gives of a clip, in the order of :func:`meteor_counts`.

    Raises:
        ValueError: the line holds something else.
    """
    numbers = [float(word) for word in line.split()]
    if len(numbers) != _COUNTS:
        raise ValueError(line)
    chunks, *matched = numbers[-3:]
    if chunks == 1 and matched == numbers[:2]:
        numbers[-3] = 0.0  # a caption that equals its reference is not fragmented
    return numbers


def meteor(counts: Numbers) -> Numbers:
    """Scores, in [0, 1], of counts [..., 23]: those of clips, or summed ones."""
    words, functions, matches = counts[..., 0:2], counts[..., 2:4], counts[..., 4:-3]
    stages = np.reshape(matches, (*counts.shape[:-1], len(_STAGES), 2, 2))  # by stage, content or function, side
    weights = np.multiply.outer(_STAGES, (_DELTA, 1 - _DELTA))
    whole = _DELTA * (words - functions) + (1 - _DELTA) * functions
    # Of the caption's side the share is precision, of the reference's recall.
    precision, recall = np.moveaxis(_divided(np.einsum("sk,...skv->...v", weights, stages), whole), -1, 0)
    mean = _divided(precision * recall, _ALPHA * precision + (1 - _ALPHA) * recall)
    fragmentation = _divided(counts[..., -3], (counts[..., -2] + counts[..., -1]) / 2)
    return np.asarray(mean * (1 - _GAMMA * fragmentation**_BETA))


def _divided(numbers: Numbers, by: Numbers) -> Numbers:
    """0 where nothing is divided."""
    return np.divide(numbers, by, out=np.zeros_like(numbers), where=by != 0)


def find_meteor() -> list[str]:
    """The command that starts the program.

    Raises:
        OptionError: Java or the package pycocoevalcap is not here.
    """
    java, jar = find_program(_JAR, what="METEOR", instead="leave meteor out")
    options = ["-", "-", "-stdio", "-l", "en", "-norm"]
    return [java, "-Dfile.encoding=UTF-8", "-Xmx2G", "-jar", jar, *options]


def meteor_counts(clips: Sequence[ClipTexts]) -> Numbers:
    """The counts of each clip, [clips, 23]; the program runs once for all of them.

    Words of caption and reference; function words of both; for each stage matched content words of both and matched
    function words of both; chunks; matched words of both.

    Raises:
        OptionError: the program is not here, or fails.
    """
    command = find_meteor()
    with tempfile.TemporaryFile() as stderr:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr)
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            found = [
                counts
                for start in range(0, len(clips), _AT_ONCE)
                for counts in _ask(process.stdin, process.stdout, clips[start : start + _AT_ONCE])
            ]
            return np.reshape(np.array(found, np.float64), (len(clips), _COUNTS))
        except (OSError, ValueError) as error:
            process.kill()
            process.wait()
            stderr.seek(0)
            raise OptionError(
                f"METEOR failed ({reason(stderr.read())}).", "Check Java, or leave meteor out."
            ) from error
        finally:
            process.kill()
            process.communicate()


def _ask(stdin: IO[bytes], stdout: IO[bytes], clips: Sequence[ClipTexts]) -> list[list[float]]:
    stdin.write("".join(map(_question, clips)).encode("utf-8", "replace"))
    stdin.flush()
    return [counts_of_line(stdout.readline().decode(errors="replace")) for _ in clips]


def _question(clip: ClipTexts) -> str:
    texts = [*clip.reference_words, clip.words]
    return f"SCORE ||| {' ||| '.join(map(_text, texts))}\n"


def _text(words: Tokens) -> str:
    """Words in a row; bars part the texts, so there must be none inside."""
    return " ".join(" ".join(words).replace("|||", " ").split())
