"""A new captioner suited to its language model: BOS, the final blank, chat, examples, keywords that differ."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from sonogloss.decoding.language_model import LanguageModel
from sonogloss.errors import OptionError
from sonogloss.methods.base import ClapIdentity
from sonogloss.methods.labels import LabelBank
from sonogloss.methods.manifest import LanguageModelReference, Manifest
from sonogloss.methods.registry import get_method
from sonogloss.methods.zeraucap.captioner import ZerAuCapCaptioner
from sonogloss.methods.zeraucap.method import GuidedSettings
from sonogloss.methods.zeraucap.prompt import KeywordPrompt, compose_keyword_prompts
from sonogloss.methods.zeraucap.suit import EXAMPLES, suit
from sonogloss.records import FloatArray
from sonogloss.tagging.texts import stem, stems
from tests.language_models import chat_tokenizer, tiny_gpt2, tiny_tokenizer

LABELS = LabelBank(
    labels=("Dog", "Bark", "Rain"),
    embeddings=np.array([[1, 0, 0], [0.96, 0.28, 0], [0, 0, 1]], np.float32),
    clap="ears",
)


class Ears:
    fingerprint = "ears"

    def embed_text(self, texts: Sequence[str]) -> FloatArray:
        return np.array([[0, 0.6, 0.8] if "rain" in text else [1, 0, 0] for text in texts], np.float32)


def suited(tokenizer: Any, prompt: KeywordPrompt | None = None, **options: Any) -> tuple[KeywordPrompt, GuidedSettings]:
    chosen: dict[str, Any] = {"chat": None, "examples": [], "positions": None, "given": {}} | options
    return suit(prompt or KeywordPrompt(), GuidedSettings(), tokenizer=tokenizer, labels=LABELS, clap=Ears(), **chosen)


def spelled(tokenizer: Any, prompt: KeywordPrompt, keywords: Sequence[str] = ("Dog", "Rain")) -> str:
    [ids] = compose_keyword_prompts([keywords], prompt, tokenizer)
    return str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))


def test_a_lone_final_blank_is_mended_and_bos_follows_the_tokenizer() -> None:
    tokenizer = tiny_tokenizer()
    released = spelled(tokenizer, KeywordPrompt())
    assert released.startswith("<s>")
    assert released.endswith("This is a sound of ")
    prompt, decode = suited(tokenizer)
    assert spelled(tokenizer, prompt).strip() == "Objects: Dog, and a Rain. This is a sound of"
    assert (decode.max_new_tokens, decode.no_repeat_ngram) == (40, 3)
    assert prompt.caption_of("This is a sound of a dog") == "a dog"
    _, given = suited(tokenizer, given={"max_tokens": 78, "no_repeat_ngram": 0})
    assert given == GuidedSettings()


def test_given_examples_get_the_keywords_nearest_to_them() -> None:
    tokenizer = tiny_tokenizer()
    prompt, _ = suited(tokenizer, examples=["rain falls", "a dog barks!"])
    assert prompt.examples == ((("Rain", "Bark"), "rain falls"), (("Dog", "Bark"), "a dog barks!"))
    assert spelled(tokenizer, prompt).strip() == (
        "Objects: Rain, and a Bark. This is a sound of rain falls.\n"
        "Objects: Dog, and a Bark. This is a sound of a dog barks!\n"
        "Objects: Dog, and a Rain. This is a sound of"
    )


def test_examples_of_the_method_stand_where_nobody_names_others_and_they_fit() -> None:
    tokenizer = tiny_tokenizer()
    whole = suited(tokenizer, examples=None)[0]
    assert whole.examples == EXAMPLES
    some = suited(tokenizer, examples=None, positions=500)[0]
    assert 0 < len(some.examples) < len(EXAMPLES)
    [ids] = compose_keyword_prompts([some.examples[0][0]], some, tokenizer)
    assert len(ids) <= 250
    assert suited(tokenizer, examples=None, positions=40)[0].examples == ()


def test_examples_of_the_method_name_all_of_their_keywords_whatever_the_labels_are() -> None:
    for words, caption in EXAMPLES:
        assert {stem(word) for keyword in words for word in keyword.split()} <= set(stems(caption))
    for keywords in (0, 1, 3):
        shown = suited(tiny_tokenizer(), KeywordPrompt(keywords=keywords), examples=None)[0].examples
        assert shown == tuple((words[:keywords], caption) for words, caption in EXAMPLES)


def test_a_chat_asks_and_begins_the_answer() -> None:
    tokenizer = chat_tokenizer()
    prompt, _ = suited(tokenizer, KeywordPrompt(system="Listen."), examples=["rain falls"])
    text = spelled(tokenizer, prompt)
    assert [text.count(word) for word in ("Listen.", "user", "Describe the sound", "rain falls.")] == [1, 2, 2, 1]
    assert text.endswith("This is a sound of")
    assert not suited(tokenizer, chat="off")[0].chat
    with pytest.raises(OptionError, match="--system belongs to a chat"):
        suited(tokenizer, KeywordPrompt(system="Listen."), chat="off")


def captioner(prompt: KeywordPrompt, decode: GuidedSettings, tokenizer: Any) -> ZerAuCapCaptioner:
    return ZerAuCapCaptioner(
        language_model=LanguageModel(model=tiny_gpt2(), tokenizer=tokenizer),
        prompt=prompt,
        clap=ClapIdentity(name="ears", fingerprint="ears", dim=3),
        decode=decode,
        labels=LABELS,
        fingerprint="",
    )


def test_keywords_too_alike_are_skipped_while_others_are_left() -> None:
    sound = np.array([[0.98, 0.199, 0.0]], np.float32)
    for cosine, names in ((1.0, ["Bark", "Dog"]), (0.9, ["Bark", "Rain"])):
        made = captioner(KeywordPrompt(keyword_cosine=cosine), GuidedSettings(), tiny_tokenizer())
        assert made.names(sound) == [names]
        assert [[label.label for label in row] for row in made.keywords(sound)] == [names]
    assert LABELS.names(sound, 3, most_alike=0.9) == [["Bark", "Rain", "Dog"]]


def test_examples_longer_than_the_context_are_refused() -> None:
    tokenizer = tiny_tokenizer()
    prompt, decode = suited(tokenizer, examples=["a dog barks nearby and the rain falls"] * 12)
    with pytest.raises(OptionError, match="With its longest keywords and its examples the prompt takes") as caught:
        captioner(prompt, decode, tokenizer)
    assert "fewer examples" in caught.value.remedy


def test_captions_have_their_own_length_and_repeat_no_row() -> None:
    tokenizer = tiny_tokenizer()
    prompt, _ = suited(tokenizer, examples=["rain falls"])
    made = captioner(prompt, GuidedSettings(beta=0.0, gamma=0.0, max_new_tokens=20, no_repeat_ngram=2), tokenizer)
    prompts = compose_keyword_prompts([["Dog", "Rain"]], prompt, tokenizer)
    [ids] = made.search.decode(prompts, np.zeros((1, 3), np.float32))
    pairs = list(itertools.pairwise(ids))
    assert len(ids) == 20
    assert len(set(pairs)) == len(pairs)


def test_parity_takes_all_of_it_back_and_old_captioners_keep_their_fingerprint() -> None:
    method = get_method("zeraucap")
    old = Manifest(
        method="zeraucap",
        clap=ClapIdentity(name="ears", fingerprint="ears", dim=3),
        language_model=LanguageModelReference(name="a/model"),
        prompt=KeywordPrompt(),
        contexts=0,
        projection=None,
        decode=GuidedSettings(),
        files=(),
    )
    assert old.fingerprint == "8b6cdfed7f449e70ab0870ea3ea3d4349ee25e943a4432cc0d9dcfe844c4bff5"
    prompt, decode = suited(chat_tokenizer(), examples=["rain falls"])
    new = Manifest(**{**vars(old), "prompt": prompt, "decode": decode})
    assert new.fingerprint != old.fingerprint
    released = method.released(new, None)
    assert (released.prompt, released.decode) == (KeywordPrompt(), GuidedSettings(compat=True))
