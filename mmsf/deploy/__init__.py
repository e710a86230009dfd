"""Export to ONNX, runtimes, and parity with the quantized model."""

from mmsf.deploy.detector import DeployedDetector
from mmsf.deploy.runtime import Runtime, open_runtime

__all__ = ["DeployedDetector", "Runtime", "open_runtime"]
