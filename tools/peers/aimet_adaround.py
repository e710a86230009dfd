"""AIMET's AdaRound on the network of a job: ``python aimet_adaround.py FOLDER`` in an environment with aimet-torch."""

import copy
import json
import sys
from contextlib import ExitStack

import torch
from exchange import Job

# A torchvision without its compiled operators cannot be imported, since it describes two that torch has not heard of.
try:
    import torchvision  # noqa: F401
except RuntimeError:
    for _module in [name for name in sys.modules if name.startswith("torchvision")]:
        del sys.modules[_module]
    _LIBRARY = torch.library.Library("torchvision", "DEF")
    _LIBRARY.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _LIBRARY.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from aimet_torch._base.adaround.adaround_optimizer import BATCH_SIZE, AdaroundOptimizer
from aimet_torch._base.adaround.adaround_wrapper import AdaroundWrapperBase
from aimet_torch.adaround.adaround_weight import Adaround, AdaroundParameters
from aimet_torch.common.defs import QuantScheme
from aimet_torch.nn import QuantizationMixin
from aimet_torch.quantization.affine import QuantizeDequantize
from aimet_torch.quantization.encoding_analyzer import SqnrEncodingAnalyzer

DIFFERENCES = [
    "weights' ranges: AIMET's tf_enhanced (least quantization noise), its default for AdaRound, in place of mmsf's MSE",
    "the regulariser's exponent falls along a cosine in place of a line",
]


def main() -> None:
    torch.manual_seed(0)
    job = Job(sys.argv[1])
    loader = job.loader(BATCH_SIZE)
    # Losses, position embeddings: nothing that has a weight to tune.
    QuantizationMixin.ignore_unknown_modules()
    job.report_each(AdaroundOptimizer, "adaround_module", kept=rounding)
    parameters = AdaroundParameters(
        loader, len(loader), default_num_iterations=job.iterations, forward_fn=lambda model, images: model(images)
    )
    with job.timed("tuning"):
        tuned = Adaround.apply_adaround(
            without_hooks(job.network),
            job.images[:1],
            parameters,
            path=str(job.folder),
            filename_prefix="adaround",
            default_param_bw=job.bits.weight,
            default_quant_scheme=QuantScheme.post_training_tf_enhanced,
            default_config_file="default",  # weights per output channel
        )
    encodings = json.loads((job.folder / "adaround.encodings").read_text())["param_encodings"]
    limit = 2 ** (job.bits.weight - 1)
    weights = {}
    for name, layer in job.layers.items():
        if found := encodings.get(f"network.{name}.weight"):
            weight = tuned.get_submodule(f"network.{name}").weight.detach()
            shape = [1] * weight.dim()
            shape[1 if isinstance(layer, torch.nn.ConvTranspose2d) else 0] = -1
            scale = torch.tensor([channel["scale"] for channel in found]).view(shape)
            # AIMET leaves soft weights; its own quantizer rounds them when the network runs.
            weights[name] = ((weight / scale).round().clamp(-limit, limit - 1) * scale, scale)
            layer.weight.copy_(weights[name][0])
    quantizers = activation_quantizers(job)
    with job.timed("activation ranges"), torch.no_grad(), job.running(), ExitStack() as stack:
        for quantizer in quantizers.values():
            stack.enter_context(quantizer.compute_encodings())
        for images in loader:
            job.network(images)
    job.save(
        weights,
        {name: (q, q.get_scale(), -q.get_offset()) for name, q in quantizers.items()},
        ["aimet-torch"],
        job.iterations or (15000 if job.bits.weight < 8 else 10000),
        min(BATCH_SIZE, len(job.images)),
        DIFFERENCES,
    )


def rounding(module: torch.nn.Module, wrapper: AdaroundWrapperBase, *_, **__) -> dict[str, torch.Tensor]:
    """What AIMET tunes of a layer. It rounds softly before it is tuned and hard from then on."""
    wrapper.use_soft_rounding = False
    return {"alpha": wrapper.alpha}


def without_hooks(network: torch.nn.Module) -> torch.nn.Module:
    """A copy without mmsf's hooks, which say where products of activations are: AIMET copies some of them and some not."""
    network = copy.deepcopy(network)
    for module in network.modules():
        module._forward_hooks.clear()
        module._forward_hooks_always_called.clear()
        module._forward_pre_hooks.clear()
    return network


def activation_quantizers(job: Job) -> dict[str, QuantizeDequantize]:
    """AIMET's quantizers at mmsf's places, in the network: every layer's input, every operand of a product."""

    def quantizer() -> QuantizeDequantize:
        analyzer = SqnrEncodingAnalyzer(())
        return QuantizeDequantize((), 0, 2**job.bits.activation - 1, symmetric=False, encoding_analyzer=analyzer)

    found = {name: quantizer() for name in [*job.layers, *job.operands]}
    for name, layer in job.layers.items():
        layer.register_forward_pre_hook(lambda _, inputs, q=found[name]: (q(inputs[0]), *inputs[1:]))
    for name, (operands, number) in job.operands.items():
        operands[number] = found[name]
    return found


if __name__ == "__main__":
    main()
