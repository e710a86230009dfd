"""Sessions of ONNX Runtime and OpenVINO behind one interface."""

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
import torch

from mmsf.deploy.description import INPUT, read_description, require
from mmsf.errors import UserError

# Backend -> the runtime that runs its files here. TensorRT's are standard ONNX; ONNX Runtime computes what they say.
RUNTIME_OF = {"float": "onnxruntime", "onnxruntime": "onnxruntime", "openvino": "openvino", "tensorrt": "onnxruntime"}


class Runtime(ABC):
    """A loaded file.

    Attributes:
        description: What the file says of itself.
    """

    def __init__(self, path: Path) -> None:
        self.description = read_description(path)

    @abstractmethod
    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Raw outputs by name, of one batch of preprocessed images (B, 3, H, W) float32."""

    def __call__(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Raw outputs by name of preprocessed images (B, 3, H, W), one by one where the file takes one at a time."""
        array = images.detach().cpu().numpy()
        parts = [array] if self.description.dynamic_batch else list(array[:, None])
        raws = [self.run(part) for part in parts]
        return {name: torch.from_numpy(np.concatenate([raw[name] for raw in raws])) for name in raws[0]}


class OnnxRuntime(Runtime):
    """ONNX Runtime on the processor.

    Args:
        path: The file.
        threads: Threads inside an operator.
    """

    def __init__(self, path: Path, threads: int) -> None:
        super().__init__(path)
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        if self.description.backend == "tensorrt":
            # To compute what the file says: ONNX Runtime would round its float biases to integers of 32 bits.
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.names = [output.name for output in self.session.get_outputs()]

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(self.names, self.session.run(None, {INPUT: images})))


class OpenVINO(Runtime):
    """OpenVINO on the processor.

    Args:
        path: The file.
        threads: Threads.
    """

    def __init__(self, path: Path, threads: int) -> None:
        super().__init__(path)
        import openvino

        core = openvino.Core()
        # Where a processor has bfloat16, floats would be rounded to it unasked.
        settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
        self.compiled = core.compile_model(core.read_model(str(path)), "CPU", settings)
        # A port may have names of OpenVINO's own besides.
        known = {*self.description.outputs, *self.description.integers}
        self.ports = {name: port for port in self.compiled.outputs for name in port.get_names() & known}
        self.request = self.compiled.create_infer_request()

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        results = self.request.infer({0: images})
        return {name: results[port].copy() for name, port in self.ports.items()}


_RUNTIMES = {"onnxruntime": OnnxRuntime, "openvino": OpenVINO}


def open_runtime(path: str | Path, runtime: str | None = None, threads: int | None = None) -> Runtime:
    """Load an exported file.

    Args:
        path: The file.
        runtime: "onnxruntime" or "openvino"; None for the one that it was written for (TensorRT's: ONNX Runtime).
        threads: None for as many as PyTorch uses.

    Raises:
        UserError: The file cannot be read, or the runtime is unknown or not installed.
    """
    runtime = runtime or RUNTIME_OF[read_description(path).backend]
    if runtime not in _RUNTIMES:
        raise UserError(f"unknown runtime {runtime!r}; known: {', '.join(_RUNTIMES)}")
    require(runtime)
    return _RUNTIMES[runtime](Path(path), threads or torch.get_num_threads())
