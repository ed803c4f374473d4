"""Hard prompt first, soft prompt behind it: what a soft-hard language model reads (arXiv 2406.06295).

A sequence is ::

    There are dog, rain in this audio. [AUDIO x 10] a dog barks while rain falls.
    |---------- hard prompt ---------| |-- slots --||---------- caption ---------|

The words of the hard prompt are the nearest labels of a :class:`~sonogloss.methods.labels.LabelBank`. Without the hard
prompt this is ClipCap, without the soft one a language model that knows only names.

A multilingual model reads the language from a tag that the caption begins with, `<fr> un chien aboie.`; the tag is
given, never learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from sonogloss.decoding.chat import chat_pieces
from sonogloss.decoding.sequences import AUDIO_SLOT, IGNORED, Example, tokenize, too_long
from sonogloss.errors import OptionError
from sonogloss.later_fields import LATER

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Random(Protocol):
    """A source of random numbers: Python's `random.Random` or numpy's `Generator`."""

    def random(self) -> float:
        """The next number in [0, 1)."""


@dataclass(frozen=True, kw_only=True)
class SoftHardPrompt:
    """The words around a caption. The defaults are the released system's, byte for byte.

    Args:
        languages: tags of the languages that it was trained for; none for one language.
        language_tag: the language it captions in, one of these.
        chat: hard and soft prompt are a user's message, by the tokenizer's chat template, and the caption its answer.
    """

    labels: int = field(default=4, metadata={"option": "label_count", "help": "labels that a hard prompt names"})
    template: str = field(
        default="There are {labels} in this audio.",
        metadata={"help": "the hard prompt, with {labels}"},
    )
    nothing: str = field(default="something", metadata={"help": "what stands for {labels} where there are none"})
    soft_slots: int = field(default=10, metadata={"help": "soft prompt vectors that stand for the audio"})
    hard: bool = field(default=True, metadata={"help": "have a hard prompt"})
    soft: bool = field(default=True, metadata={"help": "have a soft prompt"})
    max_answer_tokens: int = field(
        default=25, metadata={"help": "captions to learn from are cut at so many tokens, language tag included"}
    )
    bos: bool = field(
        default=False, metadata={"help": "begin with the tokenizer's BOS; Llama and Mistral need it, GPT-2 does not"}
    )
    languages: tuple[str, ...] = ()
    language_tag: str | None = None
    # A training that was interrupted before there were chats goes on: its fingerprint is made of what is shown here.
    chat: bool = field(default=False, metadata=LATER, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "languages", tuple(self.languages))
        if self.template.count("{labels}") != 1:
            raise OptionError(f"The hard prompt {self.template!r} must hold {{labels}} once.", "Correct the template.")
        for name, least in (("labels", 0), ("soft_slots", 1), ("max_answer_tokens", 1)):
            if getattr(self, name) < least:
                raise OptionError(f"The prompt's {name} is {getattr(self, name)}.", f"Give {least} or more.")
        if not (self.hard or self.soft):
            raise OptionError("A prompt without hard and soft part is empty.", "Keep one of the two.")
        if self.language_tag is not None and self.language_tag not in self.languages:
            known = ", ".join(self.languages) or "none at all"
            raise OptionError(
                f"The language {self.language_tag!r} is not among those of the prompt ({known}).", "Choose one of them."
            )

    @property
    def audio_slots(self) -> int:
        """How many soft prompt vectors a sequence has."""
        return self.soft_slots if self.soft else 0

    @property
    def label_count(self) -> int:
        """How many labels a hard prompt names."""
        return self.labels if self.hard else 0

    def hard_prompt_text(self, labels: Sequence[str]) -> str:
        """The hard prompt that names these labels, lower-cased; with its stand-in where there are none."""
        return self.template.replace("{labels}", ", ".join(labels).lower() or self.nothing)


def masked(labels: Sequence[str], probability: float, rng: Random) -> list[str]:
    """Labels without those that chance takes, each with this probability: a model must not trust the list blindly."""
    return [label for label in labels if rng.random() >= probability]


def compose_soft_hard_prompts(
    label_lists: Sequence[Sequence[str]],
    prompt: SoftHardPrompt,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_tokens: int | None = None,
) -> list[list[int]]:
    """Sequences to continue, one for each list of labels.

    Args:
        label_lists: for each sequence its labels, best first; all of them are used, whatever `prompt.labels` is.
        prompt: the words and the layout.
        tokenizer: what it adds by itself is left out.
        max_tokens: the longest sequence allowed. Of one that is longer the last labels are dropped until it fits.

    Returns:
        Ids, with :data:`~sonogloss.decoding.sequences.AUDIO_SLOT` where soft prompt vectors go.

    Raises:
        OptionError: a prompt is longer than `max_tokens` even without labels, or the chat template refuses it.
    """
    [tag] = tokenize([_tag(prompt.language_tag)], tokenizer)
    n = len(label_lists)
    return _starts(label_lists, prompt, tokenizer, [tag] * n, [max_tokens] * n)


def compose_soft_hard_examples(
    label_lists: Sequence[Sequence[str]],
    captions: Sequence[str],
    prompt: SoftHardPrompt,
    tokenizer: PreTrainedTokenizerBase,
    *,
    languages: Sequence[str] | None = None,
    max_tokens: int | None = None,
) -> list[Example]:
    """Sequences to learn from: the prompt of :func:`compose_soft_hard_prompts` and the caption.

    A caption gets a period where it does not end in one, is cut at `prompt.max_answer_tokens` and has no further end
    mark: decoding stops at the period.

    Args:
        label_lists: for each sequence its labels.
        captions: the answers.
        prompt: the words and the layout.
        tokenizer: what it adds by itself is left out.
        languages: for each sequence the tag of its language, in place of the prompt's own.
        max_tokens: as for prompts; captions count.
    """
    each = [prompt.language_tag] * len(captions) if languages is None else list(languages)
    tags = tokenize([_tag(language) for language in each], tokenizer)
    texts = [_answer(caption, language) for caption, language in zip(captions, each, strict=True)]
    answers = [ids[: prompt.max_answer_tokens] for ids in tokenize(texts, tokenizer)]
    # The tag is tokenized together with its caption. As many tokens as it has alone count as given.
    given = [answer[: len(tag)] for tag, answer in zip(tags, answers, strict=True)]
    limits = [
        None if max_tokens is None else max_tokens - len(answer) + len(tag)
        for tag, answer in zip(given, answers, strict=True)
    ]
    starts = _starts(label_lists, prompt, tokenizer, given, limits)
    return [
        Example(ids=start + answer[len(tag) :], labels=[IGNORED] * len(start) + answer[len(tag) :])
        for start, tag, answer in zip(starts, given, answers, strict=True)
    ]


def _tag(language: str | None) -> str:
    return "" if language is None else f"<{language}>"


def _answer(caption: str, language: str | None) -> str:
    closed = caption if caption.endswith(".") else f"{caption}."
    return closed if language is None else f"{_tag(language)} {closed}"


def _starts(
    label_lists: Sequence[Sequence[str]],
    prompt: SoftHardPrompt,
    tokenizer: PreTrainedTokenizerBase,
    tags: Sequence[Sequence[int]],
    limits: Sequence[int | None],
) -> list[list[int]]:
    """Everything before the caption, in at most so many tokens each; `tags` are ids that the caption begins with."""
    begin = [int(tokenizer.bos_token_id)] if prompt.bos and tokenizer.bos_token_id is not None else []
    behind: list[int] = []
    if prompt.chat:  # it writes a BOS of its own
        [begin], behind = chat_pieces(tokenizer)
    texts = [prompt.hard_prompt_text(labels) if prompt.hard else "" for labels in label_lists]
    starts = []
    for labels, hard, tag, limit in zip(label_lists, tokenize(texts, tokenizer), tags, limits, strict=True):
        ids = [*begin, *hard, *[AUDIO_SLOT] * prompt.audio_slots, *behind, *tag]
        if limit is not None and len(ids) > limit:
            if not (labels and prompt.hard):
                raise too_long(len(ids), limit)
            [ids] = _starts([labels[:-1]], prompt, tokenizer, [tag], [limit])
        starts.append(ids)
    return starts
