"""A small network with everything that quantization has to find: folding, sharing, attention, sums, idle branches."""

import torch
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(channels)
        self.training_only = nn.Conv2d(channels, channels, 1)
        self.training_norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return (self.bn2(self.conv2(self.bn1(self.conv1(x)).relu())) + x).relu()


class ToyNetwork(nn.Module):
    """Two heads; ``shared`` runs twice a forward; ``late_norm`` follows a sum and cannot be folded."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, stride=2)
        self.stem_norm = nn.BatchNorm2d(16)
        self.block = ResidualBlock(16)
        self.late_norm = nn.BatchNorm2d(16)
        self.shared = nn.Conv2d(16, 16, 1)
        self.attention = nn.MultiheadAttention(16, 2)
        self.up = nn.ConvTranspose2d(16, 8, 3, stride=2)
        self.up_norm = nn.BatchNorm2d(8)
        self.offset = nn.Linear(16, 4)
        self.existence = nn.Linear(16, 2)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        x = self.late_norm(self.block(self.stem_norm(self.stem(images)).relu()))
        x = self.shared(self.shared(x).relu())
        upper = self.up_norm(self.up(x))
        tokens = x.flatten(2).permute(2, 0, 1)
        tokens = tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]
        return {
            "offset": self.offset(tokens),
            "existence": self.existence(tokens).sigmoid(),
            "map": torch.cat((upper, upper.relu()), 1),
        }


def toy_network(seed: int = 0) -> ToyNetwork:
    """A toy in eval mode whose batch norms are no identities."""
    torch.manual_seed(seed)
    network = ToyNetwork().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
    return network


def toy_images(count: int = 2, seed: int = 1) -> Tensor:
    return torch.randn(count, 3, 17, 25, generator=torch.Generator().manual_seed(seed))
