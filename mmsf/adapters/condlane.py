"""CondLaneNet: seeds, and what the convolution made for each seed says of every row."""

import numpy as np
import torch
from torch import Tensor

from mmsf.adapters.base import FRAME, Adapter, HeadOutputs
from mmsf.adapters.ganet import first_near_group
from mmsf.errors import UserError
from mmsf.lanes.crop import rows_cut
from mmsf.lanes.lane import Lane
from mmsf.registry import TASK_UTILS

HEADS = ("masks", "kernels")
STRIDE = 8  # pixels of the network's input that are one cell of a mask
LOWEST = 1e-4  # probabilities of the heat map are cut to this and to one minus this


@TASK_UTILS.register_module()
class CondLaneAdapter(Adapter):
    """Heads and decoding of CondLaneNet for CULane, by its authors' rules.

    The semantic heads are ``location``, where in each row the lane is, and ``offset``, how far from a cell's left side. With
    two heads the paper selects k = 1. Confidences are ``heat``, that a lane begins in a cell, (B, 1, h, w), and ``rows``,
    (B, K, H): the probability of a seed's cell times that of the lane reaching the row. What the two heads are made of, the
    paper leaves open:

    * "masks": the logits of the lane's column and the offsets at each seed, (B, 1, K, H, W), gated by ``rows``. It is what
      decoding reads: an error counts where it moves a lane, not in rows which the lane does not reach, and by what it does
      to the mask. The features, which kernels alone do not see, are held to the float model's as well. Two models are
      compared at the seeds of the float model (``places``); at seeds of their own, different lanes would be compared. The
      default.
    * "kernels": the kernels of every cell for mask and offset, (B, C + 3, h, w), gated by ``heat``: heads and gate stand on
      one grid and do not depend on seeds. But a kernel's numbers are not alike: an error of the bias shifts a whole mask, to
      which the softmax over a row is blind; that of a weight counts by how strong its feature is. An error of the features
      is seen by ``rows`` only. Perturbed kernels move a mask by what the features make of their change; ``rows`` stays.

    Args:
        input_size: Height and width of the network's input, pixels.
        crop_top: Rows that the network does not see, at the top of an image that is ``crop_height`` high, pixels; in another
            image the same share of it (as `mmsf.datasets.LoadImage` cuts).
        crop_height: Pixels.
        heads: "masks" or "kernels".
        radius: Cells of the heat map; seeds so near to each other, or nearer, are of one lane.
        best_seed: Of a lane's seeds the most probable one counts. The authors meant to do so, but their code takes the last
            one in the order of rows, however improbable; False does the same.
        nearest_column: The offset is read at the column nearest to the middle of the mask, as the authors trained it. Their
            code cuts the column to a whole number, half a cell to the left on average; False does the same.

    Raises:
        UserError: The heads are unknown.

    Source:
        Liu et al., "CondLaneNet: a Top-to-down Lane Detection Framework Based on Conditional Convolution", 2021.
    """

    semantic_heads = ("location", "offset")
    channel_axis = 1
    places = ("seeds",)
    compact = ("params", "mask_branch", "seed_mask", "seed_reg")

    def __init__(
        self,
        input_size: tuple[int, int] = (320, 800),
        crop_top: int = 270,
        crop_height: int = 590,
        heads: str = "masks",
        radius: float = 4.0,
        best_seed: bool = False,
        nearest_column: bool = False,
    ) -> None:
        if heads not in HEADS:
            raise UserError(f"CondLaneAdapter: heads={heads!r} is unknown; choose one of {', '.join(HEADS)}")
        self.input_size = tuple(input_size)
        self.crop_top = crop_top
        self.crop_height = crop_height
        self.heads = heads
        self.has_points = heads == "masks"
        self.radius = radius
        self.best_seed = best_seed
        self.nearest_column = nearest_column

    def split(self, raw: dict[str, Tensor]) -> HeadOutputs:
        """Split ``hm_logit``, ``seeds``, ``seed_mask``, ``seed_reg`` and ``seed_range``; with the heads "kernels" also
        ``params`` and ``mask_branch``. Shapes are those of `mmsf.models.CondLaneNet`."""
        heat = raw["hm_logit"].sigmoid().clamp(LOWEST, 1 - LOWEST)
        seeds = raw["seeds"]
        rows = raw["seed_range"].softmax(2)[:, :, 1] * _at(heat, seeds)
        confidences = {"heat": heat, "rows": rows}
        maps = {"location": raw["seed_mask"][:, None], "offset": raw["seed_reg"][:, None]}
        if self.heads == "masks":
            return HeadOutputs(maps, confidences, {"seeds": seeds})
        kernels = dict(zip(self.semantic_heads, raw["params"].chunk(2, 1)))
        constants = {f"{name}_map": value for name, value in maps.items()}
        constants |= {f"{name}_kernels": _at(value, seeds) for name, value in kernels.items()}
        return HeadOutputs(kernels, confidences, {"seeds": seeds, "features": raw["mask_branch"], **constants})

    def gate(self, heads: HeadOutputs, name: str) -> Tensor:
        """Of each row at each seed, (B, 1, K, H, 1), or of each cell, (B, 1, h, w)."""
        return heads.confidences["rows"][:, None, ..., None] if self.heads == "masks" else heads.confidences["heat"]

    @torch.no_grad()
    def decode(self, heads: HeadOutputs, metas: list[dict]) -> list[list[Lane]]:
        """Read the columns of the kept seeds off their maps: lanes in the order of their first seeds' rows, points top-down.

        A lane reaches from the row above its first one to the row below its last one, gaps included.

        Raises:
            UserError: A head is NaN or infinite.
        """
        for name, head in (heads.semantics | heads.confidences).items():
            if not head.isfinite().all():
                raise UserError(f"CondLaneNet's {name!r} is NaN or infinite: its weights or the images are broken")
        image, slot = self._kept(heads)
        index = tuple(torch.from_numpy(part).to(heads.constants["seeds"].device) for part in (image, slot))
        score = _at(heads.confidences["heat"], heads.constants["seeds"])[index]
        # Of the row's two classes the lane is the likelier one.
        valid = (heads.confidences["rows"][index] > 0.5 * score).cpu().numpy()
        scores = score[:, 0].cpu().numpy()
        location, offset = (self._map(heads, name, *index) for name in self.semantic_heads)
        width = location.shape[-1]
        middle = (location.softmax(-1) * torch.arange(width, device=location.device)).sum(-1)
        column = (middle + 0.5 * self.nearest_column).long().clamp(max=width - 1)
        x = (column + offset.gather(-1, column[..., None])[..., 0]).cpu().numpy().astype(np.float64)
        last_row = x.shape[1] - 1
        first = np.maximum(valid.argmax(1) - 1, 0)
        last = np.minimum(last_row - valid[:, ::-1].argmax(1) + 1, last_row)
        lanes: list[list[Lane]] = [[] for _ in metas]
        for lane in np.flatnonzero(valid.any(1) & (last > first)):
            meta = metas[image[lane]]
            rows = np.arange(first[lane], last[lane] + 1)
            lanes[image[lane]].append(Lane(self._to_image(x[lane, rows], rows, meta), scores[lane]))
        return lanes

    def points(self, heads: HeadOutputs, reference: HeadOutputs) -> Tensor:
        """x of every row at each seed, read between the two columns that the row's expected column lies between: (B, K, H).

        Decoding reads at the one of them. Where the offset makes up for the column, an error of the column costs nothing.

        Raises:
            UserError: The heads are kernels, which no row can be read off.
        """
        if self.heads != "masks":
            raise UserError("CondLaneAdapter: a loss on lanes needs heads='masks'")
        location, offset = (heads.semantics[name][:, 0] for name in self.semantic_heads)
        index = torch.arange(location.shape[-1], device=location.device, dtype=location.dtype)
        middle = (location.softmax(-1) * index).sum(-1, keepdim=True)
        left = middle.detach().floor().long().clamp(max=location.shape[-1] - 2)
        share = middle - left
        read = index + offset
        x = read.gather(-1, left) * (1 - share) + read.gather(-1, left + 1) * share
        return x[..., 0] * (STRIDE * FRAME[1] / self.input_size[1])

    def point_weights(self, reference: HeadOutputs) -> Tensor:
        """The probability of the seed and the row."""
        return reference.confidences["rows"]

    def _kept(self, heads: HeadOutputs) -> tuple[np.ndarray, np.ndarray]:
        """Image and place among the seeds of one seed a lane."""
        seeds = heads.constants["seeds"].cpu().numpy()
        image, slot = np.nonzero(seeds >= 0)
        cell = seeds[image, slot]
        columns = heads.confidences["heat"].shape[-1]
        group = first_near_group(image, np.stack((cell % columns, cell // columns), 1), self.radius)
        rank = np.arange(len(image))
        if self.best_seed:
            heat = heads.confidences["heat"].detach().flatten(1).cpu().numpy()
            rank = np.argsort(np.argsort(heat[image, cell], kind="stable"))
        # The last one of each group after sorting by image, group and rank.
        order = np.lexsort((rank, group, image))
        ends = np.ones(len(order), bool)
        ends[:-1] = (np.diff(group[order]) != 0) | (np.diff(image[order]) != 0)
        return image[order[ends]], slot[order[ends]]

    def _map(self, heads: HeadOutputs, name: str, image: Tensor, slot: Tensor) -> Tensor:
        """The map (n, H, W) that a head gives for some seeds."""
        if self.heads == "masks":
            return heads.semantics[name][image, 0, slot]
        seeds = heads.constants["seeds"]
        made = heads.constants[f"{name}_map"][image, 0, slot]
        # A map is linear in its kernel: what the network made of it, and what the kernel's change adds (nothing, exactly, if
        # the kernel is the network's own).
        change = (_at(heads.semantics[name], seeds) - heads.constants[f"{name}_kernels"])[image, slot]
        features = heads.constants["features"]
        height, width = features.shape[2:]
        column, row, weights, bias = change[..., None, None].split((1, 1, features.shape[1], 1), 1)
        x = torch.arange(width, device=features.device) / width
        y = torch.arange(height, device=features.device)[:, None] / width
        plane = (column * x + row * y + bias)[:, 0]
        return made + plane + _products(weights[..., 0, 0], features, image)

    def _to_image(self, x: np.ndarray, rows: np.ndarray, meta: dict) -> np.ndarray:
        """Columns (R,) of a mask's rows (R,), cells, to pixels (R, 2) of the original image."""
        height, width = meta["ori_shape"][:2]
        cut = rows_cut(height, self.crop_top, self.crop_height)
        scale = np.array([width / self.input_size[1], (height - cut) / self.input_size[0]])
        return np.stack((x, rows), 1) * STRIDE * scale + (0, cut)


def _at(values: Tensor, seeds: Tensor) -> Tensor:
    """A map's numbers (B, C, h, w) at seeds (B, K), as (B, K, C); zeros where there is no seed."""
    picked = values.flatten(2).gather(2, seeds.clamp(min=0)[:, None].expand(-1, values.shape[1], -1)).transpose(1, 2)
    return torch.where(seeds[..., None] >= 0, picked, 0.0)


def _products(weights: Tensor, features: Tensor, image: Tensor) -> Tensor:
    """Weights (n, C) over the features (B, C, H, W) of each one's image, to (n, H, W)."""
    made = [torch.einsum("nc,chw->nhw", weights[image == i], maps) for i, maps in enumerate(features)]
    return torch.cat(made)  # images ascend
