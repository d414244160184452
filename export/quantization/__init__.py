"""Fewer bits for the constant weights of products, as ONNX Runtime's kernels take them."""
