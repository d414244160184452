"""What attention on static KV buffers costs on ONNX Runtime's CPU: this project's lowering, GroupQueryAttention.

    python benchmarks/attention_lowering.py [--layers N] [--rounds N] [--steps N] [--threads N]

A stack of attention layers (`attention_stacks.py`), each with its own buffers bound to past and present, so that
nothing copies them. Three contenders:

    lowering     what `mosear.export.lowering.onnxruntime.lower` makes of mosear::AttentionReallocation: ScatterND into
                 the buffer, reallocation on the probabilities
    GQA, AR      com.microsoft.GroupQueryAttention with the reallocation in its attention_bias; a first pass over the
                 keys computes the masses that the bias depends on
    GQA, no AR   GroupQueryAttention with the mask alone: what attention costs when nothing is reallocated

The first two must agree, and differ from the third, before anything is timed. In a round every contender takes a turn:
one prefill, or ``--steps`` decode steps, which repeat the same step. So a slow moment of the machine hits them alike.
Prints Markdown: milliseconds for the whole stack, medians over the rounds, ratios to the lowering. Last comes what
GroupQueryAttention answers to several rows on top of a past in a batch, which the lowering computes.
"""

from __future__ import annotations

import statistics
from time import perf_counter
from typing import Annotated, Any

import numpy as np
import onnxruntime
import typer
from attention_stacks import Case, group_query_attention, lowering
from numpy.typing import NDArray
from onnx import ModelProto

from mosear.runtime.modality import Modality

CASES = (
    Case(6, 2, 32, batch=1, rows=1, past=149, capacity=512),
    Case(14, 2, 64, batch=1, rows=1, past=399, capacity=1024),
    Case(6, 2, 32, batch=3, rows=110, past=0, capacity=512),
    Case(14, 2, 64, batch=3, rows=110, past=0, capacity=1024),
)
SEVERAL_ROWS_ON_A_PAST = Case(6, 2, 32, batch=3, rows=8, past=40, capacity=512)
LOWERING, GQA_AR, GQA_PLAIN = CONTENDERS = ("lowering", "GQA, AR", "GQA, no AR")
TOLERANCE = 1e-4
WARM_UP = 3


class Runner:
    """A session with every input and output bound; running it again does the same work on the same memory."""

    def __init__(self, model: ModelProto, case: Case, layers: int, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 4
        self.session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self.binding = self.session.io_binding()
        self.feeds = inputs_of(case)
        known = {value.name for value in self.session.get_inputs()}
        for name in known & self.feeds.keys():
            self.binding.bind_cpu_input(name, self.feeds[name])
        numbers = np.random.default_rng(1)
        shape = (case.batch, case.key_heads, case.capacity, case.head_size)
        for name in [f"{kind}_{layer}" for layer in range(layers) for kind in ("key", "value")]:
            # What lies beyond the past must not matter, so it is not zero.
            buffer = onnxruntime.OrtValue.ortvalue_from_numpy(numbers.standard_normal(shape, dtype=np.float32))
            if f"past_{name}" in known:
                self.binding.bind_ortvalue_input(f"past_{name}", buffer)
            self.binding.bind_ortvalue_output(f"present_{name}", buffer)
        self.output = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros_like(self.feeds["inputs_embeds"]))
        self.binding.bind_ortvalue_output("output", self.output)

    def run(self, steps: int = 1) -> float:
        """Milliseconds a run, over ``steps`` runs."""
        start = perf_counter()
        for _ in range(steps):
            self.session.run_with_iobinding(self.binding)
        return 1000 * (perf_counter() - start) / steps


