from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import PreTrainedTokenizerFast

from sonogloss.decoding.generate import generate, search
from sonogloss.decoding.settings import DecodeSettings
from sonogloss.decoding.stop_criteria import StopCriteria
from tests.decoding.test_parity import language_model
from tests.language_models import tiny_tokenizer

TOKENIZER = tiny_tokenizer()


def _ends(text: str, stop: tuple[str, ...]) -> list[bool]:
    """After each token of a text: does it end there?"""
    ids = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    criteria = StopCriteria(TOKENIZER, 2, stop)
    return [bool(criteria(torch.tensor([[ids[: end + 1]]]), 330)[0, 0]) for end in range(len(ids))]


def test_end_of_text_always_ends() -> None:
    ids = torch.tensor([[[5, 2], [2, 5]]])
    assert StopCriteria(TOKENIZER, 2, ())(ids, 320).tolist() == [[True, False]]
    assert StopCriteria(TOKENIZER, 2, (".",))(ids, 320).tolist() == [[True, False]]


def test_a_stop_string_ends_at_the_token_that_completes_it() -> None:
    assert _ends("a dog barks.", (".",))[-1]
    assert not any(_ends("a dog barks.", (".",))[:-1])
    assert not any(_ends("a dog barks", (".", "!")))
    spread = _ends("a dog barks\n\n", ("\n\n",))  # two tokens
    assert spread[-1]
    assert not any(spread[:-1])
    assert not any(_ends("a dog\nbarks\n", ("\n\n",)))


def test_a_stop_string_of_several_bytes_and_one_inside_a_token_end() -> None:
    assert _ends("ein Hund bellt。", ("。",))[-1]
    assert not any(_ends("ein Hund bellt，", ("。",)))
    words = _ends("a dog barks nearby", ("ar",))
    assert words.index(True) < len(words) - 1


def test_a_blank_before_a_word_counts_where_tokenizers_drop_it_at_the_beginning() -> None:
    vocabulary = {"<unk>": 0, "▁a": 1, "a": 2, "▁end": 3, "end": 4}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.normalizer = normalizers.Replace(" ", "▁")
    inner.decoder = decoders.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", eos_token="<unk>")
    criteria = StopCriteria(tokenizer, 0, (" end",))
    assert criteria(torch.tensor([[2, 3], [2, 4]]), 5).tolist() == [True, False]


@settings(max_examples=150, deadline=None)
@given(
    text=st.text(alphabet="ab .\n。é", min_size=1, max_size=12),
    stop=st.lists(st.text(alphabet="ab .\n。é", min_size=1, max_size=3), min_size=1, max_size=3),
)
def test_the_first_end_is_the_first_token_with_which_a_stop_string_is_there(text: str, stop: list[str]) -> None:
    ids = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    criteria = StopCriteria(TOKENIZER, 2, tuple(stop))
    found = [bool(criteria(torch.tensor([ids[:end]]), 330)[0]) for end in range(1, len(ids) + 1)]
    texts = [TOKENIZER.decode(ids[:end], clean_up_tokenization_spaces=False) for end in range(1, len(ids) + 1)]
    expected = [any(string in decoded for string in stop) for decoded in texts]
    assert found.index(True) == expected.index(True) if True in expected else True not in found


def test_a_batch_of_beams_is_judged_row_by_row() -> None:
    criteria = StopCriteria(TOKENIZER, 2, ("\n\n",))
    [line], [word] = (TOKENIZER(text, add_special_tokens=False)["input_ids"][-1:] for text in ("a\n", "a"))
    ids = torch.tensor([[[word, line, line], [line, word, line]], [[word, word, 2], [line, line, word]]])
    assert criteria(ids, 330).tolist() == [[True, False], [True, False]]


def test_one_tokenizer_serves_models_of_several_vocabularies() -> None:
    """A model may have more rows than its tokenizer has tokens, or fewer."""
    criteria = StopCriteria(TOKENIZER, 2, (".",))
    [period] = TOKENIZER("a.", add_special_tokens=False)["input_ids"][-1:]
    for vocabulary in (330, period + 1, 400):
        assert criteria(torch.tensor([[period], [5], [vocabulary - 1]]), vocabulary).tolist()[:2] == [True, False]


def test_captions_stop_at_stop_strings_and_keep_them() -> None:
    model = language_model("gpt2")
    prompts = [[3 + i, 5 * i + 4] for i in range(12)]
    free = DecodeSettings(num_beams=1, max_new_tokens=12)
    texts = [model.tokenizer.decode(ids) for ids in generate(model, prompts, None, free)]
    letter = max("etaoin", key=lambda wanted: sum(wanted in text for text in texts))
    stopped = generate(model, prompts, None, DecodeSettings(num_beams=1, max_new_tokens=12, stop=(letter,)))
    for ids, text in zip(stopped, texts, strict=True):
        words = [model.tokenizer.decode(ids[:end]) for end in range(len(ids) + 1)]
        assert text.startswith(words[-1])
        assert (letter in text) == (letter in words[-1])
        assert letter not in words[max(len(ids) - 1, 0)]
    for scoring in ("transformers", "average"):
        wide = DecodeSettings(num_beams=4, max_new_tokens=12, stop=tuple("etaoins"), scoring=scoring)
        for found in search(model, prompts, None, wide, candidates=4):
            assert 1 <= len(found) <= 4
