"""The post-norm transformer of DETR, batch first, without padding masks."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmsf.models.layers.attention import MultiheadAttention


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward network, each followed by addition and layer norm.

    Args:
        channels: Width.
        num_heads: Attention heads.
        feedforward_channels: Width inside the feed-forward network.
        dropout: Dropout rate.
    """

    def __init__(self, channels: int, num_heads: int, feedforward_channels: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = MultiheadAttention(channels, num_heads, dropout)
        self.linear1 = nn.Linear(channels, feedforward_channels)
        self.linear2 = nn.Linear(feedforward_channels, channels)
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, memory: Tensor, position: Tensor) -> Tensor:
        """memory (B, S, D) and its position embedding (S, D) to (B, S, D); positions enter queries and keys only."""
        placed = memory + position
        memory = self.norm1(memory + self.dropout(self.self_attn(placed, placed, memory)))
        hidden = self.dropout(F.relu(self.linear1(memory)))
        return self.norm2(memory + self.dropout(self.linear2(hidden)))


class DecoderLayer(nn.Module):
    """Self-attention among the queries, attention to the memory, feed-forward network; each with addition and layer norm.

    Args: As `EncoderLayer`.
    """

    def __init__(self, channels: int, num_heads: int, feedforward_channels: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = MultiheadAttention(channels, num_heads, dropout)
        self.multihead_attn = MultiheadAttention(channels, num_heads, dropout)
        self.linear1 = nn.Linear(channels, feedforward_channels)
        self.linear2 = nn.Linear(feedforward_channels, channels)
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)
        self.norm3 = nn.LayerNorm(channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, target: Tensor, query_position: Tensor, memory: Tensor, position: Tensor) -> Tensor:
        """target (B, Q, D), query_position (Q, D), memory (B, S, D), position (S, D) to (B, Q, D)."""
        placed = target + query_position
        target = self.norm1(target + self.dropout(self.self_attn(placed, placed, target)))
        attended = self.multihead_attn(target + query_position, memory + position, memory)
        target = self.norm2(target + self.dropout(attended))
        hidden = self.dropout(F.relu(self.linear1(target)))
        return self.norm3(target + self.dropout(self.linear2(hidden)))


class Encoder(nn.Module):
    """Encoder layers, without a norm at the end.

    Args:
        num_layers: Layers.
        **layer: As `EncoderLayer`.
    """

    def __init__(self, num_layers: int, **layer) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(**layer) for _ in range(num_layers))

    def forward(self, memory: Tensor, position: Tensor) -> Tensor:
        for layer in self.layers:
            memory = layer(memory, position)
        return memory


class Decoder(nn.Module):
    """Decoder layers and one norm that is applied to the output of every layer handed out.

    Args:
        num_layers: Layers.
        **layer: As `DecoderLayer`.
    """

    def __init__(self, num_layers: int, **layer) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(**layer) for _ in range(num_layers))
        self.norm = nn.LayerNorm(layer["channels"])

    def forward(self, query_position: Tensor, memory: Tensor, position: Tensor, every_layer: bool) -> Tensor:
        """Decode from zeros.

        Args:
            query_position: (Q, D).
            memory: (B, S, D).
            position: (S, D).
            every_layer: Hand out every layer's output, else the last one's alone.

        Returns:
            (L, B, Q, D), L being 1 or the number of layers.
        """
        target = torch.zeros_like(query_position).expand(memory.shape[0], -1, -1)
        outputs = []
        for layer in self.layers:
            target = layer(target, query_position, memory, position)
            outputs.append(target)
        return self.norm(torch.stack(outputs if every_layer else outputs[-1:]))


class Transformer(nn.Module):
    """Encoder and decoder.

    Args:
        channels: Width.
        num_heads: Attention heads.
        feedforward_channels: Width inside the feed-forward networks.
        num_encoder_layers: Encoder layers.
        num_decoder_layers: Decoder layers.
        dropout: Dropout rate.
    """

    def __init__(
        self,
        channels: int,
        num_heads: int,
        feedforward_channels: int,
        num_encoder_layers: int = 2,
        num_decoder_layers: int = 2,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        layer = dict(channels=channels, num_heads=num_heads, feedforward_channels=feedforward_channels, dropout=dropout)
        self.encoder = Encoder(num_encoder_layers, **layer)
        self.decoder = Decoder(num_decoder_layers, **layer)

    def init_weights(self) -> None:
        """Xavier initialisation of every matrix."""
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self, memory: Tensor, position: Tensor, query_position: Tensor, every_layer: bool) -> Tensor:
        """memory (B, S, D), position (S, D), query_position (Q, D) to (L, B, Q, D); see `Decoder`."""
        return self.decoder(query_position, self.encoder(memory, position), position, every_layer)
