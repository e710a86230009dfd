"""What an exported file says of itself. Needs none of the export's packages to be imported."""

import json
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from mmsf.engine.config_text import require_registered
from mmsf.errors import UserError

BACKENDS = ("onnxruntime", "openvino", "tensorrt")
INPUT = "images"
KEY = "mmsf"


def require(package: str) -> None:
    """Refuse to go on where a package of the extra ``deploy`` is missing.

    Raises:
        UserError: It is.
    """
    if find_spec(package) is None:
        raise UserError(f"{package} is not installed: pip install 'mmsf[deploy]'")


@dataclass(frozen=True)
class Description:
    """What stands in the file besides the graph.

    Attributes:
        version: Of mmsf.
        backend: For which it was written; "float" for a network that is not quantized.
        bits: Such as "w8a8".
        simulated: Some of the bits are below what the backend computes with.
        dynamic_batch: Takes any number of images at once; otherwise one.
        outputs: Names of the raw outputs.
        integers: Names in the graph of what the activation quantizers give, in the order in which they run; empty
            for one that reaches no raw output.
        model: Config of the `QuantWrapper`, or of the float detector.
    """

    version: str
    backend: str
    bits: str
    simulated: bool
    dynamic_batch: bool
    model: dict
    outputs: tuple[str, ...]
    integers: tuple[str, ...] = ()


def read_description(path: str | Path) -> Description:
    """What an exported file says of itself.

    Raises:
        UserError: The file is missing, damaged or not of mmsf, or onnx is not installed.
    """
    require("onnx")
    import onnx

    if not Path(path).is_file():
        raise UserError(f"{path} does not exist")
    try:
        properties = {p.key: p.value for p in onnx.load(path).metadata_props}
    except Exception as error:  # protobuf raises nearly anything on a damaged file
        raise UserError(f"{path} cannot be read as an ONNX file; it is damaged or none") from error
    if KEY not in properties:
        raise UserError(f"{path} was not written by tools/export.py, so it does not say how its outputs are decoded")
    try:
        description = Description(**json.loads(properties[KEY]))
    except (RecursionError, TypeError, ValueError) as error:
        raise UserError(f"{path} does not say how its outputs are decoded; it is damaged: {error}") from error
    require_registered(description.model, path)
    return description
