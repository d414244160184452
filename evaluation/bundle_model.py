"""A bundle under evaluation: the very runtime of the device."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mosear.evaluation.asking import WRITE, WRITTEN_TOKENS, Asking, View
from mosear.runtime.bundle import Bundle
from mosear.runtime.errors import BadInput
from mosear.runtime.manifest import Label, Manifest
from mosear.runtime.pipeline import EMOTION_TASK, Pipeline
from mosear.runtime.windows import Window


class BundleModel:
    """See ``Model``.

    Args:
        path: the bundle's folder.
        asking: what is asked of it.
        threads: CPU threads; the library's choice when None.
        provider: ``cpu`` or ``cuda``; what the bundle was built for when None.
        debug: let the inference library print its warnings.

    Raises:
        BadInput: the bundle does not open.
        UsageError: it is asked for reasons and gives none.
        Failed: the inference library is missing or does not work here.
    """

    variants = ("",)

    def __init__(
        self, path: Path, asking: Asking, threads: int | None = None, provider: str | None = None, debug: bool = False
    ) -> None:
        bundle = Bundle.open(path)
        if asking.labels is not None:
            bundle = Bundle(bundle.path, with_labels(bundle, asking.labels))
        manifest = bundle.manifest
        self._asking = asking
        self._pipeline = Pipeline(bundle, threads, provider, debug)
        if asking.reason:
            self._pipeline.check_can_reason()
        self.labels = tuple(self._pipeline.labels)
        self.preprocessing = manifest.preprocessing
        self.layers = {"": list(manifest.reallocation.layers) if manifest.reallocation else []}

    def look(self, window: Window, clip: str) -> Iterator[tuple[str, View]]:
        """What the bundle says of a window; see ``Model``."""
        emotion, prefill = self._pipeline.examine(window, clip, self._asking.reason)
        text = None
        if self._asking.answer == WRITE and prefill is not None:
            text = self._pipeline.write(window, prefill, EMOTION_TASK, WRITTEN_TOKENS)
        yield "", View(emotion, prefill, text)


def with_labels(bundle: Bundle, labels: tuple[str, ...]) -> Manifest:
    """The bundle's manifest with other label words; they are scored on the logits of the whole vocabulary.

    Raises:
        BadInput: the tokenizer has nothing for a label, or two of them are spelled by the same tokens.
    """
    tokenizer = bundle.tokenizer()
    spelled = {label: list(tokenizer.encode(f" {label}", add_special_tokens=False).ids) for label in labels}
    empty = [label for label, ids in spelled.items() if not ids]
    alike = [label for label, ids in spelled.items() if list(spelled.values()).count(ids) > 1]
    for wrong, why in ((empty, "can't be spelled"), (alike, "are spelled alike")):
        if wrong:
            raise BadInput(
                f"{', '.join(wrong)} {why} by the tokenizer of {bundle.path}",
                "leave --words benchmark out: answers are then given in the model's own words",
            )
    chosen = [Label(name=label, token_ids=ids) for label, ids in spelled.items()]
    graphs = bundle.manifest.graphs.model_copy(update={"labels": None})
    return bundle.manifest.model_copy(update={"labels": chosen, "graphs": graphs, "label_tokens": None})
