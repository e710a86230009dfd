"""Layers equal torch's own, and constants follow from sizes."""

import numpy as np
import pytest
import torch
from torch import nn

from mmsf.models.checkpoints import unpack_attention
from mmsf.models.layers.attention import MultiheadAttention
from mmsf.models.layers.matmul import MatMul
from mmsf.models.layers.position import SinePositionEmbedding, sine_position_embedding


def test_attention_equals_torchs_packed_attention() -> None:
    torch.manual_seed(0)
    packed = nn.MultiheadAttention(32, 2, batch_first=True).eval()
    nn.init.normal_(packed.in_proj_bias)
    ours = MultiheadAttention(32, 2).eval()
    ours.load_state_dict(unpack_attention(packed.state_dict()), strict=True)
    query, key, value = torch.randn(3, 7, 32), torch.randn(3, 20, 32), torch.randn(3, 20, 32)
    torch.testing.assert_close(ours(query, key, value), packed(query, key, value)[0], rtol=1e-5, atol=1e-6)


def test_attention_holds_its_projections_and_products_as_modules_of_their_type() -> None:
    modules = dict(MultiheadAttention(32, 2).named_modules())
    assert {name for name, m in modules.items() if type(m) is nn.Linear} == {"q_proj", "k_proj", "v_proj", "out_proj"}
    assert {name for name, m in modules.items() if type(m) is MatMul} == {"scores", "context"}


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(ValueError, match="3 heads"):
        MultiheadAttention(32, 3)


def test_the_position_embedding_follows_from_the_size_of_the_features() -> None:
    embed = SinePositionEmbedding(32)
    for height, width in ((5, 13), (9, 25)):
        position = embed(torch.zeros(1, 8, height, width))
        assert position.dtype == torch.float32
        assert torch.equal(position, torch.from_numpy(sine_position_embedding(height, width, 32)))
    assert not list(embed.state_dict())


def test_the_position_embedding_holds_the_row_first_and_alternates_sine_and_cosine() -> None:
    position = sine_position_embedding(4, 6, 32).reshape(4, 6, 32)
    rows, columns = position[..., :16], position[..., 16:]
    np.testing.assert_array_equal(rows[:, 0], rows[:, 5])
    np.testing.assert_array_equal(columns[0], columns[3])
    # The first two features turn once over the rows: the last of four rows is at 2 pi, the second at pi.
    np.testing.assert_allclose(rows[[3, 1], 0, :2], [[0.0, 1.0], [0.0, -1.0]], atol=1e-5)
