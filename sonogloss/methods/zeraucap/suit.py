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
from sonogloss.methods.zeraucap.prompt import Example, KeywordPrompt, compose_keyword_prompts

_NEW_TOKENS, _ROW = 40, 3
EXAMPLES: tuple[Example, ...] = (
    (("dog barking", "rain"), "a dog barking while rain falls"),
    (("church bells", "chirping birds"), "church bells ringing over chirping birds"),
    (("crying baby", "snoring"), "a crying baby and a snoring person"),
    (("car horn", "siren"), "a car horn and a siren in the street"),
    (("footsteps", "wooden door creaking"), "footsteps and a creaking wooden door"),
)
"""Captions that name both of their keywords, as a caption should: a language model that reads others learns to leave
keywords out."""


def suit(
    prompt: KeywordPrompt,
    decode: GuidedSettings,
    *,
    tokenizer: PreTrainedTokenizerBase,
    labels: LabelBank | None,
    clap: TextEncoder,
    chat: ChatChoice | None,
    examples: Sequence[str] | None,
    positions: int | None,
    given: Mapping[str, Any],
) -> tuple[KeywordPrompt, GuidedSettings]:
    """The prompt and the search of a new captioner.

    Args:
        prompt: as the options have it.
        decode: as the options have it.
        tokenizer: of the language model.
        labels: the vocabulary, of which each given example gets the keywords nearest to its text.
        clap: embeds given examples.
        chat: write messages of a chat, or not; None and `auto` for what the tokenizer can.
        examples: captions to show before the one that is asked for. None takes as many of :data:`EXAMPLES` as leave
            half of the language model's positions free.
        positions: of the language model; None for no limit.
        given: the options that the user gave; these stay.

    Raises:
        OptionError: the tokenizer has no chat template, or it refuses the messages; or a system message without a chat.
    """
    talks = choose_chat(tokenizer, chat)
    if prompt.system and not talks:
        raise OptionError("--system belongs to a chat.", "Use --chat on, or leave the system message out.")
    prompt = replace(prompt, bos=adds_bos(tokenizer), mend_blank=True, chat=talks)
    if talks:  # fails here, not at a clip
        chat_pieces(tokenizer, system=prompt.system)
    most = prompt.keywords if labels is not None else 0
    own = tuple((words[:most], text) for words, text in EXAMPLES)
    shown = own if examples is None else _with_keywords(examples, prompt, labels, clap)
    prompt = replace(prompt, examples=shown)
    if not {"max_tokens", "max_new_tokens"} & set(given):
        decode = replace(decode, max_new_tokens=_NEW_TOKENS)
    limits = [limit for limit in (positions, None if decode.max_new_tokens else decode.max_tokens) if limit is not None]
    while examples is None and limits and prompt.examples:
        [ids] = compose_keyword_prompts([prompt.examples[0][0]], prompt, tokenizer)
        if len(ids) <= min(limits) // 2:
            break
        prompt = replace(prompt, examples=prompt.examples[:-1])
    if "no_repeat_ngram" not in given:
        decode = replace(decode, no_repeat_ngram=_ROW)
    return prompt, decode


def _with_keywords(
    texts: Sequence[str], prompt: KeywordPrompt, labels: LabelBank | None, clap: TextEncoder
) -> tuple[Example, ...]:
    """Captions with the keywords that lie nearest to them."""
    if not texts or labels is None:
        return tuple(((), text) for text in texts)
    count = min(prompt.keywords, len(labels.labels))  # too few labels are refused where the captioner is made
    named = labels.names(clap.embed_text(list(texts)), count, most_alike=prompt.keyword_cosine)
    return tuple((tuple(words), text) for words, text in zip(named, texts, strict=True))


def adds_bos(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Does a tokenizer begin a text with its BOS by itself? Models are trained on texts that do as theirs does."""
    ids = tokenizer("a", verbose=False)["input_ids"]
    return tokenizer.bos_token_id is not None and ids[:1] == [tokenizer.bos_token_id]
