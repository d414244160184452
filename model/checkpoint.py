"""A checkpoint on disk: config.json, model.safetensors, tokenizer.json and, with experts, adapter/ in PEFT's layout."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from mosear.model.configuration import MosearConfig
from mosear.model.experts import load_adapter, read_adapter_config, save_adapter
from mosear.model.modeling import Mosear
from mosear.model.shards import WEIGHTS, open_weights
from mosear.model.weights import assign, bind, check_names, parameters_without_memory
from mosear.runtime.errors import BadInput
from mosear.runtime.prompt import load_tokenizer

TOKENIZER = "tokenizer.json"
ADAPTER = "adapter"


def resolve(checkpoint: str | Path) -> Path:
    """The folder of a checkpoint; the word ``reference`` means the trained model that ships with the package.

    Raises:
        BadInput: there is no such folder.
    """
    folder = Path(__file__).parent / "reference" if str(checkpoint) == "reference" else Path(checkpoint)
    if not folder.is_dir():
        raise BadInput(f"no such checkpoint: {checkpoint}", "give a checkpoint's folder, or the word `reference`")
    return folder


def base_state(model: Mosear) -> dict[str, Tensor]:
    """The tensors of the backbone by name, as if no experts had been added; tied tensors appear once."""
    experts = tuple(f"decoder.{path}." for path in model.experts)
    tied = {f"decoder.{name}" for name in model.decoder.all_tied_weights_keys}
    state = {}
    for name, tensor in model.state_dict().items():
        is_adapter = name.startswith(experts) and ".base_layer." not in name if experts else False
        if not is_adapter and name not in tied:
            state[name.replace(".base_layer.", ".")] = tensor
    return state


def save_checkpoint(model: Mosear, folder: Path) -> None:
    """Write ``model`` to ``folder``, which is made if it does not exist."""
    folder.mkdir(parents=True, exist_ok=True)
    model.config.save(folder)
    model.tokenizer.save(str(folder / TOKENIZER))
    state = {name: tensor.detach().contiguous().cpu() for name, tensor in base_state(model).items()}
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
    if model.config.mose is not None and model.experts:
        save_adapter(model.experts, model.config.mose, folder / ADAPTER)


def load_checkpoint(checkpoint: str | Path, with_experts: bool = True) -> Mosear:
    """Read a checkpoint, every tensor bound by name.

    Args:
        checkpoint: a folder, or ``reference``.
        with_experts: False leaves the experts out, whatever the configuration says.

    Raises:
        BadInput: a file is missing or unreadable, or a tensor is missing, unexpected or misshaped.
    """
    folder = resolve(checkpoint)
    config = MosearConfig.load(folder)
    model = Mosear(config, load_tokenizer(folder / TOKENIZER), with_experts)
    bind(base_state(model), open_weights(folder), str(folder / WEIGHTS))
    _load_experts(model, folder)
    return model.eval()


def map_checkpoint(checkpoint: str | Path) -> Mosear:
    """A checkpoint whose backbone is mapped from disk in its stored type, however large: for reading its weights.

    It computes only where the stored types agree with each other. Experts are float32 and loaded.

    Raises:
        BadInput: as ``load_checkpoint``.
    """
    folder = resolve(checkpoint)
    config = MosearConfig.load(folder)
    with parameters_without_memory():
        model = Mosear(config, load_tokenizer(folder / TOKENIZER), with_experts=False)
    state = open_weights(folder)
    check_names(base_state(model), state, str(folder / WEIGHTS))
    assign(model, state)
    assign(model.decoder, _tied(model))
    if config.mose is not None:
        model.add_experts(torch.float32)
        _load_experts(model, folder)
    return model.eval()


def _tied(model: Mosear) -> dict[str, Tensor]:
    tied: dict[str, str] = model.decoder.all_tied_weights_keys
    return {target: model.decoder.get_parameter(source) for target, source in tied.items()}


def _load_experts(model: Mosear, folder: Path) -> None:
    if not model.experts:
        return
    if read_adapter_config(folder / ADAPTER) != model.config.mose:
        raise BadInput(
            f"{folder / ADAPTER / 'adapter_config.json'} and the mose section of config.json disagree",
            "use the adapter that was saved with this config.json",
        )
    load_adapter(model.experts, folder / ADAPTER)


def checkpoint_hash(folder: Path) -> str:
    """SHA-256 over the names and contents of a checkpoint's configuration, tokenizer and weights."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.suffix in {".json", ".safetensors"} and path.is_file() and not path.name.startswith("calibration"):
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()
