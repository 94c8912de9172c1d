"""The manifest of an exported ONNX encoder: its towers, settings and fingerprint."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import xxhash

from twofold.errors import EncoderNotFoundError, InputError, MissingExtraError
from twofold.similarity import Metric

Precision = Literal["float32", "int8"]
Role = Literal["query", "passage"]
MANIFEST = "encoder.json"
KIND, FORMAT = "twofold-onnx", 1
_CHUNK = 1 << 22


@dataclass(frozen=True, slots=True)
class OnnxTower:
    """One way through an exported model; ``max_length`` is in tokens, None for any length."""

    graph: str
    tokenizer: str
    prompt: str
    special_tokens: bool
    max_length: int | None


@dataclass(frozen=True, slots=True)
class OnnxManifest:
    """What ``encoder.json`` says of an exported folder; ``model`` is the spec it was made from."""

    model: str
    precision: Precision
    dim: int
    metric: Metric
    query: OnnxTower
    passage: OnnxTower

    def fingerprint(self, folder: Path) -> str:
        """Hash the files and the settings that decide a text's vector."""
        state = xxhash.xxh3_128()
        ours = tuple(
            name for tower in (self.query, self.passage) for name in (tower.graph, tower.tokenizer)
        )
        for path in sorted(folder.iterdir()):
            if path.name.startswith(ours) and path.is_file():  # weights may lie beside a graph
                state.update(f"{path.name} {path.stat().st_size} ".encode())
                with path.open("rb") as file:
                    while block := file.read(_CHUNK):
                        state.update(block)
        settings = asdict(self)
        del settings["model"]  # a folder's name is not what it computes
        state.update(json.dumps(settings, sort_keys=True).encode())
        return state.hexdigest()

    def write(self, folder: Path) -> None:
        """Write ``encoder.json`` beside the other files, which are all there already."""
        header = {"kind": KIND, "format": FORMAT, "fingerprint": self.fingerprint(folder)}
        text = json.dumps(header | asdict(self), indent=2, ensure_ascii=False)
        (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "tuple[OnnxManifest, str]":
        """Return a folder's manifest and fingerprint; raise EncoderNotFoundError or InputError."""
        try:
            values = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            if values.pop("kind") != KIND or values.pop("format") != FORMAT:
                raise InputError(
                    f"{folder / MANIFEST} is of another format than {FORMAT}, which this version "
                    "reads: export the model again"
                )
            fingerprint = str(values.pop("fingerprint"))
            values["metric"] = Metric(values["metric"])
            for role in ("query", "passage"):
                values[role] = OnnxTower(**values[role])
            return cls(**values), fingerprint
        except (FileNotFoundError, NotADirectoryError):
            raise EncoderNotFoundError(
                f"{folder} holds no exported model: make one with OnnxEncoder.export or "
                f"'twofold export MODEL --to {folder} --as onnx'"
            ) from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"{folder / MANIFEST} can't be read ({error}): export the model again"
            ) from error


def is_onnx_folder(folder: Path) -> bool:
    """Whether a folder was written by ``OnnxEncoder.export``."""
    try:
        text = (folder / MANIFEST).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False
    return f'"{KIND}"' in text


def runtime() -> Any:
    """Return the module onnxruntime; raise MissingExtraError without it."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError(
            "ONNX encoders need onnxruntime: pip install 'twofold[onnx]'"
        ) from error
    return onnxruntime
