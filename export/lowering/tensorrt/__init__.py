"""Canonical graphs → the ONNX that TensorRT and TensorRT-RTX parse into strongly typed networks.

`lower` rewrites a decoder, `lower_encoder` a vision or audio encoder, for what the target's version of the library has;
`quantize` then turns products into explicit Q/DQ form. All of it is standard ONNX, so that ONNX Runtime and ONNX's
reference evaluator run it too, which is how it is compared with PyTorch where there is no GPU.
"""

from mosear.export.lowering.tensorrt.decoder import lower
from mosear.export.lowering.tensorrt.encoders import lower_encoder
from mosear.export.lowering.tensorrt.quantize import fallbacks, quantize

__all__ = ["fallbacks", "lower", "lower_encoder", "quantize"]
