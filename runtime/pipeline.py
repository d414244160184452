"""Window → Emotion: the one place where the stages meet."""

from collections.abc import Sequence
from time import perf_counter

import numpy as np

from mosear.runtime.answer import Prefill, answer, unknown
from mosear.runtime.bundle import Bundle
from mosear.runtime.decoder import Decoder, PromptRows, lay_rows, reserve_for, stack_rows
from mosear.runtime.engines.library import PACKAGES
from mosear.runtime.errors import BadInput, UsageError
from mosear.runtime.frame_memory import FrameMemory
from mosear.runtime.manifest import Manifest
from mosear.runtime.modality import Modality
from mosear.runtime.prompt import assemble, constant_beginning
from mosear.runtime.results import Emotion
from mosear.runtime.sessions import Arrays, Observer, open_backend
from mosear.runtime.spans import TEXT_PREFILL, span
from mosear.runtime.windows import Window

EMOTION_TASK = "emotion"
REASON_TASK = "reason"
REASON_TOKENS = 256


class Pipeline:
    """A bundle, ready to answer windows.

    Args:
        bundle: an opened bundle.
        threads: CPU threads; the library's choice when left out.
        provider: ``cpu`` or ``cuda``; what the bundle was built for when left out.
        debug: let the inference library print its warnings.
        whole_vocabulary: score labels on the logits of all tokens, although the bundle has a graph of labels.
        hold_beginning: run the constant beginning of the prompt once, here, and not with every window.
        observer: is told what the inference library opens; for profiles of operators alone.

    It is used by one thread at a time.

    Attributes:
        labels: names of the labels.
        logit_tokens: the tokens that logits are for; None means the whole vocabulary.
        batch_limit: how many windows ``analyse_many`` may be given; None when there is no limit.
        frame_memory: embeddings of the frames of the window before, for windows that name their frames.

    Raises:
        BadInput: a file of the bundle can't be loaded.
        Failed: the inference library is missing or the provider does not work.
    """

    def __init__(
        self,
        bundle: Bundle,
        threads: int | None = None,
        provider: str | None = None,
        debug: bool = False,
        whole_vocabulary: bool = False,
        hold_beginning: bool = True,
        observer: Observer | None = None,
    ) -> None:
        manifest = bundle.manifest
        self.bundle = bundle
        self.labels = [label.name for label in manifest.labels]
        self._manifest = manifest
        self._tokenizer = bundle.tokenizer()
        self._embedding = bundle.embedding()
        provider = provider or provider_of(manifest)
        # Engines are compiled for the three rows of one window.
        self.batch_limit = 1 if manifest.backend in PACKAGES and provider != "cpu" else None
        backend = open_backend(manifest, threads, provider, debug, observer)
        self._vision = backend.session(bundle.file(manifest.graphs.vision))
        self._audio = backend.session(bundle.file(manifest.graphs.audio))
        self.logit_tokens = None if whole_vocabulary else manifest.label_tokens
        self._backend = backend
        self._beginning = constant_beginning(manifest.prompt, self._tokenizer) if hold_beginning else None
        self.frame_memory = FrameMemory(manifest.preprocessing.frames_per_clip)
        self._scorer = self._open_decoder(self.logit_tokens)
        self._writer = None if self.logit_tokens else self._scorer

    def _open_decoder(self, columns: list[int] | None) -> Decoder:
        graphs, shape = self._manifest.graphs, self._manifest.decoder
        prefill = graphs.labels if columns and graphs.labels else graphs.prefill
        session = self._backend.decoder(self.bundle.file(prefill), self.bundle.file(graphs.decode), shape)
        return Decoder(session, shape, self._embedding, columns, self._beginning)

    @property
    def can_reason(self) -> bool:
        """Whether the model has a task for giving reasons."""
        return REASON_TASK in self._manifest.prompt.tasks

    def check_can_reason(self) -> None:
        """Raise UsageError when the model has no task for giving reasons."""
        if not self.can_reason:
            raise UsageError(f"{self._manifest.name} can't give reasons", "leave --reason out")

    def forward(self, window: Window) -> Prefill:
        """Run the encoders and the prompt, and score the labels.

        With picture and sound there are three rows in one batch: all, the picture alone, the sound alone. With one of
        them there is one row.

        Raises:
            ValueError: the window has neither picture nor sound.
            BadInput: the prompt does not fit, or the graphs do not fit the manifest.
        """
        return self._forward([window])[0]

    def _forward(self, windows: Sequence[Window]) -> list[Prefill]:
        """The same for windows that all have the same modalities and prompts of one length, in one batch."""
        first = windows[0]
        if first.frames is None and first.samples is None:
            raise ValueError("the window has neither picture nor sound")
        clock = _Clock()
        visual = [self._see(window) for window in windows]
        clock.lap("vision")
        audio = [self._hear(window) for window in windows]
        clock.lap("audio")
        with span("prefill"):
            laid = [self._rows(*each, EMOTION_TASK) for each in zip(windows, visual, audio, strict=True)]
            rows, names = stack_rows([each for each, _ in laid]), laid[0][1]
            outputs = self._scorer.prefill(rows, reserve_for(self._manifest.labels))
        clock.lap("prefill")
        self._check_telemetry(outputs)
        with span("label_scoring"):
            log_probs = self._scorer.score_labels(rows, outputs["logits"], self._manifest.labels)
        clock.lap("labels")
        count = len(names)
        parts = [slice(place * count, (place + 1) * count) for place in range(len(windows))]
        telemetry = [{name: value[part] for name, value in outputs.items()} for part in parts]
        return [
            Prefill(
                rows=names,
                logits=told["logits"][:, -1],
                label_log_probs=log_probs[part],
                audio_share=told.get("audio_share"),
                selected=told.get("selected"),
                modality_mass=told.get("modality_mass"),
                visual_embeds=seen,
                audio_embeds=heard,
                last_is_text=bool(rows.modality[0, -1] == Modality.TEXT),
                timings_ms=clock.laps,
            )
            for told, part, seen, heard in zip(telemetry, parts, visual, audio, strict=True)
        ]

    def analyse_many(self, windows: Sequence[Window], clips: Sequence[str]) -> list[Emotion]:
        """Answer several windows, those of one layout in one batch of the decoder.

        A stage's milliseconds are those of the whole batch. Where activations are quantized, a window's scores depend
        a little on who is in its batch.

        Args:
            windows: from whatever source.
            clips: what each answer names as its clip.

        Raises:
            BadInput: as ``forward``.
            Failed: the model's numbers are not finite, or the inference library fails.
        """
        answers: dict[int, Emotion] = {}
        alike: dict[tuple[bool, bool, int], list[int]] = {}
        for place, window in enumerate(windows):
            if window.frames is None and window.samples is None:
                answers[place] = unknown(window, clips[place])
            else:
                layout = window.frames is None, window.samples is None, len(self._assemble(window, EMOTION_TASK)[0])
                alike.setdefault(layout, []).append(place)
        for places in alike.values():
            began = perf_counter()
            prefills = self._forward([windows[place] for place in places])
            total = (perf_counter() - began) * 1000
            for place, prefill in zip(places, prefills, strict=True):
                timings = {**prefill.timings_ms, "total": total}
                answers[place] = answer(self._manifest, windows[place], clips[place], prefill, None, timings)
        return [answers[place] for place in range(len(windows))]

    def analyse(self, window: Window, clip: str = "", reason: bool = False) -> Emotion:
        """Answer one window.

        Args:
            window: from ``read_windows``.
            clip: what the answer names as its clip.
            reason: also generate the model's words.

        Raises:
            UsageError: a reason is asked of a model that gives none.
            BadInput: as ``forward``.
            Failed: the model's numbers are not finite, or the inference library fails.
        """
        return self.examine(window, clip, reason)[0]

    def examine(self, window: Window, clip: str = "", reason: bool = False) -> tuple[Emotion, Prefill | None]:
        """The answer to a window as ``analyse`` gives it, and what it was made from: None without picture and sound."""
        if reason:
            self.check_can_reason()
        began = perf_counter()
        if window.frames is None and window.samples is None:
            return unknown(window, clip), None
        prefill = self.forward(window)
        words = self.write(window, prefill, REASON_TASK) if reason else None
        timings = dict(prefill.timings_ms)
        total = (perf_counter() - began) * 1000
        if reason:
            timings["reason"] = total - sum(timings.values())
        timings["total"] = total
        return answer(self._manifest, window, clip, prefill, words, timings), prefill

    def write(self, window: Window, prefill: Prefill, task: str, max_tokens: int = REASON_TOKENS) -> str:
        """What the model writes, greedily, in answer to a task of its prompt.

        Args:
            window: a window with picture or sound.
            prefill: what ``forward`` said of it; its encoders' outputs are used again.
            task: a key of the prompt's tasks.
            max_tokens: at most so many.

        Raises:
            BadInput, Failed: as ``forward``.
        """
        if self._writer is None:
            self._writer = self._open_decoder(None)
        with span(TEXT_PREFILL):
            rows, _ = self._rows(window, prefill.visual_embeds, prefill.audio_embeds, task, alone=False)
        return self._tokenizer.decode(list(self._writer.generate(rows, max_tokens))).strip()

    def _see(self, window: Window) -> np.ndarray | None:
        if window.frames is None:
            return None
        size = self._manifest.preprocessing.frames_per_clip
        clips = window.frames.reshape(-1, size, *window.frames.shape[1:])
        if window.frame_keys is None:
            embeds = self._encode(clips)
        else:
            embeds = self.frame_memory.embeds(clips, window.frame_keys, self._encode)
        self._check_tokens("vision", embeds, self._manifest.tokens.visual)
        return embeds

    def _encode(self, clips: np.ndarray) -> np.ndarray:
        with span("vision"):
            return self._vision.run({"frames": clips})["visual_embeds"]

    def _hear(self, window: Window) -> np.ndarray | None:
        if window.samples is None:
            return None
        with span("audio"):
            embeds = self._audio.run({"samples": window.samples[None]})["audio_embeds"]
        self._check_tokens("audio", embeds, self._manifest.tokens.audio)
        return embeds

    def _check_tokens(self, graph: str, embeds: np.ndarray, count: int) -> None:
        wanted = (count, self._manifest.decoder.hidden_size)
        if embeds.ndim != 3 or (embeds.shape[0] * embeds.shape[1], embeds.shape[2]) != wanted:
            raise BadInput(
                f"the {graph} graph gives {list(embeds.shape)} where the manifest says {list(wanted)} in all",
                "build the bundle again",
            )

    def _check_telemetry(self, outputs: Arrays) -> None:
        settings = self._manifest.reallocation
        layers = outputs["selected"].shape[1] if "selected" in outputs else 0
        if settings is not None and layers != len(settings.layers):
            raise BadInput(
                f"the decoder reports {layers} reallocating layers where the manifest says {len(settings.layers)}",
                "build the bundle again",
            )

    def _rows(
        self, window: Window, visual: np.ndarray | None, audio: np.ndarray | None, task: str, alone: bool = True
    ) -> tuple[PromptRows, tuple[str, ...]]:
        """The prompt, and with ``alone`` a row for each of two modalities that sees no other."""
        token_ids, modality = self._assemble(window, task)
        media: dict[Modality, np.ndarray] = {}
        for kind, embeds in ((Modality.VISUAL, visual), (Modality.AUDIO, audio)):
            if embeds is not None:
                media[kind] = embeds.reshape(-1, embeds.shape[-1])
        shown = [tuple(media)]
        names: tuple[str, ...] = ("all",)
        if len(media) > 1 and alone:
            shown += [(Modality.VISUAL,), (Modality.AUDIO,)]
            names = ("all", "visual", "audio")
        return lay_rows(token_ids, modality, self._embedding, media, shown), names

    def _assemble(self, window: Window, task: str) -> tuple[np.ndarray, np.ndarray]:
        tokens, prompt = self._manifest.tokens, self._manifest.prompt
        return assemble(prompt, self._tokenizer, tokens.visual, tokens.audio, window.transcript, task)


def provider_of(manifest: Manifest) -> str:
    """Where a bundle computes when nobody says: ``cpu`` or ``cuda``."""
    return manifest.provider or ("cuda" if manifest.backend in PACKAGES else "cpu")


class _Clock:
    """Milliseconds between laps."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = perf_counter()

    def lap(self, name: str) -> None:
        now = perf_counter()
        self.laps[name] = (now - self._last) * 1000
        self._last = now
