"""Window → Emotion: the one place where the stages meet."""

from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from mosear.runtime.bundle import Bundle
from mosear.runtime.decoder import Decoder, PromptRows, lay_rows, reserve_for
from mosear.runtime.engines.library import PACKAGES
from mosear.runtime.errors import BadInput, UsageError
from mosear.runtime.manifest import Manifest
from mosear.runtime.modality import Modality
from mosear.runtime.prompt import assemble
from mosear.runtime.results import UNKNOWN, Emotion
from mosear.runtime.scores import jensen_shannon, label_scores, reliance
from mosear.runtime.sessions import Arrays, open_backend
from mosear.runtime.windows import Window

EMOTION_TASK = "emotion"
REASON_TASK = "reason"
REASON_TOKENS = 256


@dataclass(frozen=True, eq=False)
class Prefill:
    """What the model says of a window before it is made into an answer; B rows.

    Attributes:
        rows: what each row sees: ``all``, ``visual``, ``audio``; only ``all`` when a modality is missing.
        logits: float32 [B, K] behind the prompt, a column for each of ``Pipeline.logit_tokens``.
        label_log_probs: float64 [B, L], in the order of the manifest's labels; see ``Decoder.score_labels``.
        audio_share: float32 [B, R, H], or None when the graph does not report it (so also below).
        selected: float32 [B, R, H], 1 where the head was reallocated.
        modality_mass: float32 [B, R, H, 3] on text, visual and audio keys, before reallocation.
        visual_embeds: float32 [N, k, D], or None without a picture.
        audio_embeds: float32 [1, a, D], or None without sound.
        last_is_text: whether the last query row is text.
        timings_ms: milliseconds by stage.
    """

    rows: tuple[str, ...]
    logits: np.ndarray
    label_log_probs: np.ndarray
    audio_share: np.ndarray | None
    selected: np.ndarray | None
    modality_mass: np.ndarray | None
    visual_embeds: np.ndarray | None
    audio_embeds: np.ndarray | None
    last_is_text: bool
    timings_ms: dict[str, float] = field(default_factory=dict)


