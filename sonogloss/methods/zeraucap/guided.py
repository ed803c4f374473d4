"""Guided greedy search: a CLAP chooses among a language model's next tokens (ZerAuCap, arXiv 2311.08396).

At each step the most probable next tokens compete. The score of each is its probability plus how well the caption so
far with it fits the sound, by the text and audio embeddings of a CLAP; a token that ends the caption is held back
at first and favoured later. The released system decodes one clip at a time and reads every candidate with both models
at every step. Here, with equal results,

* captions advance in lock-step: one pass of the language model and one of the text encoder a step for all of them;
* the language model reads winners only, and each text once (:mod:`~sonogloss.methods.zeraucap.guided_states`);
* each continuation is embedded once (:class:`~sonogloss.methods.zeraucap.guided_text.TextMemo`);
* none is where no guidance could change the winner, which it moves by at most beta against another;
* and only those that can still win are where they are few, and where what the others could be decides nothing.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sonogloss.decoding.language_model import LanguageModel
from sonogloss.errors import OptionError
from sonogloss.methods.zeraucap.guided_states import LanguageStates, State
from sonogloss.methods.zeraucap.guided_text import EmbedText, TextMemo, candidate_texts, ending_tokens, finished_text
from sonogloss.methods.zeraucap.settings import GuidedSettings
from sonogloss.records import FloatArray

Doubles = npt.NDArray[np.float64]
LANGUAGE_MEMORY, TEXT_MEMORY = 1 << 30, 256 << 20
_FEW = 6  # candidates that can win: beyond that, knowing them alone hardly ever decides
_MARGIN = 1e-9  # far above what rounding does to a score in float64, far below what anybody would see


@dataclass(eq=False)
class _Clip:
    """A caption in the making; `step` counts its tokens."""

    row: int
    audio: FloatArray
    state: State
    step: int = 0


class GuidedDecoder:
    """Guided search with one language model and one text encoder. What it has learnt it remembers between calls.

    Args:
        language_model: any causal language model with plain attention, and its tokenizer.
        embed_text: the text encoder of the CLAP that embedded the audio.
        settings: of the search.
        language_memory: bytes to spend on remembering what the language model thought.
        text_memory: bytes to spend on remembering embeddings.

    Raises:
        ModelFormatError: the language model has another kind of memory than keys and values.
    """

    def __init__(
        self,
        language_model: LanguageModel,
        embed_text: EmbedText,
        settings: GuidedSettings,
        *,
        language_memory: int = LANGUAGE_MEMORY,
        text_memory: int = TEXT_MEMORY,
    ) -> None:
        self.settings = settings
        self.endings = ending_tokens(language_model.tokenizer)
        self._ending_ids = np.array(sorted(self.endings))
        self._lock = threading.Lock()  # the workers of one process share what is remembered
        self._tokenizer = language_model.tokenizer
        self.max_tokens = min(settings.max_tokens, language_model.max_positions or settings.max_tokens)
        self.states = LanguageStates(
            language_model, candidates=settings.candidates, hidden=settings.alpha > 0, max_bytes=language_memory
        )
        self.texts = TextMemo(embed_text, max_bytes=text_memory)

    def decode(self, prompts: Sequence[Sequence[int]], audio: FloatArray) -> list[list[int]]:
        """The continuation of every prompt.

        A prompt's result is what decoding it alone gives, up to the rounding of matrix products (about 1e-6 between
        batch shapes), which matters only where two candidates are that close.

        Args:
            prompts: n lists of ids, BOS included.
            audio: [n, d] the clips' embeddings, of any length.

        Returns:
            New ids, with the one that ended the caption; fewer where prompt and caption reached `max_tokens`, and none
            where the prompt alone did.
        """
        if len(audio) != len(prompts):
            raise OptionError(f"There are {len(prompts)} prompts for {len(audio)} clips.", "Give one each.")
        unit = audio / np.maximum(np.linalg.norm(audio, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        results: list[list[int]] = [[] for _ in prompts]
        order = [row for row in range(len(prompts)) if len(prompts[row]) < self.max_tokens]
        waiting = deque(sorted(order, key=lambda row: tuple(prompts[row])))  # equal prompts share their first steps
        running: list[_Clip] = []
        with self._lock:
            while waiting or running:
                while waiting and len(running) < self.settings.batch_size:
                    row = waiting.popleft()
                    running.append(_Clip(row, unit[row], self.states.root(prompts[row])))
                advancing = []
                for clip, token in zip(running, self._choose(running), strict=True):
                    results[clip.row].append(token)
                    if token not in self.endings and clip.state.length + 1 < self.max_tokens:
                        clip.state, clip.step = clip.state.child(token), clip.step + 1
                        advancing.append(clip)
                running = advancing
        return results

    def decode_texts(self, prompts: Sequence[Sequence[int]], audio: FloatArray) -> list[str]:
        """As :meth:`decode`, in words on one line: up to EOS, blanks before punctuation removed."""
        return [finished_text(self._tokenizer, ids) for ids in self.decode(prompts, audio)]

    def _choose(self, clips: Sequence[_Clip]) -> list[int]:
        """The next token of every clip."""
        self.states.read([clip.state for clip in clips])
        scores = [self._unguided(clip) for clip in clips]
        winners: dict[int, int] = {}
        rivals = [self._rivals(clip, score) for clip, score in zip(clips, scores, strict=True)]
        for i, (clip, score) in enumerate(zip(clips, scores, strict=True)):
            if self.settings.beta == 0:
                winners[i] = int(np.argmax(self._damped(clip, score)))
            elif len(rivals[i]) == 1:
                winners[i] = int(rivals[i][0])
        few = [i for i in range(len(clips)) if i not in winners and len(rivals[i]) <= _FEW]
        groups = [[self._texts(clips[i].state)[place] for place in rivals[i]] for i in few]
        for i, rows in zip(few, self.texts.embed(groups), strict=True):
            if (winner := self._decided(clips[i], scores[i], rivals[i], rows)) is not None:
                winners[i] = winner
        asking = [i for i in range(len(clips)) if i not in winners]
        states = list(dict.fromkeys(clips[i].state for i in asking))
        embeddings = dict(zip(states, self.texts.embed([self._texts(state) for state in states]), strict=True))
        for i in asking:
            guided = scores[i] + self.settings.beta * self._fit(clips[i], embeddings[clips[i].state])
            winners[i] = int(np.argmax(self._damped(clips[i], guided)))
        return [int(clip.state.top_ids[winners[i]]) for i, clip in enumerate(clips)]

    def _unguided(self, clip: _Clip) -> Doubles:
        """The scores [m] before guidance and end penalty."""
        scores: Doubles = clip.state.probabilities.astype(np.float64)
        if self.settings.alpha > 0:
            repetition = self.states.weigh_repetition(clip.state)
            scores = (1 - self.settings.alpha) * scores - self.settings.alpha * repetition
        return scores

    def _rivals(self, clip: _Clip, scores: Doubles) -> npt.NDArray[np.intp]:
        """The places of the candidates that can win. Guidance adds something between 0 and beta to each score.

        In compat mode what is damped depends on the order of all scores, so anything can.
        """
        if self.settings.compat:
            return np.arange(len(scores))
        least, most = self._damped(clip, scores), self._damped(clip, scores + self.settings.beta)
        return np.flatnonzero(most > least.max() - _MARGIN)

    def _decided(
        self, clip: _Clip, scores: Doubles, rivals: npt.NDArray[np.intp], embeddings: FloatArray
    ) -> int | None:
        """The winner's place, where the rivals' own embeddings tell it; None where it depends on the other candidates.

        Those are but a part of the softmax's denominator, which without them is smallest. The difference of two scores
        is linear in its inverse: who wins without any guidance and with that of a softmax over the rivals alone, wins
        whatever the others are.
        """
        guided = scores.copy()
        guided[rivals] += self.settings.beta * self._fit(clip, embeddings)
        places = []
        for some in (scores, guided):
            damped = self._damped(clip, some)[rivals]
            best = int(np.argmax(damped))
            if damped[best] - np.delete(damped, best).max() <= _MARGIN:
                return None
            places.append(best)
        return int(rivals[places[0]]) if places[0] == places[1] else None

    def _fit(self, clip: _Clip, embeddings: FloatArray) -> Doubles:
        """The softmax of texts' fit to the sound."""
        logits: Doubles = self.settings.kappa * (embeddings.astype(np.float64) @ clip.audio)
        powers: Doubles = np.exp(logits - logits.max())
        return powers / powers.sum()

    def _damped(self, clip: _Clip, scores: Doubles) -> Doubles:
        """The scores with the end penalty of this step."""
        ends = np.isin(clip.state.top_ids, self._ending_ids)
        if self.settings.compat:
            ends = ends[np.argsort(-scores, kind="stable")]  # places by score, read as places by probability
        return np.where(ends, scores * (self.settings.gamma * clip.step), scores)

    def _texts(self, state: State) -> tuple[str, ...]:
        if state.texts is None:
            limit = self.settings.text_tokens
            state.texts = candidate_texts(self._tokenizer, state.tokens(), state.top_ids.tolist(), limit=limit)
        return state.texts
