"""Keywords before the caption: ZerAuCap's prompt, which names what the sound is nearest to (arXiv 2311.08396).

::

    <bos> Objects: Dog, and a Rain. This is a sound of  a dog barking while rain falls.
    |-------------------- prompt ---------------------||----------- caption ----------|

The language model was never trained for it; the words alone set the scene.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from sonogloss.decoding.sequences import tokenize
from sonogloss.errors import OptionError
from sonogloss.methods.labels import LabelBank, TextEncoder, embed_labels

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class KeywordPrompt:
    """The words before a caption. The defaults are the released system's, byte for byte.

    The final blank of `lead` is a token of its own for byte-level vocabularies; leave it out for a language model that
    never met one.
    """

    keywords: int = field(
        default=2, metadata={"help": "keywords named in a prompt; 0 leaves their sentence out", "metavar": "N"}
    )
    objects: str = field(
        default="Objects: {keywords}. ",
        metadata={"help": "the sentence that names them, with {keywords}"},
    )
    lead: str = field(default="This is a sound of ", metadata={"help": "the words that a caption continues"})
    audio_slots: ClassVar[int] = 0

    def __post_init__(self) -> None:
        if self.keywords < 0:
            raise OptionError(f"The prompt's keywords are {self.keywords}.", "Give 0 or more.")
        if self.objects.count("{keywords}") != 1:
            raise OptionError(
                f"The prompt's sentence {self.objects!r} must hold {{keywords}} once.", "Correct the prompt settings."
            )
        if not self.lead.strip():
            raise OptionError("The prompt leads into the caption with no word.", "Give words to continue.")

    @property
    def label_count(self) -> int:
        """How many keywords it names."""
        return self.keywords

    def text(self, keywords: Sequence[str]) -> str:
        """The prompt for these keywords."""
        return (self.objects.replace("{keywords}", listed(keywords)) if keywords else "") + self.lead

    def caption_of(self, text: str) -> str:
        """A continuation's caption: what stands after the lead's last occurrence, as models like to repeat it.

        Where no word is left the caption is empty; the released code would return the prompt.
        """
        caption = text.rsplit(self.lead, 1)[-1].strip()
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
    """Sequences to continue, one for each list of keywords: the tokenizer's BOS, where it names one, and the prompt."""
    begin = [] if tokenizer.bos_token_id is None else [int(tokenizer.bos_token_id)]
    return [[*begin, *ids] for ids in tokenize([prompt.text(keywords) for keywords in keyword_lists], tokenizer)]
