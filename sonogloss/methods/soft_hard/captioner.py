"""Soft and hard prompts: decode a CLAP embedding with a language model that also reads names (arXiv 2406.06295).

The labels of a bank that lie nearest to the audio embedding are named in a sentence, the *hard prompt*; the embedding
itself is mapped to vectors behind it, the *soft prompt*; beam search continues both. The method retrieves no captions
and projects nothing, unless one asks for a projection: then names and vectors are those of the projected embedding.
"""

from __future__ import annotations

from collections.abc import Sequence

from sonogloss.methods.generator import SoftPromptCaptioner
from sonogloss.methods.soft_hard.prompt import SoftHardPrompt, compose_soft_hard_prompts


class SoftHardCaptioner(SoftPromptCaptioner):
    """A captioner of soft and hard prompts in memory; see :class:`~sonogloss.methods.base.Captioner`."""

    method = "soft-hard"
    prompt: SoftHardPrompt

    def compose(self, names: Sequence[Sequence[str]], contexts: Sequence[Sequence[str]]) -> list[list[int]]:
        """Prompts that name the labels; retrieved captions are not read."""
        return compose_soft_hard_prompts(
            names, self.prompt, self.language_model.tokenizer, max_tokens=self.max_prompt_tokens
        )
