"""Export: a network as one ONNX file that needs nothing of ours. Needs the extra `mematte[onnx]`."""

from .verify import Verification
from .write import LOWEST_OPSET, Exported, Precision, export_onnx

__all__ = ["LOWEST_OPSET", "Exported", "Precision", "Verification", "export_onnx"]
