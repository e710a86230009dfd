"""The loop of a sensitivity analysis: everything that says where quantization hurts the lanes, and no tuning."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch.utils.data import DataLoader

from mmsf.adapters.base import HeadOutputs
from mmsf.adapters.errors import channel_rms
from mmsf.engine.bit_planner import BitPlanner, layer_cost, open_layers
from mmsf.engine.calibration import CalibrationFrames
from mmsf.engine.loop import PTQLoop
from mmsf.engine.progress import with_progress
from mmsf.errors import UserError, require_whole
from mmsf.evaluation.samples import frame_name
from mmsf.lanes.lane import Lane
from mmsf.quantization import Bits
from mmsf.registry import LOOPS
from mmsf.sensitivity import ForegroundMap, algorithm1_scores, candidate_lanes, foreground_map
from mmsf.sensitivity.budget import Budget, plan_bits
from mmsf.sensitivity.scoring import DistortionScorer, frames_of

HIGH = Bits(8, 8)
# Layers whose score is below this share of the highest one are left as they are.
WORTH_BITS = 0.05


@dataclass(frozen=True)
class HeadForeground:
    """The foreground map of a head in one calibration frame.

    Attributes:
        path: Of the image.
        name: Of the image, below the data set.
        head: Name of the semantic head.
        map: Scores of its places.
        noise: Size of the noise in each channel, in the head's units.
        lanes: The float model's lanes, pixels of the original image.
        candidates: The lane of each place, if any, where places are candidates; else None.
        seen_from: Share of the image's height, from its top, that the network does not see.
    """

    path: str
    name: str
    head: str
    map: ForegroundMap
    noise: list[float]
    lanes: list[Lane]
    candidates: list[list[Lane]] | None
    seen_from: float


@LOOPS.register_module()
class SensitivityLoop(PTQLoop):
    """Ranges, and then where they leave the lanes: by head, by layer, by place.

    Args:
        runner: The runner.
        dataloader: Calibration frames, as `PTQLoop`.
        weight_range: As `PTQLoop`.
        activation_range: As `PTQLoop`.
        weight_correction: As `PTQLoop`.
        equalisation: As `PTQLoop`.
        bit_planner: As `PTQLoop`.
        curves: As `PTQLoop`.
        distortion: As `PTQLoop`.
        layer_frames: Calibration frames on which layers are scored, the first ones.
        foreground_frames: Calibration frames of which foreground maps are made: the first in which the float model sees a
            lane.
        draws: Draws of the noise for each place of a foreground map.
        more_bits: Share of the multiply-accumulates that may go to 8 bits in the plan that is tried at the end.
        memory_mb: As `PTQLoop`.

    Raises:
        UserError: A number is out of its range.

    Attributes:
        algorithm1: Semantic head -> mean Lane Distortion Score of a frame, when that head alone is the calibrated model's.
        confidences: Confidence -> the same.
        all_heads: The same with every head the calibrated model's.
        layer_scores: Layer or function call -> mean Lane Distortion Score when it alone is quantized.
        foreground: The foreground maps.
        plan: Layers at 8 bits, what they weigh, and the scores without and with them; empty where nothing can be tried.
    """

    # What is analysed is what a run that tunes begins with.
    tunes = True

    def __init__(
        self,
        runner,
        dataloader: DataLoader | dict,
        weight_range: dict,
        activation_range: dict,
        weight_correction: bool = False,
        equalisation: bool = False,
        bit_planner: dict | None = None,
        curves: dict | None = None,
        distortion: dict | None = None,
        layer_frames: int = 32,
        foreground_frames: int = 2,
        draws: int = 2,
        more_bits: float = 0.25,
        memory_mb: float = 4096,
    ) -> None:
        require_whole("SensitivityLoop", "layer_frames", layer_frames, 1)
        require_whole("SensitivityLoop", "foreground_frames", foreground_frames, 0)
        require_whole("SensitivityLoop", "draws", draws, 1)
        if not 0 < more_bits <= 1:
            raise UserError(f"SensitivityLoop: more_bits must be a share of the multiply-accumulates; got {more_bits}")
        super().__init__(
            runner,
            dataloader,
            0,
            weight_range,
            activation_range,
            weight_correction=weight_correction,
            equalisation=equalisation,
            bit_planner=bit_planner,
            curves=curves,
            distortion=distortion,
            cost_samples=0,
            memory_mb=memory_mb,
        )
        self.layer_frames, self.foreground_frames = layer_frames, foreground_frames
        self.draws, self.more_bits = draws, more_bits
        self.algorithm1: dict[str, float] = {}
        self.confidences: dict[str, float] = {}
        self.all_heads = 0.0
        self.layer_scores: dict[str, float] = {}
        self.foreground: list[HeadForeground] = []
        self.plan: dict = {}
        self._uncorrected: dict[str, torch.Tensor] = {}

    def run(self) -> torch.nn.Module:
        """The recipe."""
        self.runner.call_hook("before_train")
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        with self.timed("loading"):
            self.frames = CalibrationFrames.collect(self.dataloader, self.memory)
            self.model.adapter.complete(self.frames.samples)
        self.check_decoding()
        self.evaluate("float")
        self.estimate_ranges()
        self.evaluate("calibrated")
        self.keep_float_outputs()
        self.see_lanes()
        self.measure_curves()
        self.errors["before"] = self.semantic_errors()
        self.score_heads()
        self.map_foreground()
        self.score_layers()
        self.try_more_bits()
        self.runner.call_hook("after_train_epoch")
        self.runner.call_hook("after_train")
        return self.runner.model

    def score_heads(self) -> None:
        """Replace one head by the calibrated model's, decode, score: the semantic ones (Algorithm 1), then confidences."""
        adapter = self.model.adapter
        with self.timed("heads"):
            target, output = self.float_and_calibrated()
            total = algorithm1_scores(adapter, target, output, self.metas, self.rule)
            self.algorithm1 = {name: score / len(self.frames) for name, score in total.items()}
            scorer = DistortionScorer(adapter, target, self.metas, self.rule)
            for name, confidence in output.confidences.items():
                replaced = HeadOutputs(target.semantics, {**target.confidences, name: confidence}, target.constants)
                self.confidences[name] = float(scorer.of(replaced).mean())
            self.all_heads = float(scorer.of(output).mean())

    def map_foreground(self) -> None:
        """Disturb places of the float model's heads, all by noise of the size of the calibrated model's error."""
        adapter = self.model.adapter
        target, output = self.float_and_calibrated()
        sizes = {name: channel_rms(adapter, target, output, name) for name in adapter.semantic_heads}
        generator = torch.Generator().manual_seed(self.runner.seed)
        lanes = adapter.decode(target, self.metas)
        # The maps are drawn on the frames, which are read again.
        seen = [index for index, found in enumerate(lanes) if found and "img_path" in self.metas[index]]
        chosen = seen[: self.foreground_frames]
        places = [(index, name) for index in chosen for name in adapter.semantic_heads]
        with self.timed("foreground"):
            for index, name in with_progress(places, len(places), "foreground maps"):
                heads, meta = frames_of(target, slice(index, index + 1)), self.metas[index]
                scores = foreground_map(adapter, heads, name, sizes[name], meta, self.rule, generator, self.draws)
                self.foreground.append(
                    HeadForeground(
                        path=meta["img_path"],
                        name=frame_name(meta),
                        head=name,
                        map=scores,
                        noise=sizes[name].flatten().tolist(),
                        lanes=lanes[index],
                        candidates=candidate_lanes(adapter, heads, name, meta),
                        seen_from=getattr(adapter, "crop_top", 0) / getattr(adapter, "crop_height", 1),
                    )
                )

    def score_layers(self) -> None:
        """Quantize one layer or function call alone, decode, score."""
        network = self.model.quantized
        names = [name for name in network.bits if network.quantizers_of(name)]
        with self.timed("layers"):
            self.layer_scores = BitPlanner(frames=self.layer_frames).score_layers(self, names)

    def try_more_bits(self) -> None:
        """Put the layers whose own score is high for what they weigh at 8 bits, and measure what that wins."""
        network = self.model.quantized
        uniform = network.uniform_bits
        low, together = open_layers(network)
        highest = max(map(self.layer_scores.get, low), default=0.0)
        if None in (uniform.weight, uniform.activation) or uniform == HIGH or not highest:
            return
        # The plan takes it that a layer at 8 bits moves no lane; the measurement does not.
        won = {name: score if (score := self.layer_scores[name]) > WORTH_BITS * highest else 0.0 for name in low}
        costs = {name: layer_cost(network, name) for name in low}
        budget = Budget("mac_share", self.more_bits)
        chosen = plan_bits({name: {uniform: score, HIGH: 0.0} for name, score in won.items()}, costs, budget, together)
        layers = sorted((n for n, bits in chosen.items() if bits == HIGH), key=lambda name: -self.layer_scores[name])
        if not layers:
            return
        with self.timed("more bits"):
            calibrated = _copied(network.state_dict())
            # Ranges are those of the float network.
            network.load_state_dict(self._uncorrected or calibrated)
            self.set_bits(dict.fromkeys(layers, HIGH), self.observe())
            if self.weight_correction:
                super().correct_weights()
            output = self.model.adapter.split(super().quantized_outputs())
            after = DistortionScorer(self.model.adapter, self.float_and_calibrated()[0], self.metas, self.rule).of(output)
            network.set_bits(dict.fromkeys(layers, uniform))
            network.load_state_dict(calibrated)
        share = sum(costs[name].multiply_accumulates for name in layers) / sum(network.multiply_accumulates.values())
        self.plan = dict(
            layers=layers, bits=HIGH.as_list(), mac_share=share, score=self.all_heads, score_with=float(after.mean())
        )

    def correct_weights(self) -> None:
        """As `PTQLoop`; what there was before is kept, to be quantized with other bits."""
        self._uncorrected = _copied(self.model.quantized.state_dict())
        super().correct_weights()

    def float_and_calibrated(self) -> tuple[HeadOutputs, HeadOutputs]:
        """Heads of the float and of the calibrated model for the calibration frames."""
        everything = list(range(len(self.frames)))
        return self.model.kept_heads(everything), self.model.adapter.split(self.calibrated_outputs)

    @cached_property
    def calibrated_outputs(self) -> dict[str, torch.Tensor]:
        """Raw outputs of the calibrated model for the calibration frames."""
        return super().quantized_outputs()

    def quantized_outputs(self, index: list[int] | None = None) -> dict[str, torch.Tensor]:
        """As `PTQLoop`; of all frames those of the calibrated model, which are kept."""
        return self.calibrated_outputs if index is None else super().quantized_outputs(index)

    @property
    def metas(self) -> list[dict]:
        """Metainfo of the calibration frames."""
        return [sample.metainfo for sample in self.frames.samples]


def _copied(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in state.items()}
