"""PyTorch's multi-head attention taken apart, so that its projections and products can be quantized."""

import torch
from torch import Tensor, nn

from mmsf.quantization.folding import replace_everywhere


class DecomposedAttention(nn.Module):
    """The same function as an ``nn.MultiheadAttention``, from four linear layers and two matrix products.

    Args:
        attention: The module to take apart; its parameters are copied.

    Raises:
        ValueError: For the rare forms that have no such decomposition here (``bias_k``, ``add_zero_attn``).
    """

    # PyTorch's transformer layers ask for them, and with these values call `forward`.
    _qkv_same_embed_dim = False
    in_proj_bias = None

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        if attention.bias_k is not None or attention.add_zero_attn:
            raise ValueError("attention with bias_k or add_zero_attn cannot be taken apart")
        self.heads = attention.num_heads
        self.batch_first = attention.batch_first
        width = attention.embed_dim
        if attention._qkv_same_embed_dim:
            weights = attention.in_proj_weight.detach().chunk(3)
        else:
            weights = [attention.q_proj_weight, attention.k_proj_weight, attention.v_proj_weight]
        biases = [None] * 3 if attention.in_proj_bias is None else attention.in_proj_bias.detach().chunk(3)
        self.q_proj, self.k_proj, self.v_proj = (self._linear(w, b, width) for w, b in zip(weights, biases))
        self.out_proj = self._linear(attention.out_proj.weight, attention.out_proj.bias, width)

    @staticmethod
    def _linear(weight: Tensor, bias: Tensor | None, width: int) -> nn.Linear:
        linear = nn.Linear(weight.shape[1], width, bias=bias is not None, device=weight.device, dtype=weight.dtype)
        with torch.no_grad():
            linear.weight.copy_(weight)
            if bias is not None:
                linear.bias.copy_(bias)
        return linear

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """As ``nn.MultiheadAttention.forward``.

        Inputs are (length, batch, width), batch first where the module was made so, or (length, width).
        """
        if query.dim() == 2:
            axis = 0 if self.batch_first else 1
            query, key, value = (t.unsqueeze(axis) for t in (query, key, value))
            padding = None if key_padding_mask is None else key_padding_mask[None]
            masks = padding, need_weights, attn_mask, average_attn_weights, is_causal
            out, weights = self.forward(query, key, value, *masks)
            return out.squeeze(axis), None if weights is None else weights.squeeze(0)
        if not self.batch_first:
            query, key, value = (t.transpose(0, 1) for t in (query, key, value))
        batch, length, width = query.shape
        q, k, v = (
            layer(t).view(batch, -1, self.heads, width // self.heads).transpose(1, 2)
            for layer, t in ((self.q_proj, query), (self.k_proj, key), (self.v_proj, value))
        )
        scores = torch.matmul(q * (width // self.heads) ** -0.5, k.transpose(-2, -1))
        if is_causal and attn_mask is None:
            attn_mask = torch.ones(length, key.shape[1], dtype=torch.bool, device=query.device).triu(1)
        for mask in (attn_mask, key_padding_mask):
            if mask is None:
                continue
            if mask is key_padding_mask:
                mask = mask[:, None, None]
            elif mask.dim() == 3:
                mask = mask.view(batch, self.heads, *mask.shape[1:])
            scores = scores.masked_fill(mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
        weights = scores.softmax(-1)
        out = self.out_proj(torch.matmul(weights, v).transpose(1, 2).reshape(batch, length, width))
        if not self.batch_first:
            out = out.transpose(0, 1)
        if not need_weights:
            return out, None
        return out, weights.mean(1) if average_attn_weights else weights


def decompose_attention(model: nn.Module) -> None:
    """Replace every ``nn.MultiheadAttention`` inside ``model`` by its decomposed form, in place.

    A subclass with another ``forward`` stays: nothing is known of what it computes.
    """
    for module in list(model.modules()):
        if isinstance(module, nn.MultiheadAttention) and type(module).forward is nn.MultiheadAttention.forward:
            replace_everywhere(model, module, DecomposedAttention(module).train(module.training))
        if isinstance(module, nn.TransformerEncoder):
            # Its fast path for padded inputs would leave the layers out.
            module.use_nested_tensor = False
