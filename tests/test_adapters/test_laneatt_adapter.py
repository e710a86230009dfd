"""LaneATT's adapter: heads, gates, and which rows of which anchors become lanes."""

import numpy as np
import pytest
import torch
from scipy.interpolate import InterpolatedUnivariateSpline

from mmsf.adapters import LaneATTAdapter
from mmsf.errors import UserError
from mmsf.lanes import Lane, line_nms

ROWS, WIDTH = 72, 640


def outputs(
    probabilities: list[float], x: list[float], starts: list[float] | None = None, lengths: list[float] | None = None
) -> dict[str, torch.Tensor]:
    """Raw outputs of one image: vertical lanes at x (pixels of 640) that by default cover all rows."""
    p = torch.tensor(probabilities, dtype=torch.float32)
    return {
        "logits": torch.stack((torch.log1p(-p), p.log()), -1)[None],
        "offsets": torch.tensor(x)[None, :, None].repeat(1, 1, ROWS),
        "lengths": torch.tensor([lengths or [float(ROWS)] * len(x)]),
        "starts": torch.tensor([starts or [0.0] * len(x)]),
    }


def decode(adapter: LaneATTAdapter, raw: dict[str, torch.Tensor], ori_shape: tuple[int, int] = (590, 1640)) -> list[Lane]:
    return adapter.decode(adapter.split(raw), [{"ori_shape": ori_shape}])[0]


def rows_of(lane: Lane) -> list[int]:
    """Rows of a lane in pixels of an image 590 high, counted from below, as listed."""
    return [round(71 * (1 - y / 590)) for y in lane.points[:, 1]]


def random_outputs(seed: int, batch: int = 3, anchors: int = 40) -> dict[str, torch.Tensor]:
    """Lanes that lean, begin anywhere, and leave the image."""
    generator = torch.Generator().manual_seed(seed)
    uniform = lambda *shape: torch.rand(*shape, generator=generator)  # noqa: E731
    slope = (uniform(batch, anchors, 1) - 0.5) * 30
    return {
        "logits": 3 * torch.randn(batch, anchors, 2, generator=generator),
        "offsets": 900 * uniform(batch, anchors, 1) - 130 + slope * torch.arange(72) + 10 * uniform(batch, anchors, 72),
        "lengths": 80 * uniform(batch, anchors) - 2,
        "starts": torch.randint(0, 72, (batch, anchors), generator=generator) / 71,
    }


def test_heads_are_shares_of_width_and_rows_and_let_gradients_through() -> None:
    raw = {name: value.requires_grad_() for name, value in random_outputs(0).items()}
    heads = LaneATTAdapter().split(raw)
    assert tuple(heads.semantics) == LaneATTAdapter.semantic_heads == ("offsets", "length")
    assert torch.equal(heads.semantics["offsets"], raw["offsets"] / WIDTH)
    assert torch.equal(heads.semantics["length"], raw["lengths"][..., None] / ROWS)
    assert torch.equal(heads.constants["starts"], raw["starts"])
    sum(value.sum() for value in [*heads.semantics.values(), heads.confidences["lane"].square()]).backward()
    assert all(raw[name].grad.abs().sum() > 0 for name in ("logits", "offsets", "lengths"))


@pytest.mark.parametrize("name", LaneATTAdapter.semantic_heads)
def test_the_gate_of_an_anchor_is_its_lane_probability(name: str) -> None:
    raw, adapter = random_outputs(1), LaneATTAdapter()
    heads = adapter.split(raw)
    gate = adapter.gate(heads, name)
    assert torch.equal(gate[..., 0], raw["logits"].softmax(-1)[..., 1])
    assert torch.broadcast_shapes(gate.shape, heads.semantics[name].shape) == heads.semantics[name].shape


def test_an_anchor_at_the_threshold_is_no_lane_and_the_most_confident_comes_first() -> None:
    lanes = decode(LaneATTAdapter(), outputs([0.5, 0.75, 0.25, 0.875], [100.0, 300.0, 400.0, 500.0]))
    assert [round(lane.points[0, 0] / 1640 * WIDTH) for lane in lanes] == [500, 300]
    assert [lane.score for lane in lanes] == pytest.approx([0.875, 0.75])


def test_neighbours_are_suppressed_in_pixels_of_the_networks_input() -> None:
    raw = outputs([0.9, 0.8], [100.0, 149.0])
    assert len(decode(LaneATTAdapter(), raw)) == 1
    assert len(decode(LaneATTAdapter(nms_distance=48.0), raw)) == 2
    assert len(decode(LaneATTAdapter(input_width=1280), raw)) == 1


def test_at_most_max_lanes_stay() -> None:
    raw = outputs([0.9, 0.8, 0.7, 0.6, 0.55], [0.0, 100.0, 200.0, 300.0, 400.0])
    assert len(decode(LaneATTAdapter(), raw)) == 4
    assert len(decode(LaneATTAdapter(max_lanes=None), raw)) == 5


def test_the_two_projects_differ_in_which_lanes_are_a_row_shorter_for_the_suppression() -> None:
    # A lane of less than a row covers no row for the authors; here it still shows, on its way down to the image's border.
    raw = outputs([0.9, 0.8], [100.0, 100.0], starts=[0.5, 0.5], lengths=[0.9, 0.9])
    assert len(decode(LaneATTAdapter(length_quirk="pad"), raw)) == 1
    assert len(decode(LaneATTAdapter(length_quirk="original"), raw)) == 2


