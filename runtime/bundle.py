"""A bundle on disk: opened, checked against its manifest, and refused in one line when something does not fit."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError
from tokenizers import Tokenizer

from mosear.runtime.errors import BadInput
from mosear.runtime.manifest import MANIFEST_NAME, SCHEMA_VERSION, FileEntry, Manifest
from mosear.runtime.prompt import load_tokenizer

SUPPORTED = ("onnxruntime", "standard", "tensorrt", "tensorrt_rtx")
"""The backends that this runtime can run."""

_AGAIN = "copy the whole bundle again from where it was built, or build it again"
_BLOCK = 1 << 20


@dataclass(frozen=True, eq=False)
class Bundle:
    """An opened bundle.

    Attributes:
        path: the folder.
        manifest: what it holds.
    """

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: str | Path, verify: bool = True) -> "Bundle":
        """Open the bundle at ``path``.

        Args:
            path: its folder.
            verify: compare every file's SHA-256 with the manifest; sizes are always compared.

        Raises:
            BadInput: it is missing, damaged, newer than this program, or made for something else than what is here.
        """
        folder = Path(path)
        manifest = _read_manifest(folder)
        _check_supported(folder, manifest)
        for name, entry in manifest.files.items():
            _check_file(folder, name, entry, verify)
        return cls(folder, manifest)

    def file(self, name: str) -> Path:
        """Path of a file that the manifest lists."""
        return self.path / name

    def embedding(self) -> np.ndarray:
        """The token embeddings, float32 or float16 [V, D], mapped from disk and not loaded.

        Raises:
            BadInput: the file is no array of that type and shape.
        """
        decoder = self.manifest.decoder
        path = self.file(self.manifest.embedding)
        try:
            table = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise BadInput(f"{path} is not an array ({error})", _AGAIN) from error
        wanted = (decoder.vocab_size, decoder.hidden_size)
        if getattr(table, "shape", None) != wanted or table.dtype not in (np.float32, np.float16):
            raise BadInput(f"{path} is not float32 or float16 {list(wanted)}", _AGAIN)
        return table

    def tokenizer(self) -> Tokenizer:
        """The tokenizer. Raises BadInput when its file is none."""
        return load_tokenizer(self.file(self.manifest.tokenizer))


def sha256_file(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal, read in blocks."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def file_entry(path: str | Path) -> FileEntry:
    """The manifest's entry for a file."""
    return FileEntry(sha256=sha256_file(path), size=Path(path).stat().st_size)


def _read_manifest(folder: Path) -> Manifest:
    try:
        if not folder.exists():
            raise BadInput(f"{folder}: no such bundle", "check the path, or build one with mosear-export build")
        if not folder.is_dir():
            raise BadInput(f"{folder} is a file, not a bundle", "name the folder that holds manifest.json")
        path = folder / MANIFEST_NAME
        if not path.is_file():
            raise BadInput(f"{folder} has no {MANIFEST_NAME}, so it is no bundle", "name the folder that holds one")
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{folder / MANIFEST_NAME} is not valid JSON ({error})", _AGAIN) from error
    except OSError as error:
        raise BadInput(f"{folder} can't be read ({error.strerror or error})", "check its permissions") from error
    _check_schema(folder, document)
    try:
        return Manifest.model_validate(document)
    except ValidationError as error:
        raise BadInput(f"{folder / MANIFEST_NAME} does not hold: {_first(error)}", _AGAIN) from error


def _check_schema(folder: Path, document: Any) -> None:
    version = document.get("schema_version") if isinstance(document, dict) else None
    if not isinstance(version, int) or isinstance(version, bool):
        raise BadInput(f"{folder / MANIFEST_NAME} states no schema_version", _AGAIN)
    if version > SCHEMA_VERSION:
        raise BadInput(
            f"{folder} has manifest schema {version}, newer than the {SCHEMA_VERSION} that this mosear reads",
            "upgrade it with pip install --upgrade mosear, or build the bundle with this version",
        )
    if version < SCHEMA_VERSION:
        raise BadInput(f"{folder} has manifest schema {version}, which was never released", _AGAIN)


def _first(error: ValidationError) -> str:
    """The first complaint, without the values: they may be long."""
    details = error.errors(include_url=False, include_input=False, include_context=False)
    place = ".".join(str(part) for part in details[0]["loc"])
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    message = details[0]["msg"].removeprefix("Value error, ")
    return f"{place}: {message}{more}" if place else f"{message}{more}"


def _check_supported(folder: Path, manifest: Manifest) -> None:
    if manifest.backend not in SUPPORTED:
        raise BadInput(
            f"{folder} was built for the backend {manifest.backend}, which this mosear can't run",
            "upgrade mosear, or build the bundle again for the target cpu",
        )


def _check_file(folder: Path, name: str, entry: FileEntry, verify: bool) -> None:
    path = folder / name
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise BadInput(f"{path} leads out of the bundle", _AGAIN)
        if not path.is_file():
            raise BadInput(f"{path} is missing", _AGAIN)
        size = path.stat().st_size
        if size != entry.size:
            raise BadInput(f"{path} has {size} bytes instead of {entry.size}", _AGAIN)
        if verify and sha256_file(path) != entry.sha256:
            raise BadInput(f"{path} was changed: its SHA-256 is not the one in the manifest", _AGAIN)
    except OSError as error:
        raise BadInput(f"{path} can't be read ({error.strerror or error})", "check its permissions") from error
