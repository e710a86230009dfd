"""Multi-head attention of separate projections and explicit products."""

from torch import Tensor, nn

from mmsf.models.layers.matmul import MatMul


class MultiheadAttention(nn.Module):
    """Scaled dot-product attention, equal to `torch.nn.MultiheadAttention` in evaluation.

    Torch keeps the three projections packed in one parameter and multiplies inside one kernel, where nothing can be
    quantized. Here each projection is a linear layer and each product a `MatMul`; `mmsf.models.checkpoints` unpacks torch's
    keys.

    Args:
        channels: Width of queries, keys, values and output.
        num_heads: Heads; divides ``channels``.
        dropout: Dropout rate of the attention probabilities.
    """

    def __init__(self, channels: int, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if channels % num_heads:
            raise ValueError(f"{num_heads} heads do not divide {channels} channels")
        self.num_heads = num_heads
        self.scale = (channels // num_heads) ** -0.5
        self.q_proj = nn.Linear(channels, channels)
        self.k_proj = nn.Linear(channels, channels)
        self.v_proj = nn.Linear(channels, channels)
        self.scores = MatMul()
        self.context = MatMul()
        self.out_proj = nn.Linear(channels, channels)
        self.dropout = nn.Dropout(dropout)

    def _heads(self, x: Tensor) -> Tensor:
        """(B, L, D) to (B, heads, L, D / heads)."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend.

        Args:
            query: (B, L, D).
            key: (B, S, D).
            value: (B, S, D).

        Returns:
            (B, L, D).
        """
        q = self._heads(self.q_proj(query) * self.scale)
        k = self._heads(self.k_proj(key))
        v = self._heads(self.v_proj(value))
        probabilities = self.dropout(self.scores(q, k.transpose(-2, -1)).softmax(-1))
        return self.out_proj(self.context(probabilities, v).transpose(1, 2).flatten(2))
