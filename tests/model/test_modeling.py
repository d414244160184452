from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from mosear.model.checkpoint import WEIGHTS, checkpoint_hash, load_checkpoint, save_checkpoint
from mosear.model.scoring import score
from mosear.runtime.errors import BadInput

VIDEOMAE = {
    "model_type": "videomae",
    "image_size": 32,
    "patch_size": 8,
    "num_frames": 4,
    "tubelet_size": 2,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
SIGLIP = {
    "model_type": "siglip_vision_model",
    "image_size": 32,
    "patch_size": 8,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
SPEECH = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "conv_dim": [8, 8],
    "conv_kernel": [10, 3],
    "conv_stride": [160, 2],
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
}
HUBERT, WAV2VEC2 = {"model_type": "hubert", **SPEECH}, {"model_type": "wav2vec2", **SPEECH}
LLAMA = {
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 256,
    "vocab_size": 400,
}


def inputs(model: Any, batch: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    pre = model.config.preprocessing
    generator = torch.Generator().manual_seed(5)
    shape = (batch, pre.frames, pre.frame_size, pre.frame_size, 3)
    frames = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    return frames, 0.1 * torch.randn(batch, pre.window_samples, generator=generator)


@pytest.mark.parametrize("vision", [None, SIGLIP, VIDEOMAE], ids=["clip", "siglip", "videomae"])
@pytest.mark.parametrize("audio", [None, HUBERT, WAV2VEC2], ids=["whisper", "hubert", "wav2vec2"])
def test_backbones_are_a_matter_of_configuration(tiny_model: Any, vision: Any, audio: Any) -> None:
    changes = {key: value for key, value in (("vision", vision), ("audio", audio)) if value}
    model = tiny_model(**changes)
    frames, samples = inputs(model)
    with torch.no_grad():
        visual, sound = model.encode_visual(frames), model.encode_audio(samples)
        assert visual.shape == (2, model.visual_tokens, 32)
        assert sound.shape == (2, 3, 32)
        logits = model(model.sequence([None, "hello"], "emotion", visual, sound), keep=1)
    assert logits.shape == (2, 1, 400)
    assert logits.isfinite().all()
    assert not torch.allclose(visual[0], visual[1])
    assert not torch.allclose(sound[0], sound[1])


@pytest.mark.parametrize("decoder", [None, LLAMA], ids=["qwen2", "llama"])
def test_batch_with_padding_equals_one_by_one(tiny_model: Any, decoder: Any) -> None:
    model = tiny_model(**({"decoder": decoder} if decoder else {}))
    frames, samples = inputs(model, 3)
    said = [None, "a", "a much longer sentence that was said, and then some more"]
    with torch.no_grad():
        visual, audio = model.encode_visual(frames), model.encode_audio(samples)
        together = model(model.sequence(said, "emotion", visual, audio), keep=1)
        for i in range(3):
            alone = model(model.sequence(said[i : i + 1], "emotion", visual[i : i + 1], audio[i : i + 1]), keep=1)
            torch.testing.assert_close(together[i], alone[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("hidden", ["visual", "audio"])
def test_hidden_modality_has_no_influence(tiny_model: Any, hidden: str) -> None:
    model = tiny_model()
    frames, samples = inputs(model)
    with torch.no_grad():
        visual, audio = model.encode_visual(frames), model.encode_audio(samples)
        first = None if hidden == "visual" else visual, None if hidden == "audio" else audio
        shown = model.sequence(["x"] * 2, "emotion", *first)
        other = model.sequence(["x"] * 2, "emotion", *first)
        if hidden == "visual":
            other.visual = torch.randn_like(visual)
        else:
            other.audio = torch.randn_like(audio)
        assert torch.equal(model(shown, keep=1), model(other, keep=1))
        full = model.sequence(["x"] * 2, "emotion", visual, audio)
        assert torch.equal(shown.position_ids, full.position_ids)
        assert not torch.allclose(model(shown, keep=1), model(full, keep=1))


def test_label_scores_equal_sums_of_token_log_probabilities(tiny_model: Any) -> None:
    model = tiny_model(labels=["neutral", "angry", "not a single token"])
    frames, samples = inputs(model)
    with torch.no_grad():
        visual, audio = model.encode_visual(frames), model.encode_audio(samples)
        found = model.label_log_probabilities(["hello", None], visual, audio)
        assert len(model.label_token_ids()[2]) > 1
        for row, said in enumerate(["hello", None]):
            for column, ids in enumerate(model.label_token_ids()):
                total = 0.0
                for step in range(len(ids)):
                    sequence = model.sequence(
                        [said], "emotion", visual[row : row + 1], audio[row : row + 1], [ids[:step]]
                    )
                    total += float(model(sequence, keep=1)[0, 0].log_softmax(-1)[ids[step]])
                assert float(found[row, column]) == pytest.approx(total, abs=1e-4)


def test_fast_scores_equal_whole_sequence_scores(tiny_model: Any) -> None:
    model = tiny_model()
    frames, samples = inputs(model, 3)
    with torch.no_grad():
        hidden = model.vision(frames.reshape(-1, 1, *frames.shape[2:])).reshape(3, -1, 16)
        encoded = hidden, model.audio(samples)
        said: list[str | None] = ["one", None, "three words here"]
        wanted = model.label_log_probabilities(said, model.visual_projector(hidden), model.audio_projector(encoded[1]))
        found, share, selected = score(model, said, encoded, batch=2)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
    assert share is not None
    assert selected is not None
    assert share.shape == selected.shape == (3, 2, 4)


def test_checkpoint_survives_a_round_trip(tiny_model: Any, tmp_path: Path) -> None:
    model = tiny_model()
    save_checkpoint(model, tmp_path)
    loaded = load_checkpoint(tmp_path)
    frames, samples = inputs(model)
    with torch.no_grad():
        answers = [
            m(m.sequence(["x"] * 2, "emotion", m.encode_visual(frames), m.encode_audio(samples)))
            for m in (model, loaded)
        ]
        bare = load_checkpoint(tmp_path, with_experts=False)
        without = bare(bare.sequence(["x"] * 2, "emotion", bare.encode_visual(frames), bare.encode_audio(samples)))
    assert torch.equal(*answers)
    assert not bare.experts
    assert not torch.allclose(answers[0], without)


def test_hash_follows_every_byte(tiny_model: Any, tmp_path: Path) -> None:
    save_checkpoint(tiny_model(), tmp_path)
    before = checkpoint_hash(tmp_path)
    (tmp_path / "README.md").write_text("not part of the model")
    assert checkpoint_hash(tmp_path) == before
    data = bytearray((tmp_path / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (tmp_path / WEIGHTS).write_bytes(data)
    assert checkpoint_hash(tmp_path) != before


@pytest.mark.parametrize("damage", ["missing", "extra", "misshaped", "garbage", "gone"])
def test_checkpoint_that_does_not_fit_is_refused(tiny_model: Any, tmp_path: Path, damage: str) -> None:
    save_checkpoint(tiny_model(), tmp_path)
    path = tmp_path / WEIGHTS
    state = load_file(path)
    name = "visual_projector.weight"
    if damage == "missing":
        del state[name]
    elif damage == "extra":
        name = "visual_projector.extra"
        state[name] = torch.zeros(2)
    elif damage == "misshaped":
        state[name] = torch.zeros(3, 3)
    save_file(state, path)
    if damage == "garbage":
        path.write_bytes(b"not safetensors")
    elif damage == "gone":
        path.unlink()
    with pytest.raises(BadInput) as caught:
        load_checkpoint(tmp_path)
    assert (name if damage in ("missing", "extra", "misshaped") else WEIGHTS) in caught.value.what
    assert caught.value.remedy
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("content", ["{", "{}", '{"vision": 1}', '{"unknown": 2}'])
def test_config_that_makes_no_sense_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(BadInput):
        load_checkpoint(tmp_path)


def test_sizes_that_do_not_fit_are_refused(tiny_model: Any) -> None:
    for change in (
        {"visual_grid": 9},
        {"preprocessing": {"frame_size": 64, "frames": 4, "window_s": 1.0, "sample_rate": 16000}},
        {"preprocessing": {"frame_size": 32, "frames": 4, "window_s": 2.0, "sample_rate": 16000}},
        {"vision": VIDEOMAE, "preprocessing": {"frame_size": 32, "frames": 6, "window_s": 1.0, "sample_rate": 16000}},
        {"vision": {"model_type": "resnet"}},
    ):
        with pytest.raises(BadInput):
            tiny_model(**change)
