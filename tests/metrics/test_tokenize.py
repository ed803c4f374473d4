import importlib.util
import shutil

import pytest

from sonogloss.errors import OptionError
from sonogloss.metrics import tokenize

HAS_PTB = bool(shutil.which("java")) and importlib.util.find_spec("pycocoevalcap") is not None


def test_simple_keeps_letters_digits_and_apostrophes():
    assert tokenize(["A dog's bark, 3 times — LOUD!", "", "café"]) == [
        ("a", "dog's", "bark", "3", "times", "loud"),
        (),
        ("caf",),
    ]


def test_whitespace_only_splits():
    assert tokenize(["A dog's  bark,\tloud!"], "whitespace") == [("A", "dog's", "bark,", "loud!")]


def test_unknown_tokenizer_is_refused():
    with pytest.raises(OptionError, match="'fancy'"):
        tokenize(["x"], "fancy")


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