class Pipeline:
    """A bundle, ready to answer windows.

    Args:
        bundle: an opened bundle.
        threads: CPU threads; the library's choice when left out.
        provider: ``cpu`` or ``cuda``; what the bundle was built for when left out.
        debug: let the inference library print its warnings.
        whole_vocabulary: score labels on the logits of all tokens, although the bundle has a graph of labels.

    Attributes:
        labels: names of the labels.
        logit_tokens: the tokens that logits are for; None means the whole vocabulary.

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
    ) -> None:
        manifest = bundle.manifest
        self.bundle = bundle
        self.labels = [label.name for label in manifest.labels]
        self._manifest = manifest
        self._tokenizer = bundle.tokenizer()
        self._embedding = bundle.embedding()
        backend = open_backend(manifest, threads, provider or _provider_of(manifest), debug)
        self._vision = backend.session(bundle.file(manifest.graphs.vision))
        self._audio = backend.session(bundle.file(manifest.graphs.audio))
        self.logit_tokens = None if whole_vocabulary else manifest.label_tokens
        self._backend = backend
        self._scorer = self._open_decoder(self.logit_tokens)
        self._writer = None if self.logit_tokens else self._scorer

    def _open_decoder(self, columns: list[int] | None) -> Decoder:
        graphs, shape = self._manifest.graphs, self._manifest.decoder
        prefill = graphs.labels if columns and graphs.labels else graphs.prefill
        session = self._backend.decoder(self.bundle.file(prefill), self.bundle.file(graphs.decode), shape)
        return Decoder(session, shape, self._embedding, columns)

    def check_can_reason(self) -> None:
        """Raise UsageError when the model has no task for giving reasons."""
        if REASON_TASK not in self._manifest.prompt.tasks:
            raise UsageError(f"{self._manifest.name} can't give reasons", "leave --reason out")

    def forward(self, window: Window) -> Prefill:
        """Run the encoders and the prompt, and score the labels.

        With picture and sound there are three rows in one batch: all, the picture alone, the sound alone. With one of
        them there is one row.

        Raises:
            ValueError: the window has neither picture nor sound.
            BadInput: the prompt does not fit, or the graphs do not fit the manifest.
        """
        if window.frames is None and window.samples is None:
            raise ValueError("the window has neither picture nor sound")
        clock = _Clock()
        visual = self._see(window)
        clock.lap("vision")
        audio = self._hear(window)
        clock.lap("audio")
        rows, names = self._rows(window, visual, audio, EMOTION_TASK)
        outputs = self._scorer.prefill(rows, reserve_for(self._manifest.labels))
        clock.lap("prefill")
        self._check_telemetry(outputs)
        log_probs = self._scorer.score_labels(rows, outputs["logits"], self._manifest.labels)
        clock.lap("labels")
        return Prefill(
            rows=names,
            logits=outputs["logits"][:, -1],
            label_log_probs=log_probs,
            audio_share=outputs.get("audio_share"),
            selected=outputs.get("selected"),
            modality_mass=outputs.get("modality_mass"),
            visual_embeds=visual,
            audio_embeds=audio,
            last_is_text=bool(rows.modality[0, -1] == Modality.TEXT),
            timings_ms=clock.laps,
        )

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
        if reason:
            self.check_can_reason()
        began = perf_counter()
        if window.frames is None and window.samples is None:
            states = [*window.states, UNKNOWN]
            alone: dict[str, dict[str, float] | None] = {"visual": None, "audio": None}
            return Emotion(clip, window.start, window.end, UNKNOWN, {}, alone, None, None, [], states)
        prefill = self.forward(window)
        words = self._reason(window, prefill) if reason else None
        timings = dict(prefill.timings_ms)
        total = (perf_counter() - began) * 1000
        if reason:
            timings["reason"] = total - sum(timings.values())
        timings["total"] = total
        return self._answer(window, clip, prefill, words, timings)

    def _answer(
        self, window: Window, clip: str, prefill: Prefill, words: str | None, timings: dict[str, float]
    ) -> Emotion:
        scores = label_scores(prefill.label_log_probs, self._manifest.temperature)
        by_row = dict(zip(prefill.rows, scores, strict=True))
        seen = by_row.get("visual", scores[0] if window.samples is None else None)
        heard = by_row.get("audio", scores[0] if window.frames is None else None)
        return Emotion(
            clip=clip,
            start=window.start,
            end=window.end,
            label=self.labels[int(np.argmax(scores[0]))],
            scores=self._named(scores[0]),
            by_modality={
                "visual": None if seen is None else self._named(seen),
                "audio": None if heard is None else self._named(heard),
            },
            conflict=None if seen is None or heard is None else jensen_shannon(seen, heard),
            reliance=self._reliance(prefill),
            reallocated_heads=self._reallocated(prefill),
            states=list(window.states),
            reason=words,
            timings_ms=timings,
        )

    def _named(self, scores: np.ndarray) -> dict[str, float]:
        return dict(zip(self.labels, scores.tolist(), strict=True))

    def _reliance(self, prefill: Prefill) -> dict[str, float] | None:
        mass, selected = prefill.modality_mass, prefill.selected
        if mass is None or mass[0].size == 0:
            return None
        settings = self._manifest.reallocation
        acts = settings is not None and (settings.rows != "text" or prefill.last_is_text)
        chosen = selected[0] if selected is not None else np.zeros(mass[0].shape[:2])
        return reliance(mass[0], chosen, settings.rate if settings and acts else 0.0)

    def _reallocated(self, prefill: Prefill) -> list[list[int]]:
        settings = self._manifest.reallocation
        if settings is None or prefill.selected is None:
            return []
        return [[settings.layers[place], int(head)] for place, head in np.argwhere(prefill.selected[0] > 0)]

    def _see(self, window: Window) -> np.ndarray | None:
        if window.frames is None:
            return None
        size = self._manifest.preprocessing.frames_per_clip
        clips = window.frames.reshape(-1, size, *window.frames.shape[1:])
        embeds = self._vision.run({"frames": clips})["visual_embeds"]
        self._check_tokens("vision", embeds, self._manifest.tokens.visual)
        return embeds

    def _hear(self, window: Window) -> np.ndarray | None:
        if window.samples is None:
            return None
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
        self, window: Window, visual: np.ndarray | None, audio: np.ndarray | None, task: str
    ) -> tuple[PromptRows, tuple[str, ...]]:
        tokens = self._manifest.tokens
        token_ids, modality = assemble(
            self._manifest.prompt, self._tokenizer, tokens.visual, tokens.audio, window.transcript, task
        )
        media: dict[Modality, np.ndarray] = {}
        for kind, embeds in ((Modality.VISUAL, visual), (Modality.AUDIO, audio)):
            if embeds is not None:
                media[kind] = embeds.reshape(-1, embeds.shape[-1])
        shown = [tuple(media)]
        names: tuple[str, ...] = ("all",)
        if len(media) > 1 and task == EMOTION_TASK:
            shown += [(Modality.VISUAL,), (Modality.AUDIO,)]
            names = ("all", "visual", "audio")
        return lay_rows(token_ids, modality, self._embedding, media, shown), names

    def _reason(self, window: Window, prefill: Prefill) -> str:
        if self._writer is None:
            self._writer = self._open_decoder(None)
        rows, _ = self._rows(window, prefill.visual_embeds, prefill.audio_embeds, REASON_TASK)
        return self._tokenizer.decode(list(self._writer.generate(rows, REASON_TOKENS))).strip()


def _provider_of(manifest: Manifest) -> str:
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
