from __future__ import annotations

import os
import pickle
from copy import deepcopy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from sonogloss import onednn_linear
from sonogloss.decoding.generate import generate
from sonogloss.decoding.language_model import LanguageModel
from sonogloss.decoding.settings import DecodeSettings
from sonogloss.one_thread import one_thread
from sonogloss.onednn_linear import OneDnnConv1D, OneDnnLinear, linear, use_onednn
from tests.language_models import tiny_gpt2, tiny_llama, tiny_tokenizer

# Elsewhere every product goes the usual way, of which most of these tests are true, too.
needs_onednn = pytest.mark.skipif(onednn_linear._LINEAR is None, reason="oneDNN is not taken on this processor")


class Counted:
    """The operator, and how often it was called."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, inputs: Any, weight: Any, bias: Any, *_: Any) -> Any:
        self.calls += 1
        return functional.linear(inputs, weight, bias)


@pytest.fixture
def operator(monkeypatch: pytest.MonkeyPatch) -> Counted:
    """A stand-in for oneDNN's."""
    counted = Counted()
    monkeypatch.setattr(onednn_linear, "_LINEAR", counted)
    return counted


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@settings(deadline=None, max_examples=50)
@given(
    leading=st.lists(st.integers(0, 5), max_size=3),
    inputs=st.integers(1, 40),
    outputs=st.integers(1, 40),
    biased=st.booleans(),
    order=st.sampled_from(["rows", "columns", "every second"]),
)
def test_products_are_those_of_torch(leading: list[int], inputs: int, outputs: int, biased: bool, order: str) -> None:
    states, weight = normal(*leading, inputs), normal(outputs, inputs, seed=1)
    if order == "columns":
        states, weight = states.mT.contiguous().mT if leading else states, weight.T.contiguous().T
    elif order == "every second":
        states = states.repeat_interleave(2, dim=-1)[..., ::2]
    bias = normal(outputs, seed=2) if biased else None
    with torch.inference_mode():
        found = linear(states, weight, bias)
    expected = functional.linear(states.double(), weight.double(), None if bias is None else bias.double())
    assert found.shape == expected.shape
    assert found.dtype == torch.float32
    assert torch.allclose(found.double(), expected, atol=1e-4)


@needs_onednn
@settings(deadline=None, max_examples=30)
@given(rows=st.integers(4, 300), first=st.integers(0, 300), sizes=st.sampled_from([(48, 64), (192, 768), (768, 192)]))
def test_a_row_has_the_same_bytes_in_any_product_of_four_rows_or_more(
    rows: int, first: int, sizes: tuple[int, int]
) -> None:
    states, weight, bias = normal(600, sizes[0]), normal(sizes[1], sizes[0], seed=1), normal(sizes[1], seed=2)
    with torch.inference_mode(), one_thread():
        together = linear(states, weight, bias)
        assert torch.equal(linear(states[first : first + rows], weight, bias), together[first : first + rows])


def test_products_with_gradients_are_torch_s_own(operator: Counted) -> None:
    layer, states = nn.Linear(6, 5), normal(8, 6).requires_grad_()
    expected = layer(states)
    use_onednn(layer)
    found = layer(states)
    assert torch.equal(found, expected)
    found.sum().backward()
    assert layer.weight.grad is not None
    assert states.grad is not None
    with torch.no_grad():
        layer(states)
    assert operator.calls == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_numbers_are_multiplied_by_torch(operator: Counted, dtype: torch.dtype) -> None:
    with torch.inference_mode():
        linear(normal(8, 6).to(dtype), normal(5, 6).to(dtype))
        with torch.autocast("cpu", torch.bfloat16):
            assert linear(normal(8, 6), normal(5, 6)).dtype == torch.bfloat16
    assert operator.calls == 0


def test_few_rows_are_multiplied_by_torch(operator: Counted) -> None:
    with torch.inference_mode():
        linear(normal(3, 6), normal(5, 6))
        assert operator.calls == 0
        linear(normal(2, 2, 6), normal(5, 6))
    assert operator.calls == 1


@pytest.mark.parametrize("make", [tiny_gpt2, tiny_llama])
def test_a_model_stays_what_it_is(make: Any, operator: Counted) -> None:
    model = make()
    before = {name: (tensor.clone(), tensor.data_ptr()) for name, tensor in model.state_dict().items()}
    use_onednn(model)
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], old) and after[name].data_ptr() == at for name, (old, at) in before.items())
    assert not any(type(layer) in (nn.Linear, Conv1D) for layer in model.modules())
    for copy in (deepcopy(model), pickle.loads(pickle.dumps(model))):
        layers = [layer for layer in copy.modules() if isinstance(layer, (OneDnnLinear, OneDnnConv1D))]
        operator.calls = 0
        with torch.inference_mode():
            copy(input_ids=torch.tensor([[3, 4, 5, 6]]))
        assert operator.calls == len(layers) > 0


@pytest.mark.parametrize("make", [tiny_gpt2, tiny_llama])
def test_captions_are_the_same(make: Any) -> None:
    plain, other = make(), make()
    other.load_state_dict(plain.state_dict())
    use_onednn(other)
    prompts = [[5, 6, 7, length] * length for length in range(1, 7)]
    found = [
        generate(LanguageModel(model=model, tokenizer=tiny_tokenizer()), prompts, None, DecodeSettings(num_beams=3))
        for model in (plain.eval(), other.eval())
    ]
    assert found[0] == found[1]


def _another_signature(*_: Any) -> Any:
    raise RuntimeError("mkldnn::_linear_pointwise() expected at most 5 arguments")


def test_without_the_operator_or_avx_512_products_are_torch_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"LRU_CACHE_CAPACITY": "7"})
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(torch.ops, "mkldnn", type("Namespace", (), {}))
    assert onednn_linear._operator() is None
    monkeypatch.setattr(torch.ops, "mkldnn", type("Namespace", (), {"_linear_pointwise": _another_signature}))
    assert onednn_linear._operator() is None
    counted = Counted()
    monkeypatch.setattr(torch.ops, "mkldnn", type("Namespace", (), {"_linear_pointwise": counted}))
    assert onednn_linear._operator() is counted
    assert os.environ == {"LRU_CACHE_CAPACITY": "7", "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64"}  # the user's value counts
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    assert onednn_linear._operator() is None
    monkeypatch.setattr(onednn_linear, "_LINEAR", None)
    states, weight = normal(8, 6), normal(5, 6)
    with torch.inference_mode():
        assert torch.equal(linear(states, weight), functional.linear(states, weight))
