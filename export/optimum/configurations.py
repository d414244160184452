"""The four components as `optimum` exporter configurations.

They say what `mosear.export.graphs.signatures` says, in `optimum`'s words: names in order, dynamic axes, dummy inputs.
"""

from __future__ import annotations

from typing import ClassVar

from optimum.exporters.base import ExporterConfig

from mosear.export.graphs.signatures import GraphSignature
from mosear.export.optimum.dummies import ComponentInputs
from mosear.export.optimum.normalized import NormalizedMosearConfig
from mosear.model.configuration import MosearConfig


class ComponentExporterConfig(ExporterConfig):
    """One component's inputs, outputs, dynamic axes and dummy inputs.

    Args:
        config: a checkpoint's configuration.
    """

    COMPONENT: ClassVar[str]
    NORMALIZED_CONFIG_CLASS = NormalizedMosearConfig
    DUMMY_INPUT_GENERATOR_CLASSES = (ComponentInputs,)

    def __init__(self, config: MosearConfig) -> None:
        super().__init__(config, task=self.COMPONENT)

    @property
    def signature(self) -> GraphSignature:
        """The component's signature."""
        return self._normalized_config.signatures[self.COMPONENT]

    @property
    def inputs(self) -> dict[str, dict[int, str]]:
        """By input, in the graph's order: the symbol of every dynamic axis."""
        return {tensor.name: tensor.dynamic_axes for tensor in self.signature.inputs}

    @property
    def outputs(self) -> dict[str, dict[int, str]]:
        """By output, in the graph's order: the symbol of every dynamic axis."""
        return {tensor.name: tensor.dynamic_axes for tensor in self.signature.outputs}


class VisionExporterConfig(ComponentExporterConfig):
    """Frames to visual tokens."""

    COMPONENT = "vision"


class AudioExporterConfig(ComponentExporterConfig):
    """Samples to audio tokens."""

    COMPONENT = "audio"


class PrefillExporterConfig(ComponentExporterConfig):
    """The decoder on a prompt."""

    COMPONENT = "prefill"


class DecodeExporterConfig(ComponentExporterConfig):
    """The decoder on one token behind a KV cache."""

    COMPONENT = "decode"


COMPONENTS: tuple[type[ComponentExporterConfig], ...] = (
    VisionExporterConfig,
    AudioExporterConfig,
    PrefillExporterConfig,
    DecodeExporterConfig,
)


def exporter_configs(config: MosearConfig) -> dict[str, ComponentExporterConfig]:
    """The exporter configuration of every component of a checkpoint, by the component's name."""
    return {kind.COMPONENT: kind(config) for kind in COMPONENTS}
