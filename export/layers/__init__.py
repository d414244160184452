"""A lowered decoder against PyTorch, layer by layer: which layer departs, and by how much."""

from mosear.export.layers.compare import (
    LayerRow,
    ReferenceLayer,
    compare_accumulated,
    compare_head,
    compare_layers,
)

__all__ = ["LayerRow", "ReferenceLayer", "compare_accumulated", "compare_head", "compare_layers"]
