"""ResNet of basic blocks with torchvision's key names: the one backbone of every detector here."""

from collections.abc import Sequence

import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmsf.registry import MODELS

DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut.

    Only the first convolution is dilated, the second never is: torchvision's and pytorch-auto-drive's rule.

    Args:
        in_channels: Channels of the input.
        channels: Channels of the output.
        stride: Stride of the first convolution and of the shortcut.
        dilation: Dilation of the first convolution.
    """

    def __init__(self, in_channels: int, channels: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=dilation, dilation=dilation, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = None
        if stride != 1 or in_channels != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)) + shortcut)


@MODELS.register_module()
class ResNet(BaseModule):
    """ResNet without its classifier.

    Args:
        depth: 18 or 34; read where ``layers`` is not given.
        layers: Blocks of each stage, up to four stages. Stages beyond the last of ``out_indices`` are not built.
        widths: Channels of each stage; the stem has those of the first.
        out_indices: Stages (0 is ``layer1``) whose outputs are returned.
        replace_stride_with_dilation: For stages 2, 3 and 4: keep the resolution and double the dilation instead of halving
            the resolution. The first block of such a stage still uses the dilation of the stage before.

    Source:
        He et al., "Deep Residual Learning for Image Recognition", 2016.
    """

    def __init__(
        self,
        depth: int = 18,
        layers: Sequence[int] | None = None,
        widths: Sequence[int] = (64, 128, 256, 512),
        out_indices: Sequence[int] = (3,),
        replace_stride_with_dilation: Sequence[bool] = (False, False, False),
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        layers = DEPTHS[depth] if layers is None else tuple(layers)
        self.out_indices = tuple(out_indices)
        self.conv1 = nn.Conv2d(3, widths[0], 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        self.stage_names = []
        in_channels, dilation = widths[0], 1
        for stage in range(max(self.out_indices) + 1):
            stride, first_dilation = (1 if stage == 0 else 2), dilation
            if stage > 0 and replace_stride_with_dilation[stage - 1]:
                dilation, stride = dilation * stride, 1
            blocks = [BasicBlock(in_channels, widths[stage], stride, first_dilation)]
            blocks += [BasicBlock(widths[stage], widths[stage], 1, dilation) for _ in range(layers[stage] - 1)]
            self.stage_names.append(f"layer{stage + 1}")
            self.add_module(self.stage_names[-1], nn.Sequential(*blocks))
            in_channels = widths[stage]

    def init_weights(self) -> None:
        """He initialisation for convolutions, one and zero for batch norm; then what ``init_cfg`` asks for."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)
        super().init_weights()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Run the stages.

        Args:
            images: (B, 3, H, W), normalised.

        Returns:
            The outputs of the stages in ``out_indices``.
        """
        x = self.maxpool(F.relu(self.bn1(self.conv1(images))))
        outputs = []
        for index, name in enumerate(self.stage_names):
            x = getattr(self, name)(x)
            if index in self.out_indices:
                outputs.append(x)
        return tuple(outputs)
