"""ONNX → engines for TensorRT and TensorRT-RTX, whose Python packages have one shape: built, kept, found again."""
