"""The manifest of an exported ONNX encoder: its towers, options and fingerprint."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import xxhash

from twofold.errors import EncoderNotFoundError, InputError, MissingExtraError
from twofold.similarity import Metric

Precision = Literal["float32", "int8"]
Role = Literal["query", "passage"]
_FILE = "encoder.json"
_KIND, _FORMAT = "twofold-onnx", 1
_CHUNK = 1 << 22  # bytes


@dataclass(frozen=True, slots=True)
class OnnxTower:
    """The files and options of one tower; ``max_length`` is in tokens, None for no limit."""

    graph: str
    tokenizer: str
    prompt: str
    special_tokens: bool
    max_length: int | None


@dataclass(frozen=True, slots=True)
class OnnxManifest:
    """The contents of ``encoder.json``; ``model`` is the spec of the exported model."""

    model: str
    precision: Precision
    dim: int
    metric: Metric
    query: OnnxTower
    passage: OnnxTower

    def fingerprint(self, folder: Path) -> str:
        """Return a hash of the files and options that determine the vectors."""
        state = xxhash.xxh3_128()
        names = tuple(
            name for tower in (self.query, self.passage) for name in (tower.graph, tower.tokenizer)
        )
        for path in sorted(folder.iterdir()):
            if path.name.startswith(names) and path.is_file():  # a graph may have a weights file
                state.update(f"{path.name} {path.stat().st_size} ".encode())
                with path.open("rb") as file:
                    while block := file.read(_CHUNK):
                        state.update(block)
        options = asdict(self)
        del options["model"]  # doesn't affect the vectors
        state.update(json.dumps(options, sort_keys=True).encode())
        return state.hexdigest()

    def write(self, folder: Path) -> None:
        """Write ``encoder.json``, after all other files."""
        header = {"kind": _KIND, "format": _FORMAT, "fingerprint": self.fingerprint(folder)}
        text = json.dumps(header | asdict(self), indent=2, ensure_ascii=False)
        (folder / _FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "tuple[OnnxManifest, str]":
        """Return a folder's manifest and the fingerprint stored in it."""
        path = folder / _FILE
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if (values.pop("kind"), values.pop("format")) != (_KIND, _FORMAT):
                raise ValueError(f"this version reads format {_FORMAT}")
            fingerprint = str(values.pop("fingerprint"))
            values["metric"] = Metric(values["metric"])
            for role in ("query", "passage"):
                values[role] = OnnxTower(**values[role])
            return cls(**values), fingerprint
        except (FileNotFoundError, NotADirectoryError):
            raise EncoderNotFoundError(
                f"{folder} has no exported model: make one with OnnxEncoder.export or "
                f"'twofold export MODEL --to {folder} --as onnx'"
            ) from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path} can't be read ({error}): export the model again") from error


def is_onnx_folder(folder: Path) -> bool:
    """Return whether a folder was written by ``OnnxEncoder.export``."""
    try:
        text = (folder / _FILE).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False
    return f'"{_KIND}"' in text


def import_onnxruntime() -> Any:
    """Return the module onnxruntime; raise MissingExtraError if it isn't installed."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError(
            "ONNX encoders need onnxruntime: pip install 'twofold[onnx]'"
        ) from error
    return onnxruntime