def inputs_of(case: Case) -> dict[str, NDArray[Any]]:
    """Random rows. The second of a batch hides its audio, the third its video, as when conflict is measured."""
    numbers = np.random.default_rng(0)
    modality = np.full((case.batch, case.total), Modality.TEXT, np.int64)
    start, middle = case.total // 5, case.total // 5 + case.visual
    modality[:, start:middle] = Modality.VISUAL
    modality[:, middle : middle + case.audio] = Modality.AUDIO
    for row, kind in ((1, Modality.AUDIO), (2, Modality.VISUAL)):
        if row < case.batch:
            modality[row, modality[row] == kind] = Modality.HIDDEN

    def normal(heads: int) -> NDArray[np.float32]:
        return numbers.standard_normal((case.batch, case.rows, heads * case.head_size), dtype=np.float32)

    return {
        "inputs_embeds": normal(case.heads),
        "new_key": normal(case.key_heads),
        "new_value": normal(case.key_heads),
        "key_modality": modality,
    }


def contenders_of(case: Case, layers: int, threads: int) -> dict[str, Runner]:
    """A runner of each contender. Raises SystemExit when they don't compute what they should."""
    models = {
        LOWERING: lowering(case, layers),
        GQA_AR: group_query_attention(case, layers, reallocation=True),
        GQA_PLAIN: group_query_attention(case, layers, reallocation=False),
    }
    runners = {name: Runner(model, case, layers, threads) for name, model in models.items()}
    for runner in runners.values():
        runner.run()
    ours, theirs, plain = (runners[name].output.numpy() for name in CONTENDERS)
    if not np.abs(ours - theirs).max() < TOLERANCE:
        raise SystemExit(f"{case}: the contenders disagree by {np.abs(ours - theirs).max():.1e}")
    if not np.abs(ours - plain).max() > 100 * TOLERANCE:
        raise SystemExit(f"{case}: reallocation changes nothing, so agreement says nothing")
    return runners


def medians(runners: dict[str, Runner], rounds: int, steps: int) -> dict[str, float]:
    """Median milliseconds a run; turns are taken in another order every round."""
    names = list(runners)
    times: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds + WARM_UP):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            elapsed = runners[name].run(steps)
            if number >= WARM_UP:
                times[name].append(elapsed)
    return {name: statistics.median(values) for name, values in times.items()}


def answer_to_several_rows(case: Case, threads: int) -> str:
    """What GroupQueryAttention says to ``case``: how far it is from the lowering, or why it refuses."""
    ours, theirs = (
        Runner(model, case, 1, threads)
        for model in (lowering(case, 1), group_query_attention(case, 1, reallocation=True))
    )
    ours.run()
    try:
        theirs.run()
    except Exception as error:  # ONNX Runtime's errors share no narrower type
        return f"refused: {error}"
    return f"computed, {np.abs(ours.output.numpy() - theirs.output.numpy()).max():.1e} from the lowering"


def main(
    layers: Annotated[int, typer.Option(min=1, help="attention layers in the stack")] = 6,
    rounds: Annotated[int, typer.Option(min=3, help="turns of each contender")] = 60,
    steps: Annotated[int, typer.Option(min=1, help="decode steps a turn")] = 10,
    threads: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """Check, measure and print the table."""
    print(f"ONNX Runtime {onnxruntime.__version__}, {layers} layers, {rounds} rounds, threads: {threads}; ms a stack\n")
    print("| | Hq/Hkv/Dh | B | S | P | C | lowering | GQA, AR | ratio | GQA, no AR | ratio |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for case in CASES:
        decode = case.rows == 1
        found = medians(contenders_of(case, layers, threads), rounds, steps if decode else 1)
        ours = found[LOWERING]
        cells: list[object] = ["decode" if decode else "prefill", f"{case.heads}/{case.key_heads}/{case.head_size}"]
        cells += [case.batch, case.rows, case.past, case.capacity, f"{ours:.3f}"]
        for name in (GQA_AR, GQA_PLAIN):
            cells += [f"{found[name]:.3f}", f"{found[name] / ours:.2f}"]
        print(f"| {' | '.join(str(cell) for cell in cells)} |")
    case = SEVERAL_ROWS_ON_A_PAST
    print(
        f"\nGroupQueryAttention, B={case.batch}, S={case.rows}, P={case.past}: {answer_to_several_rows(case, threads)}"
    )


if __name__ == "__main__":
    typer.run(main)
