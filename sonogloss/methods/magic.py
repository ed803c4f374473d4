"""The magic beam of soft and hard prompts (arXiv 2406.06295): beam search that a CLAP and the past weigh too.

Every unfinished caption offers its most probable next tokens. With each of them it is scored by ::

    (1 - alpha) log p  -  alpha max_j cos(h, h_j)  +  beta log softmax(cos(audio, text so far with it) / temperature)

where h is the token's own hidden state, h_j are those of all positions before, the prompt's included, and the softmax
goes over the candidates of *all* beams. Captions compete by the mean of their scores, finished ones with the mean that
they had. As in the released code, a finished caption goes on offering texts to the softmax, each time with its most
probable next token, which is cut off in the end.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize
from transformers import DynamicCache

from sonogloss.decoding.language_model import LanguageModel
from sonogloss.decoding.repetition import without_repetition
from sonogloss.decoding.settings import DecodeSettings
from sonogloss.methods.guided_text import EmbedText, TextMemo, spell
from sonogloss.records import FloatArray

_TEXT_MEMORY = 64 << 20  # bytes


class MagicBeam:
    """The search of one clip at a time.

    Args:
        language_model: with plain attention.
        embed_text: of the CLAP that embedded the audio.
        temperature: of that CLAP.
        settings: `magic` is the number of candidates of each beam.
    """

    def __init__(
        self, language_model: LanguageModel, embed_text: EmbedText, *, temperature: float, settings: DecodeSettings
    ) -> None:
        self._language_model, self._temperature, self._settings = language_model, temperature, settings
        self._texts = TextMemo(embed_text, max_bytes=_TEXT_MEMORY)
        self._stop = language_model.stop_criteria(settings.stop)

    @torch.inference_mode()
    def search(self, vectors: Tensor, audio: FloatArray, *, beams: int) -> list[list[int]]:
        """Captions as ids, best first.

        Args:
            vectors: [1, length, width] the prompt as input vectors of the language model.
            audio: [dim] the clip's embedding.
            beams: how many captions go on.
        """
        model, width = self._language_model.model, max(self._settings.magic, beams)
        cache = DynamicCache()
        output = model(inputs_embeds=vectors, past_key_values=cache, use_cache=True, output_hidden_states=True)
        logits, past = output.logits[:, -1], normalize(output.hidden_states[-1], dim=-1)
        device = logits.device
        heard = normalize(torch.from_numpy(audio).to(device), dim=0)
        ids = torch.zeros((1, 0), dtype=torch.int64, device=device)
        sums, lengths = torch.zeros(1, device=device), torch.zeros(1, device=device)
        finished = torch.zeros(1, dtype=torch.bool, device=device)
        for step in range(self._settings.max_new_tokens):
            ruled = without_repetition(logits, ids, self._settings.no_repeat_ngram)
            log_probs, tokens = ruled.float().log_softmax(-1).topk(width)
            cache.batch_repeat_interleave(width)
            output = model(
                input_ids=tokens.reshape(-1, 1),
                attention_mask=torch.ones((tokens.numel(), past.shape[1] + 1), dtype=torch.int64, device=device),
                past_key_values=cache,
                use_cache=True,
                output_hidden_states=True,
            )
            new = normalize(output.hidden_states[-1].reshape(len(ids), width, -1), dim=-1)
            extended = torch.cat([ids[:, None].expand(-1, width, -1), tokens[:, :, None]], dim=-1).flatten(0, 1)
            scores = self._score(log_probs, (new @ past.transpose(1, 2)).amax(dim=-1), extended, heard)
            # A finished caption offers itself alone, and its score stays.
            scores[finished] = -torch.inf
            scores[finished, 0] = 0.0
            lengths = lengths + ~finished
            means, chosen = ((sums[:, None] + scores) / lengths[:, None]).flatten().topk(beams)
            parents = chosen // width
            ids, lengths = extended[chosen], lengths[parents]
            sums = means * lengths
            finished = finished[parents] | self._stop(ids, logits.shape[-1])
            if finished.all() or step + 1 == self._settings.max_new_tokens:
                break
            cache.batch_select_indices(chosen)
            logits = output.logits[chosen, -1]
            past = torch.cat([past[parents], new.flatten(0, 1)[chosen, None]], dim=1)
        order = means.argsort(descending=True)
        return [ids[row, : int(lengths[row])].tolist() for row in order]

    def _score(self, log_probs: Tensor, repetition: Tensor, texts: Tensor, heard: Tensor) -> Tensor:
        """[beams, candidates], for candidates whose whole texts are the ids [beams * candidates, length]."""
        settings = self._settings
        [rows] = self._texts.embed([spell(self._language_model.tokenizer, texts.tolist())])
        cosines = torch.from_numpy(rows).to(heard.device) @ heard
        fit = (cosines / self._temperature).log_softmax(0).view_as(log_probs)
        alpha, beta = settings.magic_alpha, settings.magic_beta
        return (1 - alpha) * log_probs - alpha * repetition + beta * fit
