"""The rows and tables of a report, each a plain record that becomes JSON as it stands."""

from __future__ import annotations

from dataclasses import dataclass

from mosear.evaluation.metrics.calibration import Bin


@dataclass(frozen=True)
class SubsetRow:
    """Accuracy on one subset of clips.

    Attributes:
        clips: labelled clips in it.
        pytorch: share that the PyTorch model, experts unmerged, answers right.
        bundle: share that the bundle answers right.
        agreement: share on which both give the same label.
        lost: clips that only PyTorch answers right.
        gained: clips that only the bundle answers right.
    """

    clips: int
    pytorch: float
    bundle: float
    agreement: float
    lost: int
    gained: int


@dataclass(frozen=True)
class Reliability:
    """Confidence against accuracy, after the temperature.

    Attributes:
        temperature: that the label scores were divided by.
        clips: labelled clips.
        bundle: bins of the bundle.
        pytorch: bins of the PyTorch model.
        bundle_error: expected calibration error of the bundle, 0 to 1.
        pytorch_error: the same of the PyTorch model.
        noise: standard error of their difference on these clips; see ``calibration_noise``.
    """

    temperature: float
    clips: int
    bundle: tuple[Bin, ...]
    pytorch: tuple[Bin, ...]
    bundle_error: float
    pytorch_error: float
    noise: float


@dataclass(frozen=True)
class Divergence:
    """How far constant gates take the labels from gates that depend on the input; both in PyTorch.

    Attributes:
        windows: how many were compared.
        label_agreement: share of windows with the same label.
        label_kl: mean KL(dynamic ‖ merged) of the label distributions, nats.
        worst_kl: the largest of a window, nats.
    """

    windows: int
    label_agreement: float
    label_kl: float
    worst_kl: float


@dataclass(frozen=True)
class GateRow:
    """Gates of one module for one modality class.

    Attributes:
        module: its path in the decoder.
        layer: number of its layer, -1 where it has none.
        projection: last part of its path.
        modality: ``visual`` or ``non_visual``.
        mean: by expert; sums to 1.
        variance: by expert.
    """

    module: str
    layer: int
    projection: str
    modality: str
    mean: dict[str, float]
    variance: dict[str, float]


@dataclass(frozen=True)
class HeadsRow:
    """The heads of one reallocating layer.

    Attributes:
        layer: its number.
        share: for each head the share of windows in which the bundle reallocated it, all modalities shown.
        agreement: share of its decisions on which bundle and PyTorch agree, over the windows compared by number.
    """

    layer: int
    share: tuple[float, ...]
    agreement: float


@dataclass(frozen=True)
class LayerRow:
    """One decoder layer's output in the bundle's graph against PyTorch's, over the rows of visible tokens.

    Attributes:
        layer: its number; that of the head is the number of layers.
        cosine: of the two outputs, the smallest of all rows.
        max_difference: largest absolute difference of two elements.
        relative: that, over the reference's largest magnitude.
        heads_agree: part of the heads that both select or both leave, over the batch; None where nothing reallocates.
        telemetry_difference: largest difference of audio shares and modality masses; None likewise.
    """

    layer: int
    cosine: float
    max_difference: float
    relative: float | None = None
    heads_agree: float | None = None
    telemetry_difference: float | None = None


@dataclass(frozen=True)
class SensitivityRow:
    """What quantizing one part alone costs, all else in float32.

    Attributes:
        part: ``layer 3``, ``lm_head``, ``vision`` ...
        format: what it was quantized to; several are joined with ``+``.
        weights: elements that change their format.
        label_kl: mean KL(float32 ‖ quantized) of the label distributions, nats.
        logits_difference: largest absolute difference of the label words' logits.
        label_agreement: share of prompts with the same label.
    """

    part: str
    format: str
    weights: int
    label_kl: float
    logits_difference: float
    label_agreement: float


@dataclass(frozen=True)
class SizeRow:
    """Size of one component.

    Attributes:
        component: ``vision``, ``audio``, ``decoder``, ``embedding``, ``tokenizer``.
        precision: of its weights; empty where it has none.
        files: size in bytes by file.
        float32_bytes: what its parameters take in float32, 0 where it has none.
    """

    component: str
    precision: str
    files: dict[str, int]
    float32_bytes: int

    @property
    def total(self) -> int:
        """Bytes of all its files."""
        return sum(self.files.values())


@dataclass(frozen=True)
class Latency:
    """Median milliseconds by stage, bundle and PyTorch eager in turns in one run.

    Attributes:
        threads: CPU threads of both.
        windows: windows timed.
        bundle: by stage, ``total`` last.
        pytorch: the same.
    """

    threads: int
    windows: int
    bundle: dict[str, float]
    pytorch: dict[str, float]


@dataclass(frozen=True)
class Identity:
    """What was verified.

    Attributes:
        name: of the model.
        checkpoint: its SHA-256.
        target: the device class.
        backend: the inference library.
        precision: of the build.
        precisions: by component.
        mose: ``merged``, ``dynamic`` or ``none``.
        reallocation: settings in words.
        labels: the label words.
        created: when the bundle was built.
        tool_version: of mosear.
        calibration_clips: clips that the build learnt from.
        calibration_source: what they were.
        calibration_sha256: their hash.
        intended_use: what the bundle is for.
        notice: to be shown wherever the model runs.
        licences: of the weights.
    """

    name: str
    checkpoint: str
    target: str
    backend: str
    precision: str
    precisions: dict[str, str]
    mose: str
    reallocation: str
    labels: tuple[str, ...]
    created: str
    tool_version: str
    calibration_clips: int
    calibration_source: str
    calibration_sha256: str
    intended_use: str
    notice: str
    licences: tuple[str, ...]
