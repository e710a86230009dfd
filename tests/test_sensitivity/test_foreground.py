"""Foreground maps: noise moves lanes where lanes are."""

import numpy as np
import pytest
import torch
from small_segmentation import small
from test_sensitivity.heads import LineAdapter, line_heads

from mmsf.adapters.base import HeadOutputs
from mmsf.lanes.distortion import DistortionRule
from mmsf.sensitivity.foreground import candidate_lanes, foreground_map

RULE = DistortionRule()
META = dict(ori_shape=(590, 1640))


def segmented(height: int = 8, width: int = 12, column: float = 3.5) -> tuple:
    """A map with one upright lane in its column, and the adapter that reads it."""
    adapter = small("scnn").adapter
    logits = torch.zeros(1, 5, height, width)
    logits[:, 0] = 3.0
    logits[:, 2] = 6.0 - 1.5 * (torch.arange(width) - column).square()
    raw = {"out": logits, "lane": torch.tensor([[-5.0, 5.0, -5.0, -5.0]])}
    return adapter, adapter.split(raw)


def mapped(adapter, heads, name: str = "location", size: float = 3.0, seed: int = 0, **settings):
    noise = torch.full([1] * heads.semantics[name].dim(), size)
    return foreground_map(adapter, heads, name, noise, META, RULE, torch.Generator().manual_seed(seed), **settings)


def test_noise_on_the_lane_moves_it_and_noise_on_the_background_does_not():
    found = mapped(*segmented(column=3.5), size=1.0, draws=1)
    assert found.scores.shape == found.confidence.shape == (8, 12)
    # The upper rows show the sky, in which no lane is looked for.
    assert (found.scores[3:, 3:5].sum(1) > 1).all()
    assert found.scores[:, 6:].max() == 0
    blocks, distortion = found.foreground_share
    assert blocks <= 2 / 12
    assert distortion > 0.9


def test_queries_that_are_no_lanes_may_err():
    adapter, heads, _ = line_heads(frames=1)
    found = mapped(adapter, heads, "position", size=0.2)
    assert found.scores.shape == (4,)
    assert (found.scores[:2] > 0).all()
    assert (found.scores[2:] == 0).all()
    assert found.foreground_share == (0.5, 1.0)


class Recorder(LineAdapter):
    """Keeps what it decodes."""

    def __init__(self):
        self.seen = []

    def decode(self, heads, metas):
        self.seen.append({name: tensor.clone() for name, tensor in heads.semantics.items()})
        return super().decode(heads, metas)


def test_every_place_gets_noise_of_the_same_size_alone():
    adapter, heads = Recorder(), line_heads(frames=1)[1]
    mapped(adapter, heads, "position", size=0.7, draws=1)
    versions = torch.cat([seen["position"] for seen in adapter.seen[1:]])
    changed = (versions - heads.semantics["position"])[..., 0]
    assert changed.shape == (4, 4)
    assert torch.allclose(changed.abs(), 0.7 * torch.eye(4), atol=1e-6)
    assert len(changed[changed != 0].round(decimals=4).unique()) == 1
    assert all(torch.equal(seen["bend"][:1], heads.semantics["bend"]) for seen in adapter.seen)


def test_channels_get_noise_of_their_own_size():
    adapter, heads = segmented()
    size = torch.arange(1.0, 6.0).view(1, 5, 1, 1)
    seen = []
    adapter.decode, decode = (
        (lambda heads, metas: seen.append(heads.semantics["location"]) or decode(heads, metas)),
        adapter.decode,
    )
    foreground_map(adapter, heads, "location", size, META, RULE, torch.Generator().manual_seed(0), draws=1, max_blocks=6)
    changed = (torch.cat(seen[1:]) - heads.semantics["location"]).abs()
    assert torch.allclose(changed.amax((0, 2, 3)), size.flatten())
    # Every place is in one block, and in one only.
    assert ((changed > 0).sum(0) == 1).all()


@pytest.mark.parametrize(("most", "side", "shape"), [(96, 1, (8, 12)), (95, 2, (4, 6)), (12, 3, (3, 4)), (1, 12, (1, 1))])
def test_blocks_grow_until_there_are_few_enough(most, side, shape):
    found = mapped(*segmented(), draws=1, max_blocks=most)
    assert (found.block, found.scores.shape, found.places) == (side, shape, (8, 12))
    assert found.scores.size <= most


def test_maps_of_places_without_a_candidate_are_not_tried():
    class Maps(LineAdapter):
        """One lane for each map (K, h, w) of ``position`` that has a confidence; it stands at the map's mean."""

        channel_axis = 1
        decoded = 0

        def gate(self, heads, name):
            return heads.confidences["lane"][:, None, :, None, None]

        def decode(self, heads, metas):
            type(self).decoded += len(metas)
            places = heads.semantics["position"].mean((1, 3, 4), keepdim=False)
            flat = HeadOutputs({"position": places[..., None], "bend": 0 * places[..., None]}, heads.confidences)
            return super().decode(flat, metas)

    heads = HeadOutputs({"position": torch.full((1, 1, 3, 4, 5), 8.0)}, {"lane": torch.tensor([[0.9, 0.0, 0.8]])})
    found = mapped(Maps(), heads, "position", size=5.0, draws=1)
    assert found.scores.shape == (3, 4, 5)
    assert (found.scores[[0, 2]] > 0).all()
    assert (found.scores[1] == 0).all()
    assert Maps.decoded == 1 + 2 * 20


def test_the_map_repeats_with_its_generator():
    one, same, other = (mapped(*segmented(), size=5.0, seed=seed, draws=1).scores for seed in (0, 0, 1))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_a_candidates_lane_is_what_it_would_be_if_it_were_certain():
    adapter, heads, metas = line_heads(frames=1)
    lanes = candidate_lanes(adapter, heads, "position", metas[0])
    sure = HeadOutputs(heads.semantics, {"lane": torch.ones(1, 4)})
    (expected,) = adapter.decode(sure, metas)
    assert [len(found) for found in lanes] == [1, 1, 1, 1]
    assert all(np.array_equal(found[0].points, lane.points) for found, lane in zip(lanes, expected))


def test_cells_of_a_map_are_no_candidates():
    adapter, heads = segmented()
    assert candidate_lanes(adapter, heads, "location", META) is None
