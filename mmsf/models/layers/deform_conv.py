"""Deformable convolution in plain PyTorch, first version and modulated."""

import math

import torch
from torch import Tensor, nn


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


class DeformConv2d(nn.Module):
    """Convolution whose taps are moved by offsets that another layer predicts.

    A sample between pixels is interpolated bilinearly; pixels outside the map count as zero. With a mask it is the modulated
    second version, without one the first. Offsets are laid out as mmcv has them: deformable group by group, tap by tap in
    row-major order, dy before dx.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Height and width of the kernel, or one number for both.
        stride: Stride.
        padding: Zero padding of height and width.
        dilation: Distance of the taps before they are moved.
        groups: Groups of channels that are convolved apart.
        deform_groups: Groups of input channels with offsets of their own.
        bias: Add a bias.

    Source:
        Dai et al., "Deformable Convolutional Networks", 2017; Zhu et al., "Deformable ConvNets v2", 2019.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        deform_groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if in_channels % groups or out_channels % groups or in_channels % deform_groups:
            raise ValueError(f"{groups} groups or {deform_groups} deformable groups do not divide {in_channels} channels")
        self.kernel_size, self.stride = _pair(kernel_size), _pair(stride)
        self.padding, self.dilation = _pair(padding), _pair(dilation)
        self.groups, self.deform_groups = groups, deform_groups
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels // groups, *self.kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))

    def forward(self, x: Tensor, offset: Tensor, mask: Tensor | None = None) -> Tensor:
        """Convolve.

        Args:
            x: (B, C, H, W).
            offset: (B, 2 * G * K, H', W') in pixels of ``x``, for G deformable groups and K taps.
            mask: (B, G * K, H', W') factors of the samples; None for the first version.

        Returns:
            (B, O, H', W').
        """
        return self.forward_with_weight(self.weight, self.bias, x, offset, mask)

    def forward_with_weight(
        self, weight: Tensor, bias: Tensor | None, x: Tensor, offset: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """`forward` with another weight and bias of the same shapes; so quantized ones take part."""
        batch, _, *size = offset.shape
        samples = self._samples(x, offset)  # (B, G, H'W', K, C/G)
        if mask is not None:
            samples = samples * mask.reshape(batch, self.deform_groups, -1, samples.shape[2]).transpose(2, 3)[..., None]
        # Channels in their order again, then apart by the groups that are convolved apart.
        columns = samples.permute(0, 2, 3, 1, 4).flatten(3).unflatten(3, (self.groups, -1))
        kernels = weight.flatten(2).unflatten(0, (self.groups, -1))
        out = torch.einsum("blkgc,gock->bgol", columns, kernels).reshape(batch, -1, *size)
        return out if bias is None else out + bias[:, None, None]

    def _positions(self, offset: Tensor) -> tuple[Tensor, Tensor]:
        """Where each tap samples: y and x, each (B, G, H'W', K), in pixels of the input."""
        batch, _, *size = offset.shape
        cells, taps = (
            torch.meshgrid(*(torch.arange(count, device=offset.device) for count in counts), indexing="ij")
            for counts in (size, self.kernel_size)
        )
        moved = offset.reshape(batch, self.deform_groups, -1, 2, math.prod(size)).transpose(2, 4)  # (B, G, H'W', 2, K)
        return tuple(
            cells[axis].reshape(-1, 1) * self.stride[axis]
            - self.padding[axis]
            + taps[axis].flatten() * self.dilation[axis]
            + moved[:, :, :, axis]
            for axis in (0, 1)
        )

    def _samples(self, x: Tensor, offset: Tensor) -> Tensor:
        """Interpolated values (B, G, H'W', K, C/G)."""
        batch, _, height, width = x.shape
        y, column = self._positions(offset)
        # A sample one pixel outside is zero already; further ones are moved there, so that every index is in the padded map.
        y, column = y.clamp(-1, height), column.clamp(-1, width)
        top, left = y.floor(), column.floor()
        below, right = y - top, column - left
        padded = nn.functional.pad(x, (1, 2, 1, 2))
        rows, columns = padded.shape[-2:]
        # One row of memory a pixel: a sample reads all channels of its deformable group at once.
        pixels = padded.unflatten(1, (self.deform_groups, -1)).permute(0, 1, 3, 4, 2).flatten(0, 3)
        first = torch.arange(batch * self.deform_groups, device=x.device).view(batch, -1, 1, 1) * (rows * columns)
        index = first + (top.long() + 1) * columns + left.long() + 1
        samples = 0
        for step, share in (
            (0, (1 - below) * (1 - right)),
            (1, (1 - below) * right),
            (columns, below * (1 - right)),
            (columns + 1, below * right),
        ):
            corner = pixels.index_select(0, (index + step).flatten())
            samples = samples + corner.view(*index.shape, -1) * share[..., None]
        return samples
