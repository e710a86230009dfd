"""Brevitas's learned rounding on the network of a job: ``python brevitas_learned_round.py FOLDER`` where Brevitas is."""

import sys
from argparse import Namespace
from functools import partial

import torch
from brevitas.graph.quantize import layerwise_quantize
from brevitas.nn import QuantIdentity
from brevitas_examples.common.learned_round.learned_round_args import TrainerConfig
from brevitas_examples.common.learned_round.learned_round_trainer import LearnedRoundTrainer, get_blocks
from brevitas_examples.imagenet_classification.ptq import learned_round_utils as vision
from brevitas_examples.imagenet_classification.ptq.ptq_common import calibrate, create_quant_maps
from exchange import Job

# Defaults of Brevitas's own command line for quantization after training (ptq_imagenet_args.py).
ITERATIONS, BATCH_SIZE, CALIBRATION_BATCH_SIZE, PERCENTILE = 1000, 1, 64, 99.999
DIFFERENCES = [
    "activation quantizers are set first and stay on while weights are tuned",
    "weights' ranges: the largest value of a channel, Brevitas's default, in place of mmsf's MSE",
    f"activations' ranges, where they are Brevitas's own: percentile {PERCENTILE}, its default",
    "layers are tuned in the order in which they were made, not in which they run",
    "a batch is drawn along the first axis, which in attention may be the places and not the frames",
    "the regulariser's schedule follows the iterations asked for; Brevitas's own stays at 1000",
    "without a GPU tuning is in float32, where Brevitas's own is in float16",
]


def main() -> None:
    torch.manual_seed(0)
    job = Job(sys.argv[1])
    iterations = job.iterations or ITERATIONS
    loader = job.loader(CALIBRATION_BATCH_SIZE, labels=True)
    layer_map, operand = quantizers(job)
    ours = {f"network.{name}" for name in job.layers}
    idle = [name for name, module in job.network.named_modules() if type(module) in layer_map and name not in ours]
    model = layerwise_quantize(job.network, compute_layer_map=layer_map, name_blacklist=idle).eval()
    for operands, number in job.operands.values():
        operands[number] = QuantIdentity(act_quant=operand, return_quant_tensor=False)
    with job.running():
        with job.timed("activation ranges"):
            calibrate(loader, model)
        job.report_each(LearnedRoundTrainer, "_training_loop")
        with job.timed("tuning"):
            LearnedRoundTrainer(settings(iterations)).train(
                model=model,
                model_forward=vision.vision_forward,
                block_forward=vision.vision_block_forward,
                data_loader=loader,
                cache=vision.CacheVision(),
                get_blocks_fn=partial(get_blocks, block_check_fn=vision.is_layer),
            )
    model.eval()
    weights, activations = {}, {}
    for name in job.layers:
        layer = model.get_submodule(f"network.{name}")
        if hasattr(layer, "quant_weight"):
            quantized = layer.quant_weight()
            weights[name] = quantized.value, quantized.scale
            activations[name] = proxy(layer.input_quant)
    for name, (operands, number) in job.operands.items():
        activations[name] = proxy(operands[number].act_quant)
    job.save(weights, activations, ["brevitas", "accelerate"], iterations, BATCH_SIZE, DIFFERENCES)


def quantizers(job: Job) -> tuple[dict, type]:
    """Brevitas's quantized layers with mmsf's bits and symmetry, and its quantizer of an operand."""
    _, layer_map, _, identity = create_quant_maps(
        dtype=torch.float32,
        bias_bit_width=None,
        weight_bit_width=job.bits.weight,
        weight_param_method="stats",
        weight_scale_type="float_scale",
        weight_quant_type="sym",
        weight_quant_granularity="per_channel",
        weight_narrow_range=False,
        weight_quant_format="int",
        act_quant_format="int",
        act_bit_width=job.bits.activation,
        act_scale_type="float_scale",
        act_scale_computation_type="static",
        act_param_method="stats",
        act_quant_type="asym",
        act_quant_granularity="per_tensor",
        act_quant_percentile=PERCENTILE,
    )
    return layer_map, identity["signed"][1]["act_quant"]


def settings(iterations: int) -> TrainerConfig:
    """Brevitas's settings at the defaults of its command line, AdaRound's soft rounding chosen."""
    config = vision.parse_args_to_dataclass(
        Namespace(
            learned_round="hard_sigmoid",
            learned_round_loss="regularised_mse",
            learned_round_mode="layerwise",
            learned_round_iters=iterations,
            learned_round_lr=1e-3,
            learned_round_lr_scheduler=None,
            learned_round_batch_size=BATCH_SIZE,
        )
    )
    regulariser = config.training_args.losses_args[0]
    regulariser.kwargs = {"max_count": iterations}
    config.training_args.use_amp = torch.cuda.is_available()
    return config


def proxy(quantizer: torch.nn.Module) -> tuple[torch.nn.Module, torch.Tensor, torch.Tensor]:
    """A quantizer of activations as a module of plain tensors, its scale and its zero point."""
    scale, zero_point = quantizer.scale(), quantizer.zero_point()
    return Values(quantizer), scale, zero_point


class Values(torch.nn.Module):
    """A quantizer whose outputs are plain tensors."""

    def __init__(self, quantizer: torch.nn.Module) -> None:
        super().__init__()
        self.quantizer = quantizer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.quantizer(x)
        return getattr(out, "value", out)


if __name__ == "__main__":
    main()
