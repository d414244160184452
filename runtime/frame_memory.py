"""Embeddings of frames that overlapping windows share, so that the vision encoder sees each of them once."""

from collections.abc import Callable, Hashable, Sequence

import numpy as np

Encode = Callable[[np.ndarray], np.ndarray]


class FrameMemory:
    """What the vision encoder made of the frames of the window before.

    It holds the frames of one window and no more: windows only move forward.

    Args:
        per_clip: frames that the encoder takes at once. With more than one, what is shared are clips and not frames,
            and only where a whole clip of the window before comes again.
    """

    def __init__(self, per_clip: int) -> None:
        self._per_clip = per_clip
        self._known: dict[tuple[Hashable, ...], np.ndarray] = {}
        self.encoded = 0
        self.reused = 0

    def embeds(self, clips: np.ndarray, keys: Sequence[Hashable], encode: Encode) -> np.ndarray:
        """Embeddings [N, k, D] of N clips, of which only the unknown ones are encoded.

        Args:
            clips: uint8 [N, per_clip, size, size, 3].
            keys: one for each of the N · per_clip frames, equal exactly for equal frames.
            encode: clips [n, per_clip, size, size, 3] → [n, k, D].

        Raises:
            ValueError: there are not as many keys as frames.
        """
        if len(keys) != len(clips) * self._per_clip:
            raise ValueError(f"{len(keys)} keys for {len(clips) * self._per_clip} frames")
        step = self._per_clip
        names = [tuple(keys[place * step : (place + 1) * step]) for place in range(len(clips))]
        fresh = {name: place for place, name in enumerate(names) if name not in self._known}
        if fresh:
            made = encode(clips[list(fresh.values())])
            self._known.update(zip(fresh, made, strict=True))
        self._known = {name: self._known[name] for name in names}
        self.encoded += len(fresh)
        self.reused += len(names) - len(fresh)
        return np.stack([self._known[name] for name in names])
