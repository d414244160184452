"""The configuration of a MoSEAR checkpoint: which transformers architectures it is made of, and how they are joined."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mosear.model.reallocation import Reallocation
from mosear.runtime import manifest
from mosear.runtime.errors import BadInput
from mosear.runtime.modality import LABELS
from mosear.runtime.prompt import Prompt

CONFIG_FILE = "config.json"
EXPERTS = ("visual", "non_visual", "omni")
"""The experts of MoSE (Han et al., ACM MM 2025): for visual tokens, for audio and text tokens, and for all tokens."""


@dataclass(frozen=True)
class Mose:
    """Mixture of modality-specific LoRA experts.

    Attributes:
        r: rank of every expert.
        alpha: LoRA scale; the experts' sum is multiplied by ``alpha / r``.
        temperature: temperature T of the gate's softmax.
        share_a: one A matrix for all experts of a module (the paper's choice) or one each.
        balance: weight λ of the gate regularization in the training loss.
        target_modules: names of the decoder's linear modules that carry experts.
    """

    r: int = 16
    alpha: float = 16.0
    temperature: float = 1.0
    share_a: bool = True
    balance: float = 0.01
    target_modules: tuple[str, ...] = ("q_proj", "v_proj")


@dataclass(frozen=True)
class Preprocessing:
    """What turns media into the encoders' inputs; the same values go into a bundle's manifest.

    Attributes:
        frame_size: side of a square frame, pixels.
        frames: frames a window.
        window_s: length of a window, seconds.
        sample_rate: hertz.
    """

    frame_size: int = 64
    frames: int = 8
    window_s: float = 3.0
    sample_rate: int = 16000

    @property
    def window_samples(self) -> int:
        """Samples in a window."""
        return round(self.window_s * self.sample_rate)


@dataclass(frozen=True)
class MosearConfig:
    """A whole MoSEAR model.

    ``vision``, ``audio`` and ``decoder`` are configurations of transformers as dictionaries, ``model_type`` included.

    Attributes:
        vision: ``clip_vision_model``, ``siglip_vision_model`` or ``videomae``.
        audio: ``whisper``, ``hubert`` or ``wav2vec2``.
        decoder: any causal language model.
        visual_grid: each image (or each tubelet step of a video encoder) becomes ``visual_grid²`` tokens.
        audio_tokens: tokens that a window of sound becomes.
        prompt: the prompt's template and task texts.
        labels: the label words.
        mose: the experts, or None for a checkpoint without them.
        reallocation: attention reallocation at inference, or None.
        notice: one line that is printed wherever the model runs.
        licences: licence notices of the weights.
    """

    vision: dict[str, Any]
    audio: dict[str, Any]
    decoder: dict[str, Any]
    prompt: Prompt
    name: str = "mosear"
    visual_grid: int = 2
    audio_tokens: int = 6
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    labels: tuple[str, ...] = LABELS
    mose: Mose | None = None
    reallocation: Reallocation | None = None
    notice: str = ""
    licences: tuple[str, ...] = ()

    @property
    def frames_per_clip(self) -> int:
        """Frames that one call of the vision encoder reads together: 1 for image encoders."""
        return int(self.vision["num_frames"]) if self.vision["model_type"] == "videomae" else 1

    def save(self, folder: Path) -> None:
        """Write ``config.json`` into ``folder``."""
        content = dataclasses.asdict(self)
        (folder / CONFIG_FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> MosearConfig:
        """Read ``config.json`` of a checkpoint.

        Raises:
            BadInput: the file is missing, is not JSON, or holds a key that this version does not know.
        """
        path = folder / CONFIG_FILE
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise BadInput(
                f"{folder} is not a MoSEAR checkpoint: it has no {CONFIG_FILE}",
                "give the folder that holds config.json and model.safetensors, or `reference`",
            ) from error
        except (OSError, ValueError) as error:
            raise BadInput(f"{path} can't be read: {error}", "restore the checkpoint's config.json") from error
        try:
            return cls.from_dict(content)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise BadInput(
                f"{path} does not describe a MoSEAR model: {error}", "compare it with model/README.md"
            ) from error

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> MosearConfig:
        """Build a configuration from plain dictionaries and lists, as JSON or YAML give them."""
        values = dict(content)
        values["prompt"] = Prompt(**values["prompt"])
        values["preprocessing"] = Preprocessing(**values.get("preprocessing", {}))
        for key in ("labels", "licences"):
            if key in values:
                values[key] = tuple(values[key])
        if values.get("mose"):
            mose = dict(values["mose"])
            if "target_modules" in mose:
                mose["target_modules"] = tuple(mose["target_modules"])
            values["mose"] = Mose(**mose)
        if values.get("reallocation"):
            reallocation = dict(values["reallocation"])
            if reallocation.get("layers") is not None:
                reallocation["layers"] = tuple(reallocation["layers"])
            values["reallocation"] = Reallocation(**reallocation)
        return cls(**values)


def preprocessing_of(config: MosearConfig) -> manifest.Preprocessing:
    """A checkpoint's preprocessing as a manifest states it."""
    pre = config.preprocessing
    return manifest.Preprocessing(
        frame_size=pre.frame_size,
        frames=pre.frames,
        frames_per_clip=config.frames_per_clip,
        sample_rate=pre.sample_rate,
        window_s=pre.window_s,
    )
