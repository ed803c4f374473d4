r"""Hard and soft prompt in one sequence: what DRCap's language model learns from and reads again at inference.

With captions first (the released setting) a sequence is ::

    <bos> c1. c2. c3. <eos>  [AUDIO]  <bos> USER: Describe the audio you hear. \n ASSISTANT:{answer} <eos>
    |-- retrieved captions --| slots |--------------------- prompt ------------------------||-- answer --|

Training and inference go through the same functions, and a piece between two special tokens is always tokenized as one
string: byte-pair merges reach across the joints of strings, so pieces tokenized apart would give other ids.

An instruction-tuned model may read it as a message of a chat instead: captions, slots and instruction are the user's,
in the words of its chat template, and the caption is the answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

from sonogloss.decoding.chat import chat_pieces
from sonogloss.decoding.sequences import AUDIO_SLOT, IGNORED, Example, end_of_text, tokenize, too_long
from sonogloss.errors import OptionError
from sonogloss.later_fields import LATER

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Layout = Literal["captions_first", "captions_in_prompt", "no_captions"]


@dataclass(frozen=True, kw_only=True)
class ComposedPrompt:
    """The words around a caption. The defaults are DRCap's, byte for byte.

    DRCap's instruction ends in a blank. Byte-level vocabularies, whose words begin with their blank, want
    `answer=" {answer}"` after a template without a final blank. The layout `captions_first` puts the retrieved captions
    before the audio (DRCap's `rag_first`), also when there are none; `captions_in_prompt` puts them into the
    instruction; `no_captions` leaves them out. With `chat` the tokenizer's chat template takes the place of `template`.
    """

    template: str = field(
        default="USER: {prompt}\n ASSISTANT:",
        metadata={"help": "the prompt; {prompt} stands for the instruction"},
    )
    prompt: str = field(
        default="Describe the audio you hear. ", metadata={"option": "instruction", "help": "the words of {prompt}"}
    )
    answer: str = field(
        default="{answer}", metadata={"help": "how the caption follows the prompt; {answer} stands for it"}
    )
    layout: Layout = field(default="captions_first", metadata={"help": "where the retrieved captions stand"})
    audio_slots: int = field(default=1, metadata={"help": "soft prompt vectors that stand for the audio"})
    # A training that was interrupted before there were chats goes on: its fingerprint is made of what is shown here.
    chat: bool = field(default=False, metadata=LATER, repr=False)
    label_count: ClassVar[int] = 0

    def __post_init__(self) -> None:
        for name, text, mark in (("template", self.template, "{prompt}"), ("answer", self.answer, "{answer}")):
            if text.count(mark) > 1 or (name == "answer" and mark not in text):
                raise OptionError(
                    f"The prompt's {name} {text!r} must hold {mark} once.", "Correct the prompt settings."
                )
        if self.layout not in get_args(Layout):
            raise OptionError(
                f"The prompt's layout is {self.layout!r}.", f"Choose one of {', '.join(get_args(Layout))}."
            )
        if self.audio_slots < 1:
            raise OptionError(f"audio_slots is {self.audio_slots}.", "Give the audio at least one slot.")

    def prompt_text(self, contexts: Sequence[str]) -> str:
        """The words after the audio and before the answer; in a chat those of the instruction."""
        instruction = self.prompt
        if self.layout == "captions_in_prompt":
            instruction = f"Similar audios sound like: {joined(contexts)}This audio sounds like "
        return instruction if self.chat else self.template.replace("{prompt}", instruction)

    def answer_text(self, caption: str) -> str:
        """The caption as it follows the prompt; an answer in a chat begins without a blank."""
        text = self.answer.replace("{answer}", caption)
        return text.lstrip() if self.chat else text


def joined(contexts: Iterable[str]) -> str:
    """Retrieved captions as DRCap writes them: each followed by a period and a blank, whatever its own ending."""
    return "".join(f"{caption}. " for caption in contexts)


def compose_prompts(
    contexts: Sequence[Sequence[str]],
    prompt: ComposedPrompt,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_tokens: int | None = None,
) -> list[list[int]]:
    """Sequences to continue, one for each list of retrieved captions.

    Every piece begins with the tokenizer's BOS where it names one (also where it does not add it by itself) and with
    nothing where it names none; what a tokenizer's own post-processor would add is left out.

    Args:
        contexts: for each sequence the retrieved captions, best first.
        prompt: the words around them.
        tokenizer: must name an EOS token.
        max_tokens: the longest sequence allowed. Of one that is longer the last captions are dropped until it fits.

    Returns:
        Ids, with :data:`AUDIO_SLOT` where soft prompt vectors go.

    Raises:
        ModelFormatError: the tokenizer names no EOS token.
        OptionError: a prompt is longer than `max_tokens` even without captions, or the chat template refuses it.
    """
    sequences = []
    for given, ids in zip(contexts, _sequences(contexts, prompt, tokenizer), strict=True):
        if max_tokens is not None and len(ids) > max_tokens:
            if not given:
                raise too_long(len(ids), max_tokens)
            [ids] = compose_prompts([given[:-1]], prompt, tokenizer, max_tokens=max_tokens)
        sequences.append(ids)
    return sequences


def compose_examples(
    contexts: Sequence[Sequence[str]],
    captions: Sequence[str],
    prompt: ComposedPrompt,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_tokens: int | None = None,
) -> list[Example]:
    """Sequences to learn from: the prompt of :func:`compose_prompts`, the caption and the tokenizer's EOS.

    Prompt and caption are tokenized together, but for messages of a chat. Where they meet, as many tokens as the prompt
    has alone count as prompt, which is how the released code masks its labels.
    """
    prompts = _sequences(contexts, prompt, tokenizer)
    if prompt.chat:
        answers = tokenize([prompt.answer_text(caption) for caption in captions], tokenizer)
        sequences = [[*before, *answer] for before, answer in zip(prompts, answers, strict=True)]
    else:
        sequences = _sequences(contexts, prompt, tokenizer, captions)
    examples = []
    for i, (before, whole) in enumerate(zip(prompts, sequences, strict=True)):
        ids, known = [*whole, end_of_text(tokenizer)], len(before)
        example = Example(ids=ids, labels=[IGNORED] * known + ids[known:])
        if max_tokens is not None and len(ids) > max_tokens:
            if not contexts[i]:
                raise too_long(len(ids), max_tokens)
            [example] = compose_examples([contexts[i][:-1]], [captions[i]], prompt, tokenizer, max_tokens=max_tokens)
        examples.append(example)
    return examples


def keeps_its_prompt(caption: str, prompt: ComposedPrompt, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Do the tokens of the prompt stay what they are when this caption follows?

    If not, the language model would learn to continue a prompt that it never sees at inference.
    """
    if prompt.chat:  # they are tokenized apart
        return True
    [before] = _tails([[]], None, prompt, tokenizer)
    [whole] = _tails([[]], [caption], prompt, tokenizer)
    return whole[: len(before)] == before


def _sequences(
    contexts: Sequence[Sequence[str]],
    prompt: ComposedPrompt,
    tokenizer: PreTrainedTokenizerBase,
    captions: Sequence[str] | None = None,
) -> list[list[int]]:
    """Whole prompts and, when captions are given, the answers."""
    fronts = tokenize([joined(c) if prompt.layout == "captions_first" else "" for c in contexts], tokenizer)
    tails = _tails(contexts, captions, prompt, tokenizer)
    if not prompt.chat:
        return [_head(front, tail, prompt, tokenizer) for front, tail in zip(fronts, tails, strict=True)]
    [before], behind = chat_pieces(tokenizer)
    slots = [AUDIO_SLOT] * prompt.audio_slots
    return [[*before, *front, *slots, *tail, *behind] for front, tail in zip(fronts, tails, strict=True)]


def _tails(
    contexts: Sequence[Sequence[str]],
    captions: Sequence[str] | None,
    prompt: ComposedPrompt,
    tokenizer: PreTrainedTokenizerBase,
) -> list[list[int]]:
    """Ids of what stands behind the audio: the prompt and, when captions are given, the answer."""
    texts = [prompt.prompt_text(c) for c in contexts]
    if captions is not None:
        texts = [text + prompt.answer_text(caption) for text, caption in zip(texts, captions, strict=True)]
    return tokenize(texts, tokenizer)


def _head(front: list[int], tail: list[int], prompt: ComposedPrompt, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    begin = [] if tokenizer.bos_token_id is None else [int(tokenizer.bos_token_id)]
    captions = [*begin, *front, end_of_text(tokenizer)] if prompt.layout == "captions_first" else []
    return [*captions, *[AUDIO_SLOT] * prompt.audio_slots, *begin, *tail]
