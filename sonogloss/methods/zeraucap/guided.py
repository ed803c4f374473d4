"""Guided greedy search: a CLAP chooses among a language model's next tokens (ZerAuCap, arXiv 2311.08396).

At each step the most probable next tokens compete. The score of each is its probability plus how well the caption so
far with it fits the sound, by the text and audio embeddings of a CLAP; the score of a token that ends the caption is
low at first and rises with every step. The released system decodes one clip at a time and runs both models on every
candidate at every step. Here, with equal results,

* clips advance together: one forward pass of the language model and one of the text encoder a step for all of them;
* the language model runs on winners only, and once a text (:mod:`~sonogloss.methods.zeraucap.guided_states`);
* each continuation is embedded once (:class:`~sonogloss.methods.guided_text.TextMemo`);
* nothing is embedded where guidance cannot change the winner, as it changes the difference of two scores by at most
  beta;
* only the candidates that can still win are embedded where they are few and their embeddings alone decide.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sonogloss.decoding.language_model import LanguageModel
from sonogloss.decoding.repetition import repeating
from sonogloss.errors import OptionError
from sonogloss.methods.guided_text import EmbedText, TextMemo, candidate_texts, ending_tokens, finished_text
from sonogloss.methods.zeraucap.guided_states import LanguageStates, State
from sonogloss.methods.zeraucap.method import GuidedSettings
from sonogloss.records import FloatArray

Doubles = npt.NDArray[np.float64]
LANGUAGE_MEMORY, TEXT_MEMORY = 1 << 30, 256 << 20
_FEW = 6  # contenders; with more of them, their own embeddings hardly ever decide
_NEVER = -1e3  # below every score, and no infinity: it is multiplied by the end penalty, which may be zero
_MARGIN = 1e-9  # far above the rounding errors of a score in float64, far below any real difference


@dataclass(eq=False)
class _Clip:
    """An unfinished caption; `step` counts its tokens, and `longest` is that of prompt and caption."""

    row: int
    audio: FloatArray
    state: State
    longest: int = 0
    step: int = 0


class GuidedDecoder:
    """Guided search with one language model and one text encoder, both cached between calls.

    Args:
        language_model: any causal language model with plain attention, and its tokenizer.
        embed_text: the text encoder of the CLAP that embedded the audio.
        settings: of the search.
        language_memory: bytes of the language model's cache.
        text_memory: bytes of the cache of text embeddings.

    Raises:
        ModelFormatError: the language model keeps no keys and values for every position.
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
        self._lock = threading.Lock()  # the workers of one process share the caches
        self._tokenizer = language_model.tokenizer
        self._positions = language_model.max_positions
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
            New ids, with the one that ended the caption; fewer where prompt and caption reached :meth:`longest`, and
            none where the prompt alone did.
        """
        if len(audio) != len(prompts):
            raise OptionError(f"There are {len(prompts)} prompts for {len(audio)} clips.", "Give one prompt a clip.")
        unit = audio / np.maximum(np.linalg.norm(audio, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        results: list[list[int]] = [[] for _ in prompts]
        order = [row for row in range(len(prompts)) if len(prompts[row]) < self.longest(len(prompts[row]))]
        waiting = deque(sorted(order, key=lambda row: tuple(prompts[row])))  # equal prompts share their first steps
        running: list[_Clip] = []
        with self._lock:
            while waiting or running:
                while waiting and len(running) < self.settings.batch_size:
                    row = waiting.popleft()
                    longest = self.longest(len(prompts[row]))
                    running.append(_Clip(row, unit[row], self.states.root(prompts[row]), longest))
                advancing = []
                for clip, token in zip(running, self._choose(running), strict=True):
                    results[clip.row].append(token)
                    if token not in self.endings and clip.state.length + 1 < clip.longest:
                        clip.state, clip.step = clip.state.child(token), clip.step + 1
                        advancing.append(clip)
                running = advancing
        return results

    def longest(self, prompt_tokens: int) -> int:
        """How many tokens prompt and caption may have together, for a prompt of so many."""
        new, limit = self.settings.max_new_tokens, self._positions
        longest = prompt_tokens + new if new else self.settings.max_tokens
        return longest if limit is None else min(longest, limit)

    def decode_texts(self, prompts: Sequence[Sequence[int]], audio: FloatArray) -> list[str]:
        """:meth:`decode` as text on one line: up to EOS, blanks before punctuation removed."""
        return [finished_text(self._tokenizer, ids) for ids in self.decode(prompts, audio)]

    def _choose(self, clips: Sequence[_Clip]) -> list[int]:
        """The next token of every clip."""
        self.states.read([clip.state for clip in clips])
        scores = [self._unguided(clip) for clip in clips]
        winners: dict[int, int] = {}
        contenders = [self._contenders(clip, score) for clip, score in zip(clips, scores, strict=True)]
        for i, (clip, score) in enumerate(zip(clips, scores, strict=True)):
            if self.settings.beta == 0:
                winners[i] = int(np.argmax(self._with_end_penalty(clip, score)))
            elif len(contenders[i]) == 1:
                winners[i] = int(contenders[i][0])
        few = [i for i in range(len(clips)) if i not in winners and len(contenders[i]) <= _FEW]
        groups = [[self._texts(clips[i].state)[place] for place in contenders[i]] for i in few]
        for i, rows in zip(few, self.texts.embed(groups), strict=True):
            if (winner := self._certain_winner(clips[i], scores[i], contenders[i], rows)) is not None:
                winners[i] = winner
        undecided = [i for i in range(len(clips)) if i not in winners]
        states = list(dict.fromkeys(clips[i].state for i in undecided))
        embeddings = dict(zip(states, self.texts.embed([self._texts(state) for state in states]), strict=True))
        for i in undecided:
            guided = scores[i] + self.settings.beta * self._guidance(clips[i], embeddings[clips[i].state])
            winners[i] = int(np.argmax(self._with_end_penalty(clips[i], guided)))
        return [int(clip.state.top_ids[winners[i]]) for i, clip in enumerate(clips)]

    def _unguided(self, clip: _Clip) -> Doubles:
        """The scores [m] without guidance and end penalty; far below all others for what would repeat."""
        scores: Doubles = clip.state.probabilities.astype(np.float64)
        if self.settings.alpha > 0:
            repetition = self.states.weigh_repetition(clip.state)
            scores = (1 - self.settings.alpha) * scores - self.settings.alpha * repetition
        if self.settings.no_repeat_ngram:
            repeated = repeating(clip.state.tokens(), self.settings.no_repeat_ngram)
            scores[np.isin(clip.state.top_ids, list(repeated))] = _NEVER
        return scores

    def _contenders(self, clip: _Clip, scores: Doubles) -> npt.NDArray[np.intp]:
        """The places of the candidates that can win, as guidance adds between 0 and beta to each score.

        In compat mode the end penalty depends on the order of all scores, so all of them can.
        """
        if self.settings.compat:
            return np.arange(len(scores))
        least, most = (self._with_end_penalty(clip, some) for some in (scores, scores + self.settings.beta))
        return np.flatnonzero(most > least.max() - _MARGIN)

    def _certain_winner(
        self, clip: _Clip, scores: Doubles, contenders: npt.NDArray[np.intp], embeddings: FloatArray
    ) -> int | None:
        """The winner's place if the contenders' own embeddings decide it; None if the other candidates matter.

        The others are only a part of the softmax's denominator, which is smallest without them. The difference of two
        scores is linear in the inverse of that denominator: a candidate that wins both without guidance and with a
        softmax over the contenders alone wins whatever the others are.
        """
        guided = scores.copy()
        guided[contenders] += self.settings.beta * self._guidance(clip, embeddings)
        places = []
        for some in (scores, guided):
            final = self._with_end_penalty(clip, some)[contenders]
            best = int(np.argmax(final))
            if final[best] - np.delete(final, best).max() <= _MARGIN:
                return None
            places.append(best)
        return int(contenders[places[0]]) if places[0] == places[1] else None

    def _guidance(self, clip: _Clip, embeddings: FloatArray) -> Doubles:
        """The softmax of the similarities between texts and sound."""
        logits: Doubles = self.settings.kappa * (embeddings.astype(np.float64) @ clip.audio)
        powers: Doubles = np.exp(logits - logits.max())
        return powers / powers.sum()

    def _with_end_penalty(self, clip: _Clip, scores: Doubles) -> Doubles:
        """The scores after the end penalty of this step."""
        ends = np.isin(clip.state.top_ids, self._ending_ids)
        if self.settings.compat:
            ends = ends[
                np.argsort(-scores, kind="stable")
            ]  # the released code's mistake: ranks by score as ranks by probability
        return np.where(ends, scores * (self.settings.gamma * clip.step), scores)

    def _texts(self, state: State) -> tuple[str, ...]:
        if state.texts is None:
            limit = self.settings.text_tokens
            state.texts = candidate_texts(self._tokenizer, state.tokens(), state.top_ids.tolist(), limit=limit)
        return state.texts
