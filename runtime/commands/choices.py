"""The choices that several commands offer."""

from enum import Enum


class Provider(str, Enum):
    """Where ONNX Runtime computes."""

    cpu = "cpu"
    cuda = "cuda"
