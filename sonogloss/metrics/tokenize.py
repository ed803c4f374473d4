"""Cut captions into words before they are compared.

`simple` needs nothing: lower-case, every character but letters, digits and the apostrophe becomes a blank, split on
blanks. Letters of scripts that put no blanks between words (Chinese, Japanese, Thai, Lao, Khmer, Burmese) are words of
their own, each with the marks that belong to it: scores of such captions are scores of characters.
`whitespace` splits and does nothing else, for text that was tokenized before. `ptb` is the Penn Treebank tokenizer that
published scores use (Stanford CoreNLP 3.4.1 with the punctuation list of the COCO evaluation); it runs in Java, with
the jar that the package pycocoevalcap brings. Scores of different tokenizers must not be compared.
"""

from __future__ import annotations

import re
import subprocess
import unicodedata
from collections.abc import Sequence

from sonogloss.errors import OptionError, unknown
from sonogloss.metrics.java import find_program, reason

Tokens = tuple[str, ...]

TOKENIZERS = ("simple", "ptb", "whitespace")

_NOT_SIMPLE = re.compile(r"[^a-z0-9' ]")
# Scripts without blanks: Thai, Lao, Burmese, Khmer, kana, bopomofo, Chinese characters.
_BLANKLESS = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u312f\u31f0-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9d\U00020000-\U000323af]"
)
_JAR = "tokenizer/stanford-corenlp-3.4.1.jar"
# What the COCO evaluation removes after tokenising. It means to remove brackets too, but looks for them in upper case
# after lower-casing, so `-lrb-` and `-rrb-` stay: published scores count them as words, and so do we.
_PTB_PUNCTUATION = frozenset(["''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"])


def tokenize(texts: Sequence[str], tokenizer: str = "simple") -> list[Tokens]:
    """The words of each text, in the order given.

    Args:
        texts: captions; `ptb` starts Java once for all of them, so hand over many at once.
        tokenizer: `simple`, `ptb` or `whitespace`.

    Raises:
        OptionError: there is no such tokenizer, or `ptb` lacks Java or pycocoevalcap.
    """
    match tokenizer:
        case "simple":
            return [_simple(text) for text in texts]
        case "whitespace":
            return [tuple(text.split()) for text in texts]
        case "ptb":
            return _penn_treebank(texts)
    raise unknown("tokenizer", tokenizer, TOKENIZERS)


def holds_words_without_blanks(text: str) -> bool:
    """Is some of this written in a script that puts no blanks between words? `simple` alone cuts it."""
    return not text.isascii() and _BLANKLESS.search(text) is not None


def _simple(text: str) -> Tokens:
    text = text.lower()
    if text.isascii():
        return tuple(_NOT_SIMPLE.sub(" ", text).split())
    pieces: list[str] = []
    for character in unicodedata.normalize("NFC", text):
        kind = unicodedata.category(character)
        if kind[0] == "L" and _BLANKLESS.match(character):
            pieces += " ", character
        elif kind[0] in "LM" or kind == "Nd" or character == "'":
            # A letter that follows one of a script without blanks begins a word; a mark belongs to what it stands on.
            begins = kind[0] != "M" and pieces and _BLANKLESS.match(pieces[-1])
            pieces += (" ", character) if begins else character
        else:
            pieces.append(" ")
    return tuple("".join(pieces).split())


def _penn_treebank(texts: Sequence[str]) -> list[Tokens]:
    java, jar = find_program(_JAR, what="The tokenizer 'ptb'", instead="choose --tokenizer simple")
    if not texts:
        return []
    command = [java, "-Dfile.encoding=UTF-8", "-cp", jar, "edu.stanford.nlp.process.PTBTokenizer"]
    # One caption a line: anything that Java or Python could take for the end of a line becomes a blank.
    lines = "".join(" ".join(text.split()) + "\n" for text in texts)
    run = subprocess.run(
        [*command, "-encoding", "UTF-8", "-preserveLines", "-lowerCase"],
        input=lines.encode("utf-8", "replace"),
        capture_output=True,
        check=False,
    )
    tokenized = run.stdout.decode().split("\n")[:-1]
    if run.returncode or len(tokenized) != len(texts):
        raise OptionError(
            f"The tokenizer 'ptb' failed ({reason(run.stderr)}).", "Check Java, or choose --tokenizer simple."
        )
    return [tuple(word for word in line.split() if word not in _PTB_PUNCTUATION) for line in tokenized]
