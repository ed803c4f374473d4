"""Linear layers with int8 weights: a quarter of the memory, at the cost of widening the weights in every pass.

Every output channel of a linear layer has a scale of its own, so that its largest weight is 127: weight-only,
symmetric, per channel, the simplest form, known to cost next to nothing in quality. Embeddings and the output layer,
which are often one matrix, and norms stay as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D


class Int8Linear(nn.Module):
    """A linear layer whose weights [outputs, inputs] are int8 times one scale for each output.

    Args:
        weight: [outputs, inputs] of the layer to replace.
        bias: [outputs] or None.
    """

    weight: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        scale = (weight.detach().float().abs().amax(1) / 127).clamp(min=torch.finfo(torch.float32).tiny)
        rounded = (weight.detach().float() / scale[:, None]).round().to(torch.int8).contiguous()
        self.register_buffer("weight", rounded)
        self.register_buffer("scale", scale.to(weight.dtype))
        self.register_buffer("bias", None if bias is None else bias.detach().clone())

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs [..., inputs] to outputs [..., outputs], computed in the inputs' dtype."""
        outputs = nn.functional.linear(inputs, self.weight.to(inputs.dtype)) * self.scale
        return outputs if self.bias is None else outputs + self.bias


def to_int8(model: PreTrainedModel) -> None:
    """Replace the linear layers inside a model, GPT-2's transposed ones too; the model can no longer be trained."""
    kept = {id(model.get_input_embeddings()), id(model.get_output_embeddings())}
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if id(layer) in kept or not isinstance(layer, (nn.Linear, Conv1D)):
                continue
            weight = layer.weight.T if isinstance(layer, Conv1D) else layer.weight
            setattr(parent, name, Int8Linear(weight, layer.bias))
