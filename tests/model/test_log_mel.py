import numpy as np
import pytest
import torch
from transformers import WhisperFeatureExtractor

from mosear.model.log_mel import LogMel


@pytest.mark.parametrize("bins", [80, 128])
@pytest.mark.parametrize("sound", ["noise", "tone", "silence", "padded"])
def test_equals_the_feature_extractor_of_transformers(bins: int, sound: str) -> None:
    rng = np.random.default_rng(3)
    samples = {
        "noise": 0.1 * rng.normal(size=48000),
        "tone": np.sin(2 * np.pi * 440 * np.arange(48000) / 16000),
        "silence": np.zeros(48000),
        "padded": np.concatenate([0.1 * rng.normal(size=9000), np.zeros(39000)]),
    }[sound].astype(np.float32)
    extractor = WhisperFeatureExtractor(feature_size=bins, chunk_length=3)
    wanted = extractor(samples, sampling_rate=16000, return_tensors="np").input_features
    found = LogMel(bins)(torch.from_numpy(samples)[None]).numpy()
    assert found.shape == wanted.shape == (1, bins, 300)
    np.testing.assert_allclose(found, wanted, atol=2e-4)
