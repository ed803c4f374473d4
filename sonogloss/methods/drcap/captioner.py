"""DRCap: decode a CLAP embedding with a language model that also reads retrieved captions (arXiv 2410.09472).

Captions are looked up near the *raw* audio embedding; that embedding is then projected onto the text support and mapped
to a soft prompt, which beam search continues behind the retrieved captions and an instruction.
"""

from __future__ import annotations

from collections.abc import Sequence

from sonogloss.methods.drcap.prompt import ComposedPrompt, compose_prompts
from sonogloss.methods.generator import SoftPromptCaptioner


class DrcapCaptioner(SoftPromptCaptioner):
    """A DRCap captioner in memory; see :class:`~sonogloss.methods.base.Captioner`."""

    method = "drcap"
    prompt: ComposedPrompt

    def compose(self, names: Sequence[Sequence[str]], contexts: Sequence[Sequence[str]]) -> list[list[int]]:
        """Prompts with the retrieved captions; labels are not read."""
        return compose_prompts(contexts, self.prompt, self.language_model.tokenizer, max_tokens=self.max_prompt_tokens)
