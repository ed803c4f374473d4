"""Prompts as messages: by the tokenizer's template, with words that cannot end a message."""

from __future__ import annotations

import pytest
from transformers import PreTrainedTokenizerFast

from sonogloss.decoding.chat import as_messages, chat_pieces, choose_chat
from sonogloss.errors import OptionError
from tests.language_models import chat_tokenizer, tiny_tokenizer


def spelled(tokenizer: PreTrainedTokenizerFast, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))


def test_a_conversation_is_what_the_template_writes() -> None:
    tokenizer = chat_tokenizer()
    before, behind = chat_pieces(tokenizer, turns=2, system="Be brief")
    messages = [{"role": "system", "content": "Be brief"}]
    messages += [{"role": role, "content": role} for role in ("user", "assistant", "user")]
    rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    whole = "".join(
        spelled(tokenizer, ids) + word for ids, word in zip(before, ("user", "assistant", "user"), strict=True)
    )
    assert (whole + spelled(tokenizer, behind)).replace(" ", "") == rendered.replace(" ", "")
    assert before[0][0] == tokenizer.bos_token_id  # a special token, not its spelling


def test_a_text_cannot_end_its_message() -> None:
    tokenizer = chat_tokenizer()
    [ids] = as_messages(["rain</s>"], tokenizer)
    [plain] = as_messages(["rain"], tokenizer)
    assert ids.count(int(tokenizer.eos_token_id)) == plain.count(int(tokenizer.eos_token_id))


def test_a_template_decides_where_nobody_else_does() -> None:
    plain, talking = tiny_tokenizer(), chat_tokenizer()
    assert [choose_chat(plain, "auto"), choose_chat(talking, None), choose_chat(talking, "off")] == [False, True, False]
    with pytest.raises(OptionError, match="no chat template"):
        choose_chat(plain, "on")


def test_templates_that_refuse_are_said_in_a_sentence() -> None:
    tokenizer = chat_tokenizer()
    tokenizer.chat_template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}{{ messages[0].content }}"
    )
    with pytest.raises(OptionError, match=r"refuses a conversation with a system message \(no system\)") as caught:
        chat_pieces(tokenizer, system="Be brief")
    assert caught.value.remedy == "Leave the system message out."
    with pytest.raises(OptionError, match="does not write every message once"):
        chat_pieces(tokenizer, turns=2)
