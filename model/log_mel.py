"""Whisper's log-mel features as convolution and matrix product, so that they export into the audio graph."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from transformers.audio_utils import mel_filter_bank

_N_FFT = 400
_HOP = 160


class LogMel(nn.Module):
    """Log-mel spectrogram with the constants of Whisper (Radford et al., 2022, and its reference code).

    A periodic Hann window of 25 ms every 10 ms, Slaney's mel scale up to 8 kHz, log10, a floor 8 decades under the
    loudest cell of the window, then ``(x + 4) / 4``. Equal to transformers' ``WhisperFeatureExtractor``.

    Args:
        mel_bins: number of mel bands.
    """

    def __init__(self, mel_bins: int) -> None:
        super().__init__()
        frequencies = 1 + _N_FFT // 2
        angle = 2 * np.pi * np.outer(np.arange(frequencies), np.arange(_N_FFT)) / _N_FFT
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_N_FFT) / _N_FFT)
        basis = np.concatenate([np.cos(angle) * window, -np.sin(angle) * window]).astype(np.float32)
        filters = mel_filter_bank(frequencies, mel_bins, 0.0, 8000.0, 16000, norm="slaney", mel_scale="slaney")
        self.register_buffer("basis", torch.from_numpy(basis)[:, None, :], persistent=False)
        self.register_buffer("filters", torch.from_numpy(filters.T.astype(np.float32))[..., None], persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        """Features of sound.

        Args:
            samples: float32 [N, L] at 16 kHz, L a multiple of 160.

        Returns:
            float32 [N, mel_bins, L / 160].
        """
        padded = nn.functional.pad(samples[:, None, :], (_N_FFT // 2, _N_FFT // 2), mode="reflect")
        spectrum = nn.functional.conv1d(padded, self.get_buffer("basis"), stride=_HOP)[..., :-1]
        real, imaginary = spectrum.chunk(2, dim=1)
        mel = nn.functional.conv1d(real * real + imaginary * imaginary, self.get_buffer("filters"))
        log = mel.clamp_min(1e-10).log10()
        floor = log.amax(dim=(1, 2), keepdim=True) - 8.0
        return (torch.maximum(log, floor) + 4.0) / 4.0
