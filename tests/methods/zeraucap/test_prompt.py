"""ZerAuCap's prompts: the released strings and ids, and which keywords a sound gets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonogloss.decoding.language_model import load_language_model
from sonogloss.errors import OptionError
from sonogloss.methods.guided_text import finished_text
from sonogloss.methods.labels import LabelBank, read_labels
from sonogloss.methods.zeraucap.prompt import (
    KeywordPrompt,
    compose_keyword_prompts,
    embed_keywords,
    listed,
    split_keywords,
)
from sonogloss.records import FloatArray
from tests.byte_table import ByteTable
from tests.language_models import tiny_tokenizer


@pytest.fixture(scope="module")
def directory(shared_data: Path) -> Path:
    path = shared_data / "golden" / "zeraucap"
    if not path.is_dir():
        pytest.skip("the golden ZerAuCap cases are not beside this repository")
    return path


@pytest.fixture(scope="module")
def golden(directory: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((directory / "keywords.json").read_text(encoding="utf-8"))
    return content


def test_every_golden_prompt_is_equal_in_text_and_tokens(directory: Path, golden: dict[str, Any]) -> None:
    tokenizer, prompt = load_language_model(str(directory / "opt")).tokenizer, KeywordPrompt()
    cases = [{"keywords": [], **golden["l0"]}, *golden["format_cases"], *golden["selection_cases"]]
    assert [prompt.text(case["keywords"]) for case in cases] == [case["prompt"] for case in cases]
    ids = compose_keyword_prompts([case["keywords"] for case in cases], prompt, tokenizer)
    assert ids == [case["input_ids"] for case in cases]


def test_the_golden_keywords_of_every_clip(directory: Path, golden: dict[str, Any]) -> None:
    with np.load(directory / "inputs.npz", allow_pickle=False) as arrays:
        audio, table = arrays["audio_embeds"], arrays["text_table"]
    words = golden["split_keywords"]
    rows = ByteTable(table).embed_text(words)
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)
    bank = LabelBank(labels=tuple(words), embeddings=unit, clap="golden")
    for case in golden["selection_cases"]:
        [found] = bank.names(audio[[case["clip"]]], case["l"])
        assert found == case["keywords"]


def test_labels_are_split_at_commas_and_named_once(golden: dict[str, Any]) -> None:
    assert split_keywords(golden["raw_labels"]) == tuple(dict.fromkeys(filter(None, golden["split_keywords"])))


def test_audioset_has_611_keywords(shared_data: Path) -> None:
    labels = read_labels(str(shared_data / "labels" / "audioset_class_labels_indices.csv"))
    assert len(labels) == 527
    assert len(split_keywords(labels)) == 611


def test_what_the_released_code_makes_of_odd_continuations(directory: Path) -> None:
    tokenizer, prompt = load_language_model(str(directory / "opt")).tokenizer, KeywordPrompt()
    cases = json.loads((directory / "cases.json").read_text(encoding="utf-8"))["extraction_cases"]
    [given] = compose_keyword_prompts([["Dog", "Owl"]], prompt, tokenizer)
    for case in cases:
        assert case["ids"][: len(given)] == given
        found = prompt.caption_of(finished_text(tokenizer, case["ids"][len(given) :]))
        # Of a continuation without a word the released code makes the prompt, which describes nothing.
        assert found == ("" if case["caption"].startswith("Objects:") else case["caption"])


@pytest.mark.parametrize("text", ["", " ", ".", " ! ?", "This is a sound of "])
def test_a_continuation_without_a_word_is_no_caption(text: str) -> None:
    assert KeywordPrompt().caption_of(text) == ""


def test_words_are_the_users_to_choose() -> None:
    prompt = KeywordPrompt(objects="I hear {keywords}. ", lead="It sounds like", keywords=1)
    assert prompt.text(["rain"]) == "I hear , and a rain. It sounds like"
    assert prompt.text([]) == "It sounds like"
    assert prompt.caption_of("rain. It sounds like drops.") == "drops."


def test_a_vocabulary_without_bos_begins_with_the_prompt() -> None:
    with_bos, without = tiny_tokenizer(), tiny_tokenizer(bos=False)
    [ids], [bare] = (compose_keyword_prompts([["Dog"]], KeywordPrompt(), t) for t in (with_bos, without))
    assert ids == [with_bos.bos_token_id, *bare]


@pytest.mark.parametrize("wrong", [{"keywords": -1}, {"objects": "Objects."}, {"lead": " "}])
def test_prompts_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        KeywordPrompt(**wrong)


def test_the_tags_that_a_language_model_wrote_are_a_list_without_a_heading(shared_data: Path) -> None:
    path = shared_data / "labels" / "zeraucap_chatgpt_audio_tags.csv"
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    labels = read_labels(str(path))
    assert labels[0] == lines[0]
    assert len(labels) == len({" ".join(line.split()) for line in lines})
    assert len(split_keywords(labels)) >= len(labels)


class Noting:
    """A text encoder that remembers what it was given."""

    fingerprint = "noting"

    def __init__(self) -> None:
        self.seen: list[str] = []

    def embed_text(self, texts: Sequence[str]) -> FloatArray:
        self.seen += texts
        return np.eye(8, dtype=np.float32)[: len(texts)]


def test_keywords_are_embedded_as_they_are_written_once_each() -> None:
    clap = Noting()
    bank = embed_keywords(["Male speech, man speaking", "Dog", "dog", "Rain, Dog,, "], clap)
    assert clap.seen == ["Male speech", "man speaking", "Dog", "dog", "Rain"]  # case and marks stay
    assert bank.labels == tuple(clap.seen)
    embed_keywords(["Dog, Rain"], clap, template="the sound of {label}")
    assert clap.seen[-2:] == ["the sound of Dog", "the sound of Rain"]


@pytest.mark.parametrize(
    ("keywords", "text"),
    [
        (["Dog"], ", and a Dog"),
        (["Dog", "Rain"], "Dog, and a Rain"),
        (["Dog", "Rain", "Engine"], "Dog, Rain, and an Engine"),
        (["Dog", "umbrella"], "Dog, and an umbrella"),
        (["Dog", "Hour glass"], "Dog, and a Hour glass"),  # by the first letter alone
    ],
)
def test_lists_read_as_the_released_code_writes_them(keywords: list[str], text: str) -> None:
    assert listed(keywords) == text


@given(keywords=st.lists(st.text(st.characters(codec="ascii"), min_size=1, max_size=6), max_size=4))
def test_a_prompt_names_all_its_keywords_and_ends_in_its_lead(keywords: list[str]) -> None:
    text = KeywordPrompt().text(keywords)
    assert text.endswith("This is a sound of ")
    assert text.startswith("Objects: ") is bool(keywords)
    assert all(keyword in text for keyword in keywords)
    assert KeywordPrompt().caption_of(text + "a dog") == "a dog"
