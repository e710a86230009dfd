"""A quantized detector as an ONNX file that is checked before it stands, as `tools/export.py` starts it."""

from collections.abc import Callable
from pathlib import Path

import torch

from mmsf.deploy.description import BACKENDS, Description
from mmsf.deploy.exportable import ExportedNetwork
from mmsf.deploy.frames import read_frames
from mmsf.deploy.onnx_file import finish, write_graph
from mmsf.deploy.parity import Parity, measure_parity
from mmsf.deploy.runtime import RUNTIME_OF, open_runtime
from mmsf.engine.config import apply_options, read_config, require_keys, set_roots
from mmsf.engine.quantized_file import is_exported, model_config, read_quantized
from mmsf.engine.weights import detector_type, require_detector
from mmsf.engine.wrapper import QuantWrapper
from mmsf.errors import UserError
from mmsf.files import require_place, whole_or_absent
from mmsf.models.checkpoints import load_float_checkpoint
from mmsf.models.detectors.base import require_size
from mmsf.version import __version__

# OpenVINO has DeformableConvolution, but does not read ONNX's node.
WITHOUT_DEFORM_CONV = ("openvino", "tensorrt")
# Weights of 4 bits: the format has them, and these read it. OpenVINO fails to compile such convolutions.
WITH_4_BIT_WEIGHTS = ("onnxruntime",)


def export(
    config: str | Path,
    weights: str | Path,
    backend: str,
    out: str | Path,
    *,
    frames: int = 16,
    checkpoint: str | None = None,
    data_root: str | None = None,
    simulated: bool = False,
    options: dict | None = None,
    say: Callable[[str], None] = print,
) -> Parity:
    """Write the network up to the raw outputs, and check on frames that a runtime computes the same.

    Args:
        config: A float or PTQ config; it gives the frames.
        weights: ``quantized.pth``, tuned in the backend's profile.
        backend: One of ``BACKENDS``.
        out: The file, an ``.onnx``; it stands only if the check succeeds.
        frames: Frames of the check.
        checkpoint: The float weights. With them, quantization's error is taken against the float model; without them,
            against the quantized model with its quantizers switched off.
        data_root: Folder of the data set.
        simulated: Allow bits that the backend has no numbers for: they are held in 8-bit numbers.
        options: Settings that replace the config's.
        say: Takes lines for the user.

    Raises:
        UserError: A wrong argument or file, weights of another profile, or no parity.
    """
    if backend not in BACKENDS:
        raise UserError(f"unknown backend {backend!r}; known: {', '.join(BACKENDS)}")
    if not is_exported(out):
        raise UserError(f"--out {out} must end in .onnx: by it an exported file is told from weights")
    cfg = read_config(config)  # imports what the model may be made of
    apply_options(cfg, options or {})
    require_keys(cfg, "test_dataloader.dataset")
    set_roots(cfg, data_root, None)
    require_place(out)
    require_detector(detector_type(cfg.get("model") or {}), model_config(weights), weights)
    model = read_quantized(weights)
    if model.adapter.predicts_itself:
        raise UserError(f"{weights} is decoded by its detector's own predict, which a file cannot hold; it is not exported")
    if model.quantized.profile.name != backend:
        raise UserError(
            f"{weights} was quantized in the profile {model.quantized.profile.name!r}, which {backend} does not run; "
            f"quantize again with --cfg-options model.quantizer.profile={backend}"
        )
    needs_simulation = simulated_bits(model, backend)
    if needs_simulation and not simulated:
        raise UserError(
            f"{backend} has no numbers for {', '.join(needs_simulation)}; --simulated writes them as 8-bit numbers of fewer "
            "values, which is neither smaller nor faster than 8 bits"
        )
    if needs_simulation:
        say(f"simulated: {', '.join(needs_simulation)} are held in 8-bit numbers")
    if checkpoint is not None:
        load_float_checkpoint(model.float_detector, checkpoint)
    shown = read_frames(cfg, frames, model.data_preprocessor)
    require_size(shown.images, model.input_size)
    with whole_or_absent(out) as temporary:
        dynamic = write_file(temporary, weights, backend, shown.images, bool(needs_simulation))
        say(f"{Path(out).name}: {temporary.stat().st_size / 2**20:.2f} MiB, batch {'of any size' if dynamic else 'of one'}")
        parity = measure_parity(model, temporary, shown, checkpoint is not None)
        say(f"{RUNTIME_OF[backend]}: {parity}")
        if parity.failures:
            raise UserError(
                f"{out} is not written, {RUNTIME_OF[backend]} does not compute it as is: {'; '.join(parity.failures)}"
            )
    return parity


def simulated_bits(model: QuantWrapper, backend: str) -> list[str]:
    """Bits that the backend does not compute with, in words."""
    weight_bits = {8, 4} if backend in WITH_4_BIT_WEIGHTS else {8}
    found = set()
    for name, bits in model.quantized.bits.items():
        is_layer = name not in model.quantized.call_names
        if is_layer and bits.weight not in {None, *weight_bits}:
            found.add(f"{bits.weight}-bit weights")
        if bits.activation not in {None, 8}:
            found.add(f"{bits.activation}-bit activations")
    return sorted(found)


def write_file(path: Path, weights: str | Path, backend: str, images: torch.Tensor, simulated: bool) -> bool:
    """Write and describe the graph, with a batch of any size where the network allows it.

    Args:
        path: Where it goes.
        weights: ``quantized.pth``.
        backend: One of ``BACKENDS``.
        images: Preprocessed frames (N, 3, H, W).
        simulated: Stands in the description.

    Returns:
        Whether the batch may be of any size.
    """
    image = images[:1]
    _write(path, weights, backend, image, simulated, dynamic_batch=True)
    if _takes_any_batch(path, image):
        return True
    _write(path, weights, backend, image, simulated, dynamic_batch=False)
    return False


def _write(path: Path, weights: str | Path, backend: str, image: torch.Tensor, simulated: bool, dynamic_batch: bool) -> None:
    model = read_quantized(weights)
    with torch.no_grad():
        names = list(model.quantized_raw(image))
    has_4_bits = any(bits.weight == 4 for bits in model.quantized.bits.values())
    description = Description(
        version=__version__,
        backend=backend,
        bits="w{}a{}".format(*model.quantized.uniform_bits.as_list()),
        simulated=simulated,
        dynamic_batch=dynamic_batch,
        model=model_config(weights).to_dict(),
        outputs=tuple(names),
    )
    network = ExportedNetwork(model.quantized, names, backend not in WITHOUT_DEFORM_CONV)
    write_graph(path, network, image, names, dynamic_batch)
    finish(path, description, has_4_bits and backend in WITH_4_BIT_WEIGHTS)


def _takes_any_batch(path: Path, image: torch.Tensor) -> bool:
    """Whether two copies of an image at once give twice what one gives."""
    runtime = open_runtime(path)
    one = runtime(image)
    try:
        two = runtime(image.expand(2, -1, -1, -1).contiguous())
    except Exception:  # the runtimes' own, for a shape that was fixed while the network was traced
        return False
    return all(
        len(two[name]) == 2 and torch.allclose(two[name], value.expand_as(two[name]), rtol=1e-3, atol=1e-5)
        for name, value in one.items()
    )
