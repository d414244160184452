"""An engine that a bundle holds: what it was made from, and where it runs."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Capability = Annotated[str, Field(pattern=r"^[0-9]+\.[0-9]$")]


class EngineFile(BaseModel):
    """One engine.

    Attributes:
        file: name of its file in the bundle.
        graph: name of the graph that it was compiled from.
        library: what runs it.
        version: of the library, which must be the very same.
        compute_capabilities: of the GPUs that it runs on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str
    graph: str
    library: Literal["tensorrt", "tensorrt_rtx"]
    version: str
    compute_capabilities: Annotated[list[Capability], Field(min_length=1)]

    def runs_on(self, library: str, version: str, capability: str) -> bool:
        """Whether it is for this library on a GPU of this compute capability."""
        return (self.library, self.version) == (library, version) and capability in self.compute_capabilities
