"""Messages around a prompt, as an instruction-tuned language model was trained to read them.

The tokenizer's own chat template is rendered around marks, and what it writes between them is tokenized with its
special tokens; the words of the messages are tokenized apart and without any, so that no text can end a message.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from sonogloss.decoding.sequences import tokenize
from sonogloss.errors import OptionError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ChatChoice = Literal["auto", "on", "off"]
_MARK = "\N{REPLACEMENT CHARACTER}{}\N{REPLACEMENT CHARACTER}"
_MARKS = re.compile("\N{REPLACEMENT CHARACTER}\\d+\N{REPLACEMENT CHARACTER}")


def choose_chat(tokenizer: PreTrainedTokenizerBase, choice: ChatChoice | None) -> bool:
    """Does a prompt become a message? `auto` (None): where the tokenizer has a chat template.

    Raises:
        OptionError: `on`, and it has none.
    """
    has_template = bool(getattr(tokenizer, "chat_template", None))
    if choice == "on" and not has_template:
        raise OptionError(
            "--chat on: the language model's tokenizer has no chat template.",
            "Leave --chat out, or name an instruction-tuned model.",
        )
    return has_template and choice != "off"


def chat_pieces(
    tokenizer: PreTrainedTokenizerBase, *, turns: int = 1, system: str = ""
) -> tuple[list[list[int]], list[int]]:
    """What a chat template writes before each message of a conversation, and behind the last one.

    Args:
        tokenizer: has a chat template.
        turns: messages of the user; between them stand answers, and behind the last one an answer begins.
        system: the text of a system message before them; empty for none.

    Returns:
        Ids before each of the `2 * turns - 1` messages, in their order, and the ids that an answer begins behind.

    Raises:
        OptionError: the template refuses such a conversation, or does not write the messages as they are.
    """
    roles = [("user", "assistant")[number % 2] for number in range(2 * turns - 1)]
    messages = [{"role": role, "content": _MARK.format(number)} for number, role in enumerate(roles)]
    if system:
        messages.insert(0, {"role": "system", "content": system})
    render: Any = tokenizer.apply_chat_template
    try:
        text = render(messages, tokenize=False, add_generation_prompt=True)
    except Exception as error:  # templates raise jinja's errors, and whatever their own code leads to
        about = " with a system message" if system else ""
        raise OptionError(
            f"The language model's chat template refuses a conversation{about} ({error}).",
            "Leave the system message out." if system else "Use --chat off.",
        ) from error
    if _MARKS.findall(text) != [_MARK.format(number) for number in range(len(roles))]:
        raise OptionError("The language model's chat template does not write every message once.", "Use --chat off.")
    *before, behind = (
        tokenizer(piece, add_special_tokens=False, verbose=False)["input_ids"] for piece in _MARKS.split(text)
    )
    return before, behind


def as_messages(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, *, system: str = "") -> list[list[int]]:
    """Each text as a user's message, up to where its answer begins.

    Raises:
        OptionError: as for :func:`chat_pieces`.
    """
    [before], behind = chat_pieces(tokenizer, system=system)
    return [[*before, *ids, *behind] for ids in tokenize(list(texts), tokenizer)]
