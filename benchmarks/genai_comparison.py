"""Time to the label and decode speed beside PyTorch in eager mode and ONNX Runtime GenAI, on the same weights.

    python benchmarks/genai_comparison.py CACHE [--rounds N] [--threads N] [--genai int4,fp32]

A decoder of Qwen2.5-0.5B's shape (`half_billion.py`) and a prompt of 384 tokens. Ours run MoSE and attention
reallocation in every layer; the others run the plain decoder. Time to the label: ours is a prefill with the head of the
labels; PyTorch's a forward with the logits of the last position; GenAI's the time to its first token. Decode: seconds a
token over the tokens behind the prompt. The contenders take turns, in another order every round. GenAI's models
are made by its own builder with its defaults. Prints Markdown: medians and ratios.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import numpy as np
import onnxruntime
import torch
import typer
from decoder_shapes import decode_steps, in_turns
from half_billion import PROMPT, VOCABULARY, Build, Runner, built, checkpoint, prompt_feeds, stored_bytes, torch_decoder
from transformers import DynamicCache

OURS = {"ours int8 + int4": ("int8", "int4"), "ours int8": ("int8", "int8"), "ours int4": ("int4", "int4")}


def genai_folder(cache: Path, precision: str) -> Path:
    """GenAI's model of the checkpoint, made once by its builder."""
    folder = cache / f"genai-{precision}"
    if not (folder / "genai_config.json").exists():
        command = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-i", str(checkpoint(cache))]
        command += ["-o", str(folder), "-p", precision, "-e", "cpu", "-c", str(cache / "hub")]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return folder


class GenAI:
    """ONNX Runtime GenAI on one of its models. ``token_s`` is what a token took in the last run."""

    def __init__(self, folder: Path, threads: int, steps: int) -> None:
        import onnxruntime_genai  # type: ignore[import-untyped]

        self._library, self._steps, self.token_s = onnxruntime_genai, steps, 0.0
        config = onnxruntime_genai.Config(str(folder))
        options = {"intra_op_num_threads": threads, "inter_op_num_threads": 1}
        config.overlay(json.dumps({"model": {"decoder": {"session_options": options}}}))
        self._model = onnxruntime_genai.Model(config)
        self._prompt = np.random.default_rng(0).integers(5, VOCABULARY, PROMPT).astype(np.int32)

    def run(self) -> float:
        """Seconds to the first token; the decoding that follows is timed apart."""
        parameters = self._library.GeneratorParams(self._model)
        parameters.set_search_options(max_length=PROMPT + self._steps + 2, do_sample=False)
        generator = self._library.Generator(self._model, parameters)
        start = perf_counter()
        generator.append_tokens(self._prompt)
        generator.generate_next_token()
        first = perf_counter()
        for _ in range(self._steps):
            generator.generate_next_token()
        self.token_s = (perf_counter() - first) / self._steps
        return first - start


class Eager:
    """PyTorch in float32 on the plain decoder. ``token_s`` as in `GenAI`."""

    def __init__(self, cache: Path, steps: int) -> None:
        self._decoder, _ = torch_decoder(cache, mosear=False)
        self._steps, self.token_s = steps, 0.0
        self._prompt = torch.from_numpy(prompt_feeds()["inputs_embeds"])

    @torch.no_grad()
    def run(self) -> float:
        """Seconds to the logits of the last position; the decoding that follows is timed apart."""
        cache: Any = DynamicCache()
        start = perf_counter()
        logits = self._decoder(inputs_embeds=self._prompt, past_key_values=cache, logits_to_keep=1).logits
        first = perf_counter()
        for _ in range(self._steps):
            token = logits[:, -1].argmax(-1, keepdim=True)
            logits = self._decoder(input_ids=token, past_key_values=cache).logits
        self.token_s = (perf_counter() - first) / self._steps
        return first - start


Timed = dict[str, Callable[[], float]]


def ours(cache: Path, threads: int, steps: int) -> tuple[Timed, Timed, dict[str, int]]:
    """Prefills of labels, decoders of the same, and their bytes on disk (the two graphs' together)."""
    pairs = {name: (Build("prefill", p, labels=True), Build("decode", d)) for name, (p, d) in OURS.items()}
    paths = built(cache, [build for pair in pairs.values() for build in pair])
    prompt = prompt_feeds()
    labels: Timed = {}
    tokens: Timed = {}
    loaded: dict[Path, Runner] = {}
    for name, (prefill, decode) in pairs.items():
        one = loaded.setdefault(paths[prefill], Runner(paths[prefill], threads))
        two = loaded.setdefault(paths[decode], Runner(paths[decode], threads, one))
        labels[name], tokens[name] = partial(one.run, prompt), decode_steps(two, steps)
    return labels, tokens, {name: sum(stored_bytes(paths[build]) for build in pair) for name, pair in pairs.items()}


def main(
    cache: Annotated[Path, typer.Argument(help="folder for the models")],
    rounds: Annotated[int, typer.Option(min=3)] = 11,
    threads: Annotated[int, typer.Option(min=1)] = 2,
    steps: Annotated[int, typer.Option(min=1, help="tokens behind the prompt")] = 32,
    genai: Annotated[str, typer.Option(help="precisions of GenAI's models: int4, int8, fp32")] = "int4",
) -> None:
    """Build what is missing, measure, and print the table."""
    cache.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(threads)
    labels, tokens, sizes = ours(cache, threads, steps)
    others: dict[str, Any] = {"PyTorch eager fp32": Eager(cache, steps)}
    for precision in genai.split(","):
        folder = genai_folder(cache, precision)
        others[f"GenAI {precision}"] = GenAI(folder, threads, steps)
        sizes[f"GenAI {precision}"] = sum(path.stat().st_size for path in folder.glob("model.onnx*"))
    sizes["PyTorch eager fp32"] = sum(path.stat().st_size for path in checkpoint(cache).glob("*.safetensors"))
    decoding: dict[str, list[float]] = {name: [] for name in (*tokens, *others)}

    def turn(name: str) -> Callable[[], float]:
        def run() -> float:
            seconds = others[name].run() if name in others else labels[name]()
            decoding[name].append(others[name].token_s if name in others else tokens[name]())
            return seconds

        return run

    first = in_turns({name: turn(name) for name in decoding}, rounds)
    each = {name: float(np.median(values[2:])) for name, values in decoding.items()}
    versions = f"ONNX Runtime {onnxruntime.__version__}, torch {torch.__version__}"
    print(f"{versions}, {PROMPT} tokens, {rounds} rounds, threads: {threads}; medians\n")
    print("| | stored, MB | to the label, ms | of GenAI's | of PyTorch's | tokens/s | of GenAI's |")
    print("|---|---|---|---|---|---|---|")
    rival, eager = f"GenAI {genai.split(',')[0]}", "PyTorch eager fp32"
    for name in decoding:
        cells = [name, f"{sizes[name] / 1e6:.0f}", f"{1000 * first[name]:.0f}"]
        cells += [f"{first[name] / first[rival]:.2f}", f"{first[name] / first[eager]:.2f}"]
        cells += [f"{1 / each[name]:.1f}", f"{each[rival] / each[name]:.2f}"]
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    typer.run(main)
