"""A new ZerAuCap captioner suited to its language model, which may be any.

The released words were tried with one model, OPT. What another one needs can be read off its tokenizer; all of it goes
into `captioner.json`, and `parity` takes it back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from transformers import PreTrainedTokenizerBase

from sonogloss.decoding.chat import ChatChoice, chat_pieces, choose_chat
from sonogloss.errors import OptionError
from sonogloss.methods.labels import LabelBank, TextEncoder
from sonogloss.methods.zeraucap.method import GuidedSettings
from sonogloss.methods.zeraucap.prompt import KeywordPrompt

_NEW_TOKENS, _ROW = 40, 3


def suit(
    prompt: KeywordPrompt,
    decode: GuidedSettings,
    *,
    tokenizer: PreTrainedTokenizerBase,
    labels: LabelBank | None,
    clap: TextEncoder,
    chat: ChatChoice | None,
    examples: Sequence[str],
    given: Mapping[str, Any],
) -> tuple[KeywordPrompt, GuidedSettings]:
    """The prompt and the search of a new captioner.

    Args:
        prompt: as the options have it.
        decode: as the options have it.
        tokenizer: of the language model.
        labels: the vocabulary, of which each example gets the keywords nearest to its text.
        clap: embeds the examples.
        chat: write messages of a chat, or not; None and `auto` for what the tokenizer can.
        examples: captions to show before the one that is asked for.
        given: the options that the user gave; these stay.

    Raises:
        OptionError: the tokenizer has no chat template, or it refuses the messages; or a system message without a chat.
    """
    talks = choose_chat(tokenizer, chat)
    if prompt.system and not talks:
        raise OptionError("--system belongs to a chat.", "Use --chat on, or leave the system message out.")
    named: list[list[str]] = [[] for _ in examples]
    if examples and labels is not None:
        embeddings = clap.embed_text(list(examples))
        named = labels.names(embeddings, prompt.keywords, most_alike=prompt.keyword_cosine)
    prompt = replace(
        prompt,
        bos=adds_bos(tokenizer),
        mend_blank=True,
        chat=talks,
        examples=tuple((tuple(words), text) for words, text in zip(named, examples, strict=True)),
    )
    if talks:  # fails here, not at a clip
        chat_pieces(tokenizer, turns=len(examples) + 1, system=prompt.system)
    if not {"max_tokens", "max_new_tokens"} & set(given):
        decode = replace(decode, max_new_tokens=_NEW_TOKENS)
    if "no_repeat_ngram" not in given:
        decode = replace(decode, no_repeat_ngram=_ROW)
    return prompt, decode


def adds_bos(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Does a tokenizer begin a text with its BOS by itself? Models are trained on texts that do as theirs does."""
    ids = tokenizer("a", verbose=False)["input_ids"]
    return tokenizer.bos_token_id is not None and ids[:1] == [tokenizer.bos_token_id]
