"""Keywords before the caption: ZerAuCap's prompt, which names what the sound is nearest to (arXiv 2311.08396).

::

    <bos> Objects: Dog, and a Rain. This is a sound of  a dog barking while rain falls.
    |-------------------- prompt ---------------------||----------- caption ----------|

The language model was never trained for it; the words alone set the scene. Captions of other sounds, written the same
way, may stand before it as examples, and all of it may be messages of a chat: the sentence with the keywords is the
user's, and the answer begins with the lead.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, ClassVar

from sonogloss.decoding.chat import chat_pieces
from sonogloss.decoding.sequences import tokenize
from sonogloss.errors import OptionError
from sonogloss.later_fields import LATER
from sonogloss.methods.labels import LabelBank, TextEncoder, embed_labels

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Example = tuple[tuple[str, ...], str]
"""Keywords and the caption that goes with them."""


@dataclass(frozen=True, kw_only=True)
class KeywordPrompt:
    """The words before a caption. The defaults are the released system's, byte for byte.

    Args:
        bos: begin with the tokenizer's BOS, where it names one; a chat template writes its own.
        mend_blank: leave out a final blank that would be a token of its own. Words of most vocabularies begin with
            their blank, and a language model that reads a lone one expects a number.
        chat: write it as messages, by the tokenizer's chat template.
        examples: keywords and captions of other sounds, written before.
    """

    keywords: int = field(
        default=2, metadata={"help": "keywords named in a prompt; 0 leaves their sentence out", "metavar": "N"}
    )
    objects: str = field(
        default="Objects: {keywords}. ",
        metadata={"help": "the sentence that names them, with {keywords}"},
    )
    lead: str = field(default="This is a sound of ", metadata={"help": "the words that a caption continues"})
    keyword_cosine: float = field(
        default=1.0,
        metadata=LATER
        | {"help": "skip a keyword whose CLAP cosine with one that is named already is larger", "metavar": "COSINE"},
    )
    system: str = field(default="", metadata=LATER | {"help": "the system message of a chat"})
    bos: bool = field(default=True, metadata=LATER)
    mend_blank: bool = field(default=False, metadata=LATER)
    chat: bool = field(default=False, metadata=LATER)
    examples: tuple[Example, ...] = field(default=(), metadata=LATER)
    audio_slots: ClassVar[int] = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "examples", tuple((tuple(words), caption) for words, caption in self.examples))
        if self.keywords < 0:
            raise OptionError(f"The prompt's keywords are {self.keywords}.", "Give 0 or more.")
        if self.objects.count("{keywords}") != 1:
            raise OptionError(
                f"The prompt's sentence {self.objects!r} must hold {{keywords}} once.", "Correct the prompt settings."
            )
        if not self.lead.strip():
            raise OptionError("The prompt leads into the caption with no word.", "Give words to continue.")
        if not -1 <= self.keyword_cosine <= 1:
            raise OptionError(f"The keywords' cosine is {self.keyword_cosine}.", "Give a number from -1 to 1.")

    @property
    def label_count(self) -> int:
        """How many keywords it names."""
        return self.keywords

    def naming(self, keywords: Sequence[str]) -> str:
        """The sentence that names the keywords; empty without any."""
        return self.objects.replace("{keywords}", listed(keywords)) if keywords else ""

    def text(self, keywords: Sequence[str]) -> str:
        """The prompt for these keywords, without examples."""
        return self.naming(keywords) + self.lead

    def caption_of(self, text: str) -> str:
        """A continuation's caption: what stands after the lead's last occurrence, as models like to repeat it.

        Where no word is left the caption is empty; the released code would return the prompt.
        """
        caption = text.rsplit(self.lead.rstrip() if self.mend_blank else self.lead, 1)[-1].strip()
        return caption if any(character.isalnum() for character in caption) else ""


def listed(keywords: Sequence[str]) -> str:
    """Keywords as the released code lists them: `Dog, Rain, and an Engine`.

    The article goes by the first letter alone, and a single keyword gets the joint as well (`, and a Dog`).
    """
    *first, last = keywords
    article = "an" if last[:1].lower() in tuple("aeiou") else "a"
    return f"{', '.join(first)}, and {article} {last}"


def split_keywords(labels: Iterable[str]) -> tuple[str, ...]:
    """Labels split at their commas, as AudioSet's display names are: `Male speech, man speaking` is two keywords.

    Repeated ones count once, for otherwise a sound could fill both places of a prompt with one word.
    """
    words = (word.strip() for label in labels for word in label.split(","))
    return tuple(dict.fromkeys(word for word in words if word))


def embed_keywords(labels: Iterable[str], clap: TextEncoder, *, template: str = "{label}") -> LabelBank:
    """The vocabulary of keywords: labels split at their commas, embedded as they are written."""
    return embed_labels(split_keywords(labels), clap, normalise=False, template=template)


def compose_keyword_prompts(
    keyword_lists: Sequence[Sequence[str]], prompt: KeywordPrompt, tokenizer: PreTrainedTokenizerBase
) -> list[list[int]]:
    """Sequences to continue, one for each list of keywords.

    Raises:
        OptionError: the chat template refuses such messages.
    """
    if not keyword_lists:
        return []
    lead = prompt.lead
    if prompt.mend_blank and has_lone_blank(lead, tokenizer):
        lead = lead.rstrip()
    if prompt.chat:
        return _as_messages(keyword_lists, prompt, tokenizer, lead)
    begin = [int(tokenizer.bos_token_id)] if prompt.bos and tokenizer.bos_token_id is not None else []
    shown = "".join(f"{prompt.naming(words)}{_answer(prompt, caption)}\n" for words, caption in prompt.examples)
    texts = [f"{shown}{prompt.naming(keywords)}{lead}" for keywords in keyword_lists]
    return [[*begin, *ids] for ids in tokenize(texts, tokenizer)]


def has_lone_blank(text: str, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Does a text end in a blank that is a token of its own?"""
    [ids] = tokenize([text], tokenizer)
    last = str(tokenizer.decode(ids[-1:], clean_up_tokenization_spaces=False))
    return text != text.rstrip() and not last.strip()


def _as_messages(
    keyword_lists: Sequence[Sequence[str]], prompt: KeywordPrompt, tokenizer: PreTrainedTokenizerBase, lead: str
) -> list[list[int]]:
    """The prompts as messages: the user names keywords, and the answer begins with the lead."""
    before, behind = chat_pieces(tokenizer, turns=len(prompt.examples) + 1, system=prompt.system)
    shown = chain.from_iterable((_asked(prompt, words), _answer(prompt, caption)) for words, caption in prompt.examples)
    *told, begun = tokenize([*shown, lead], tokenizer)
    start = [*chain.from_iterable([*piece, *ids] for piece, ids in zip(before, told, strict=False)), *before[-1]]
    asked = tokenize([_asked(prompt, keywords) for keywords in keyword_lists], tokenizer)
    return [[*start, *ids, *behind, *begun] for ids in asked]


def _asked(prompt: KeywordPrompt, keywords: Sequence[str]) -> str:
    """The user's message; a chat needs one even where no keyword is named."""
    return f"{prompt.naming(keywords)}{_TASK}"


def _answer(prompt: KeywordPrompt, caption: str) -> str:
    """An example's caption behind the lead, with one blank between them and a mark at its end."""
    ended = caption if caption.endswith((".", "!", "?")) else f"{caption}."
    return f"{prompt.lead.rstrip()} {ended}"


_TASK = "Describe the sound in one short sentence."
