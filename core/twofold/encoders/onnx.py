"""Exported bi-encoders on ONNX Runtime: no torch, no padding, one text at a time."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xxhash

from twofold.encoders.options import AS_SAVED, ModelOptions, spec_of
from twofold.encoders.sources import model_name
from twofold.encoders.texts import checked_texts, directed, shown_progress
from twofold.encoders.tokens import TokenCounter
from twofold.errors import EncoderNotFoundError, InputError, MissingExtraError
from twofold.metrics import Metric
from twofold.threads import spread
from twofold.types import EncoderIdentity, Vectors

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


class OnnxEncoder:
    """A model that ``OnnxEncoder.export`` wrote to a folder; needs the extra ``onnx``, not torch.

    Every text is run by itself, unpadded, on one of ``threads`` threads (left out: one a core), so
    that its vector never depends on its neighbours, not even under int8, whose activations are
    scaled by what a run holds.
    """

    def __init__(
        self, folder: str | Path, *, threads: int | None = None, progress: bool = False
    ) -> None:
        if threads is not None and threads < 1:
            raise InputError(f"threads is {threads}: at least 1 is wanted")
        self.name = spec_of(model_name(folder), AS_SAVED)
        self.progress = progress
        self._folder = Path(folder)
        self._threads = threads if threads is not None else os.cpu_count() or 1
        self._manifest, self._fingerprint = OnnxManifest.read(self._folder)
        self._running: dict[Role, tuple[Any, Any]] = {}
        self._identity: EncoderIdentity | None = None

    @classmethod
    def export(
        cls,
        model: str | Path,
        folder: str | Path,
        *,
        precision: Precision = "float32",
        options: ModelOptions = AS_SAVED,
    ) -> "OnnxEncoder":
        """Write a model and its options to ``folder`` as ONNX graphs, and return their encoder.

        ``"int8"`` stores weights in 8 bits, scaled by channel, and needs no calibration. Raises
        InputError for a folder that holds something else, and for a model whose graph doesn't
        give the model's own vectors.
        """
        from twofold.encoders.onnx_export import export_onnx

        export_onnx(model, Path(folder), precision, options)
        return cls(folder)

    @property
    def identity(self) -> EncoderIdentity:
        """Name, dimensions, metric and fingerprint; the first use hashes all files.

        Raises InputError if they aren't those that were exported.
        """
        if self._identity is None:
            manifest = self._manifest
            if manifest.fingerprint(self._folder) != self._fingerprint:
                raise InputError(
                    f"the files in {self._folder} are not those that were exported: export the "
                    "model again"
                )
            self._identity = EncoderIdentity(
                self.name, manifest.dim, manifest.metric, self._fingerprint
            )
        return self._identity

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Return one vector a query, float32 (n, dim)."""
        return self._encoded(texts, "query")

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Return one vector a passage, float32 (n, dim)."""
        return self._encoded(texts, "passage")

    def count_truncated(self, texts: Sequence[str]) -> int:
        """Return how many passages are longer than the model reads."""
        tower = self._manifest.passage
        if tower.max_length is None:
            return 0
        counter = TokenCounter(self._ready("passage")[1])
        lengths = counter.lengths([tower.prompt + text for text in texts])
        return int((lengths > tower.max_length).sum())

    def _encoded(self, texts: Sequence[str], role: Role) -> Vectors:
        texts, tower = checked_texts(texts), self._tower(role)
        session, tokenizer = self._ready(role)
        encodings = tokenizer.encode_batch(
            [tower.prompt + text for text in texts], add_special_tokens=tower.special_tokens
        )
        ids = [np.array([each.ids], np.int64) for each in encodings]
        # Longest first, so that no thread is left with a long one at the end.
        order = sorted(
            (place for place in range(len(ids)) if ids[place].size),
            key=lambda place: -ids[place].size,
        )
        vectors = np.zeros((len(texts), self._manifest.dim), np.float32)
        with shown_progress(len(texts), shown=self.progress) as advance:
            runs = spread(
                lambda place: session.run(None, {"input_ids": ids[place]})[0], order, self._threads
            )
            for place, vector in zip(order, runs, strict=True):
                vectors[place] = vector[0]
                advance(1)
        return directed(vectors, self._manifest.metric)

    def _tower(self, role: Role) -> OnnxTower:
        return self._manifest.query if role == "query" else self._manifest.passage

    def _ready(self, role: Role) -> tuple[Any, Any]:
        """Return a tower's session and tokenizer, shared by both towers where they are one."""
        if role not in self._running:
            tower = self._tower(role)
            other: Role = "passage" if role == "query" else "query"
            theirs = self._tower(other)
            same = (theirs.graph, theirs.tokenizer) == (tower.graph, tower.tokenizer)
            if same and other in self._running:
                self._running[role] = self._running[other]
            else:
                self._running[role] = _opened(self._folder, tower)
        return self._running[role]


def runtime() -> Any:
    """Return the module onnxruntime; raise MissingExtraError without it."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError(
            "ONNX encoders need onnxruntime: pip install 'twofold[onnx]'"
        ) from error
    return onnxruntime


def _opened(folder: Path, tower: OnnxTower) -> tuple[Any, Any]:
    ort = runtime()
    from tokenizers import Tokenizer

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(
            str(folder / tower.graph), options, providers=["CPUExecutionProvider"]
        )
        tokenizer = Tokenizer.from_file(str(folder / tower.tokenizer))
    except Exception as error:
        raise InputError(
            f"the model in {folder} can't be opened ({error}): export it again"
        ) from error
    return session, tokenizer
