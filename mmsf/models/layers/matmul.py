"""A matrix product as a module, so that it can be found and wrapped by its type."""

from torch import Tensor, nn


class MatMul(nn.Module):
    """Batched product of two activations."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Multiply.

        Args:
            a: (..., N, K).
            b: (..., K, M).

        Returns:
            (..., N, M).
        """
        return a @ b
