"""Every matrix product is met, however it is called, and both its operands are quantized."""

import pytest
import torch
from torch import Tensor, nn

from mmsf.quantization import MinMaxRange, QuantizationSettings, QuantizedNetwork

PRODUCTS = {
    "mm": lambda t, u: torch.mm(t, u),
    "a method": lambda t, u: t.mm(u),
    "mv": lambda t, u: torch.mv(t, u[:, 0])[:, None],
    "linalg": lambda t, u: torch.linalg.matmul(t, u),
    "a keyword": lambda t, u: torch.matmul(t, other=u),
    "keywords in another order": lambda t, u: torch.mm(mat2=u, input=t),
    "bmm by keyword": lambda t, u: torch.bmm(t[None], mat2=u[None])[0],
    "addmm": lambda t, u: torch.addmm(torch.full((6, 3), 0.3), t, u),
    "addmm by keyword": lambda t, u: torch.addmm(torch.full((6, 3), 0.3), mat1=t, mat2=u),
    "addmm with the sum in place": lambda t, u: torch.full((6, 3), 0.3).addmm_(t, u, beta=0.5),
    "baddbmm": lambda t, u: torch.baddbmm(torch.full((1, 6, 3), 0.3), t[None], u[None], alpha=2.0)[0],
}


class Product(nn.Module):
    """The product (6, 3) of what two layers make, of (6, 5) and of (5, 3)."""

    def __init__(self, product) -> None:
        super().__init__()
        self.left, self.right, self.product = nn.Linear(4, 5), nn.Linear(4, 3), product

    def forward(self, x: Tensor) -> Tensor:
        return self.product(self.left(x), self.right(x[:5]))


@pytest.mark.parametrize("product", PRODUCTS.values(), ids=PRODUCTS)
@torch.no_grad()
def test_both_operands_of_a_product_are_quantized(product):
    torch.manual_seed(0)
    network, x = Product(product).eval(), torch.randn(6, 4)
    quantized = QuantizedNetwork(network, lambda m: m(x), QuantizationSettings("w8a8"))
    assert quantized.call_names == [":matmul0"]
    with quantized.observing() as histograms, quantized.running():
        torch.testing.assert_close(quantized.network(x), network(x))
    columns = network(x).shape[1]
    assert quantized.multiply_accumulates[":matmul0"] == 6 * 5 * columns
    assert (histograms[":matmul0.0"].counts.sum(), histograms[":matmul0.1"].counts.sum()) == (6 * 5, 5 * columns)
    quantized.set_ranges(histograms, MinMaxRange(), MinMaxRange())
    with quantized.only(":matmul0"), quantized.running():
        left, right = (q(t) for q, t in zip(quantized.calls[0].operands, (network.left(x), network.right(x[:5]))))
        torch.testing.assert_close(quantized.network(x), product(left, right))


@torch.no_grad()
@torch.no_grad()
def test_an_einsum_counts_what_its_letters_say():
    class Masks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features, self.kernels = nn.Conv2d(3, 16, 1), nn.Linear(50, 16)

        def forward(self, x: Tensor) -> Tensor:
            return torch.einsum("bchw,bnc -> bnhw", self.features(x), self.kernels(x[:, 0, :6]))

    x = torch.randn(2, 3, 20, 50)
    quantized = QuantizedNetwork(Masks().eval(), lambda m: m(x), QuantizationSettings("w8a8"))
    assert quantized.multiply_accumulates[":matmul0"] == 2 * 6 * 20 * 50 * 16


def test_operands_of_sums_and_concatenations_may_be_given_by_keyword():
    class Joined(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other, self.after = nn.Linear(4, 5), nn.Linear(4, 5), nn.Linear(15, 2)

        def forward(self, x: Tensor) -> Tensor:
            one, other = self.one(x), self.other(x)
            both = torch.add(one, other=other, alpha=2)
            return self.after(torch.cat(dim=1, tensors=(one, other, both)))

    network, x = Joined().eval(), torch.randn(6, 4)
    quantized = QuantizedNetwork(network, lambda m: m(x), QuantizationSettings("w8a8", profile="onnxruntime"))
    assert [len(call.operands) for call in quantized.calls] == [2, 3]
    with quantized.switched_off(), quantized.running():
        torch.testing.assert_close(quantized.network(x), network(x))
