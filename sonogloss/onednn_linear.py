"""Linear layers whose float32 products go through oneDNN, on processors where torch's own are slow.

torch multiplies float32 matrices with MKL, which takes AVX2 on processors that are not Intel's, also where there is
AVX-512. oneDNN, a part of torch too, takes AVX-512 there: about twice the speed and the same products up to rounding.
"""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

# oneDNN and torch keep up to 1,024 compiled products each, half a MiB for every number of rows that came by. Fewer cost
# no speed that was seen: the layers of a model share them within a pass.
_CACHES = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64", "LRU_CACHE_CAPACITY": "64"}
_FEWEST_ROWS = 4  # the weights are put in another order for every product, which does not pay for fewer rows


def _operator() -> Any:
    """The operator that `torch.compile` takes for linear layers; None where it is not there or AVX-512 is not.

    torch does not document it, so it is tried: under a release that lacks it or calls it in another way, products go
    the usual way.
    """
    operator = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or operator is None:
        return None
    for name, products in _CACHES.items():  # read at the first product
        os.environ.setdefault(name, products)
    try:
        operator(torch.ones(4, 1), torch.ones(1, 1), None, "none", [], "")
    except (RuntimeError, TypeError):
        return None
    return operator


_LINEAR = _operator()


def linear(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`torch.nn.functional.linear`, in inference mode and float32 on an x86 processor with AVX-512 through oneDNN.

    On one thread a row of the result has the same bytes whatever the other rows are, in products of four rows or more.

    Args:
        inputs: [..., inputs].
        weight: [outputs, inputs], in any order in memory.
        bias: [outputs] or None.

    Returns:
        [..., outputs].
    """
    if (
        _LINEAR is None
        or not torch.is_inference_mode_enabled()  # the operator gives no gradients
        or torch.is_autocast_enabled("cpu")
        or not inputs.dtype == weight.dtype == torch.float32
        or inputs.device.type != "cpu"
        or inputs.numel() < _FEWEST_ROWS * inputs.shape[-1]
    ):
        return functional.linear(inputs, weight, bias)
    product: Tensor = _LINEAR(inputs, weight, bias, "none", [], "")
    return product


class OneDnnLinear(nn.Linear):
    """A linear layer that multiplies with :func:`linear`."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs [..., inputs] to outputs [..., outputs]."""
        return linear(inputs, self.weight, self.bias)


class OneDnnConv1D(Conv1D):
    """GPT-2's linear layer, whose weights are [inputs, outputs], likewise."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs [..., inputs] to outputs [..., outputs]."""
        return linear(inputs, self.weight.T, self.bias)


def use_onednn(model: nn.Module) -> None:
    """Let the linear layers of a model multiply with :func:`linear`.

    Their weights stay what and where they are, so the model can be trained, adapted and saved as before.
    """
    for layer in model.modules():
        kind = {nn.Linear: OneDnnLinear, Conv1D: OneDnnConv1D}.get(type(layer))
        if kind is not None:
            layer.__class__ = kind
