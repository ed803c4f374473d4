import importlib.util
import re
import shutil
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonogloss.errors import OptionError
from sonogloss.metrics import tokenize

HAS_PTB = bool(shutil.which("java")) and importlib.util.find_spec("pycocoevalcap") is not None


def test_simple_keeps_letters_digits_and_apostrophes():
    assert tokenize(["A dog's bark, 3 times — LOUD!", "", "café"]) == [
        ("a", "dog's", "bark", "3", "times", "loud"),
        (),
        ("café",),
    ]


def test_whitespace_only_splits():
    assert tokenize(["A dog's  bark,\tloud!"], "whitespace") == [("A", "dog's", "bark,", "loud!")]


def test_unknown_tokenizer_is_refused():
    with pytest.raises(
        OptionError, match=r"no tokenizer 'simpel'\. Choose one of simple, ptb, .*did you mean 'simple'"
    ):
        tokenize(["x"], "simpel")


@pytest.mark.parametrize("lacking", ["java", "pycocoevalcap"])
def test_ptb_says_what_it_lacks(monkeypatch, lacking):
    monkeypatch.setattr(shutil, "which", lambda name: None if lacking == name else f"/usr/bin/{name}")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(OptionError, match=f"{lacking}.*java-metrics"):
        tokenize(["x"], "ptb")


@pytest.mark.skipif(not HAS_PTB, reason="Java or pycocoevalcap is not here")
def test_ptb_splits_clitics_and_drops_punctuation():
    texts = ["A dog's bark, (twice) and it isn't loud!", "", "two\nlines\u2028three", "Rain falls..."]
    assert tokenize(texts, "ptb") == [
        ("a", "dog", "'s", "bark", "-lrb-", "twice", "-rrb-", "and", "it", "is", "n't", "loud"),
        (),
        ("two", "lines", "three"),
        ("rain", "falls"),
    ]
    assert tokenize([], "ptb") == []


@given(st.text())
def test_simple_words_hold_nothing_else_and_are_settled(text):
    (words,) = tokenize([text])
    kinds = {unicodedata.category(character) for word in words for character in word.replace("'", "")}
    assert all(kind[0] in "LM" or kind == "Nd" for kind in kinds)
    assert tokenize([" ".join(words)]) == [words]
    assert tokenize([text.upper().lower()]) == [words] or not text.isascii()


@given(st.lists(st.text(max_size=12), max_size=6))
def test_a_text_is_cut_the_same_whatever_stands_beside_it(texts):
    for tokenizer in ("simple", "whitespace"):
        assert tokenize(texts, tokenizer) == [tokenize([text], tokenizer)[0] for text in texts]


JAVA = """
import sys
for line in sys.stdin.buffer.read().decode().splitlines():
    if {lose}:
        continue
    print(line.lower().replace(".", " .").replace(",", " ,"))
print({error!r}, file=sys.stderr)
sys.exit({code})
"""


@pytest.fixture
def java(java_program):
    """A stand-in for Java, which cuts commas and full stops off and drops nothing."""

    def make(*, code=0, error="", lose="False"):
        java_program(JAVA.format(code=code, error=error, lose=lose), "tokenizer/stanford-corenlp-3.4.1.jar")

    return make


def test_ptb_keeps_texts_and_lines_together(java):
    java()
    texts = ["Rain, falls.", "", "two\nlines\u2028three\x0bfour", "a\r\nb", "..."]
    assert tokenize(texts, "ptb") == [
        ("rain", "falls"),
        (),
        ("two", "lines", "three", "four"),
        ("a", "b"),
        (),
    ]
    assert tokenize([], "ptb") == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"code": 1, "error": "Could not find or load main class"}, "failed .*main class.*simple"),
        ({"lose": "'lost' in line"}, "failed .*no message"),
    ],
)
def test_ptb_that_fails_or_loses_a_line_is_an_error(java, options, words):
    java(**options)
    with pytest.raises(OptionError, match=words):
        tokenize(["kept", "lost"], "ptb")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Über dem Café; ein HUND", ["über", "dem", "café", "ein", "hund"]),
        ("собака лает", ["собака", "лает"]),
        ("कुत्ता भौंक रहा है।", ["कुत्ता", "भौंक", "रहा", "है"]),
        ("狗在叫，雨在下。", list("狗在叫雨在下")),
        ("雨の音 rain 3回", ["雨", "の", "音", "rain", "3", "回"]),
        ("ลั่น", ["ลั่", "น"]),
        ("…", []),
    ],
)
def test_words_of_other_scripts_are_kept(text: str, words: list[str]) -> None:
    assert tokenize([text]) == [tuple(words)]


def test_composed_and_decomposed_letters_are_one() -> None:
    assert tokenize(["caf\u00e9"]) == tokenize(["cafe\u0301"])


@given(st.text(st.characters(codec="ascii")))
def test_ascii_is_cut_as_ever(text: str) -> None:
    assert tokenize([text]) == [tuple(re.sub(r"[^a-z0-9' ]", " ", text.lower()).split())]


@given(st.text())
def test_no_letter_is_lost(text: str) -> None:
    letters = [c for c in unicodedata.normalize("NFC", text.lower()) if unicodedata.category(c)[0] == "L"]
    words = tokenize([text])[0]
    assert [c for word in words for c in word if unicodedata.category(c)[0] == "L"] == letters