def test_a_lane_covers_its_rows_and_those_below_it_inside_the_image_top_down() -> None:
    raw = outputs([0.9], [320.0], starts=[10 / 71], lengths=[5.0])
    assert rows_of(decode(LaneATTAdapter(), raw)[0]) == list(range(14, -1, -1))
    raw["offsets"][0, 0, 4] = 641.0
    assert rows_of(decode(LaneATTAdapter(), raw)[0]) == list(range(14, 4, -1))


def test_points_beyond_the_left_border_go_and_those_beyond_the_right_one_stay() -> None:
    raw = outputs([0.9], [320.0])
    raw["offsets"][0, 0, 20], raw["offsets"][0, 0, 30] = -0.5, 700.0
    lane = decode(LaneATTAdapter(), raw)[0]
    assert rows_of(lane) == [row for row in range(71, -1, -1) if row != 20]
    assert lane.points[:, 0].max() == pytest.approx(700 / 640 * 1640)


def test_a_length_is_rounded_half_to_even() -> None:
    for length, rows in ((4.5, 4), (5.5, 6)):
        assert len(decode(LaneATTAdapter(), outputs([0.9], [320.0], lengths=[length]))[0]) == rows


def test_a_lane_of_one_point_is_dropped() -> None:
    assert decode(LaneATTAdapter(), outputs([0.9], [320.0], lengths=[1.0])) == []


def original_lanes(raw: dict[str, torch.Tensor], image: int, quirk: str) -> list[np.ndarray]:
    """Normalised points of each lane, top-down, anchor by anchor and row by row."""
    scores = raw["logits"][image].softmax(-1)[:, 1].numpy()
    (anchors,) = np.nonzero(scores > 0.5)
    starts, lengths, xs = (raw[name][image].numpy()[anchors] for name in ("starts", "lengths", "offsets"))
    lanes = []
    for anchor in line_nms(scores[anchors], starts, lengths, xs, 50.0, 4, quirk):
        x = xs[anchor] / WIDTH
        start, length = round(float(starts[anchor]) * 71), round(float(lengths[anchor]))
        rows = set(range(start, min(start + length - 1, 71) + 1))
        for row in range(start - 1, -1, -1):
            if not 0 <= x[row] <= 1:
                break
            if row <= start + length - 1:
                rows.add(row)
        points = [(float(x[row]), 1 - row / 71) for row in sorted(rows, reverse=True) if x[row] >= 0]
        if len(points) > 1:
            lanes.append(np.array(points))
    return lanes


@pytest.mark.parametrize("quirk", ["pad", "original"])
@pytest.mark.parametrize("seed", range(8))
def test_lanes_are_the_originals(seed: int, quirk: str) -> None:
    raw, adapter = random_outputs(seed), LaneATTAdapter(length_quirk=quirk)
    decoded = adapter.decode(adapter.split(raw), [{"ori_shape": (590, 1640)}] * 3)
    assert sum(map(len, decoded)) > 0
    for image, lanes in enumerate(decoded):
        want = original_lanes(raw, image, quirk)
        assert [len(lane) for lane in lanes] == [len(points) for points in want]
        for lane, points in zip(lanes, want):
            np.testing.assert_allclose(lane.points, points * (1640, 590), atol=1e-3)


@pytest.mark.parametrize("seed", range(4))
def test_the_authors_spline_is_sampled_at_every_pixel_row_bottom_up(seed: int) -> None:
    raw, adapter = random_outputs(seed), LaneATTAdapter(length_quirk="original", spline=True)
    decoded = adapter.decode(adapter.split(raw), [{"ori_shape": (590, 1640)}] * 3)
    for image, lanes in enumerate(decoded):
        want = []
        for points in original_lanes(raw, image, "original"):
            spline = InterpolatedUnivariateSpline(points[:, 1], points[:, 0], k=min(3, len(points) - 1))
            rows = np.arange(590) / 590
            x = spline(rows)
            x[(rows < points[:, 1].min() - 0.01) | (rows > points[:, 1].max() + 0.01)] = -2
            sampled = np.stack((x * 1640, rows * 590), 1)[(x >= 0) & (x < 1)][::-1]
            want += [sampled] if len(sampled) else []
        assert [len(lane) for lane in lanes] == [len(points) for points in want]
        for lane, points in zip(lanes, want):
            np.testing.assert_allclose(lane.points, points, atol=1e-4)


def test_a_batch_is_decoded_as_its_images_one_by_one() -> None:
    raw, adapter = random_outputs(3), LaneATTAdapter()
    metas = [{"ori_shape": (590 + image, 1640)} for image in range(3)]
    together = adapter.decode(adapter.split(raw), metas)
    for image, lanes in enumerate(together):
        alone = adapter.decode(
            adapter.split({name: v[image : image + 1] for name, v in raw.items()}), metas[image : image + 1]
        )
        assert [lane.points.tobytes() for lane in lanes] == [lane.points.tobytes() for lane in alone[0]]


def test_perturbed_heads_are_decoded() -> None:
    adapter = LaneATTAdapter()
    heads = adapter.split(outputs([0.9], [320.0]))
    heads.semantics["offsets"] = heads.semantics["offsets"] + 0.01
    heads.semantics["length"] = heads.semantics["length"] - 10 / ROWS
    lane = adapter.decode(heads, [{"ori_shape": (590, 1640)}])[0][0]
    assert len(lane) == 62
    np.testing.assert_allclose(lane.points[:, 0], 0.51 * 1640, rtol=1e-5)


def test_an_image_without_lanes_gets_none() -> None:
    assert decode(LaneATTAdapter(), outputs([0.1], [320.0])) == []


def test_an_unknown_quirk_is_refused() -> None:
    with pytest.raises(UserError, match="pad or original"):
        LaneATTAdapter(length_quirk="none")
