"""Exported folders: ONNX graphs, tokenizers and a manifest, and what runs them."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xxhash
from numpy.typing import NDArray

from twofold.concurrency import ForkSafeLock, map_threads
from twofold.encoders.batching import TokenCounter, check_texts, fill_zero_vectors, progress_bar
from twofold.errors import EncoderNotFoundError, InputError
from twofold.extras import check_extra
from twofold.similarity import Metric
from twofold.types import Vectors

Precision = Literal["float32", "int8"]
_FILE = "encoder.json"
_KIND, _FORMAT = "twofold-onnx", 2
_CHUNK = 1 << 22  # bytes


@dataclass(frozen=True, slots=True)
class OnnxTower:
    """Files and options of an exported tower; ``max_length`` in tokens, None for no limit."""

    graph: str
    tokenizer: str
    prompt: str
    special_tokens: bool
    max_length: int | None


@dataclass(frozen=True, slots=True)
class OnnxManifest:
    """The contents of ``encoder.json``.

    Attributes:
        model: The spec of the model.
        fingerprint: That of the model's vectors. In float32, it is the one of the model on torch.
        precision: That of the weights.
        dim: The number of dimensions of the vectors.
        metric: The metric that the model was trained for.
        query: The tower of queries.
        passage: The tower of passages.
    """

    model: str
    fingerprint: str
    precision: Precision
    dim: int
    metric: Metric
    query: OnnxTower
    passage: OnnxTower

    @property
    def file_names(self) -> set[str]:
        """The names of the graphs and tokenizers."""
        towers = (self.query, self.passage)
        return {name for tower in towers for name in (tower.graph, tower.tokenizer)}

    def list_files(self, folder: Path) -> list[Path]:
        """Return the files that determine the vectors; a graph may have a file of weights."""
        names = tuple(self.file_names)
        found = (path for path in sorted(folder.iterdir()) if path.name.startswith(names))
        return [path for path in found if path.is_file()]

    def hash_files(self, folder: Path) -> str:
        """Return a hash of the files and options that determine the vectors."""
        state = xxhash.xxh3_128()
        for path in self.list_files(folder):
            state.update(f"{path.name} {path.stat().st_size} ".encode())
            with path.open("rb") as file:
                while block := file.read(_CHUNK):
                    state.update(block)
        return self._hash_options(state)

    def hash_contents(self, contents: Mapping[str, bytes]) -> str:
        """Return the same of the contents of the files, by name."""
        state = xxhash.xxh3_128()
        for name, data in sorted(contents.items()):
            state.update(f"{name} {len(data)} ".encode())
            state.update(data)
        return self._hash_options(state)

    def _hash_options(self, state: xxhash.xxh3_128) -> str:
        options = asdict(self)
        del options["model"]  # doesn't affect the vectors
        state.update(json.dumps(options, sort_keys=True).encode())
        return state.hexdigest()

    def write(self, folder: Path) -> None:
        """Write ``encoder.json`` to an exported folder whose other files are complete."""
        header = {"kind": _KIND, "format": _FORMAT, "files": self.hash_files(folder)}
        text = json.dumps(header | asdict(self), indent=2, ensure_ascii=False)
        (folder / _FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "tuple[OnnxManifest, str]":
        """Return a folder's manifest, and the stored hash of its files."""
        path = folder / _FILE
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if (values.pop("kind"), values.pop("format")) != (_KIND, _FORMAT):
                raise ValueError(f"this version reads format {_FORMAT}")
            hashed = str(values.pop("files"))
            values["metric"] = Metric(values["metric"])
            for role in ("query", "passage"):
                tower = values[role] = OnnxTower(**values[role])
                for name in (tower.graph, tower.tokenizer):
                    if not isinstance(name, str) or Path(name).name != name:
                        raise ValueError(f"{name!r} is no name of a file")
            return cls(**values), hashed
        except (FileNotFoundError, NotADirectoryError):
            raise EncoderNotFoundError(
                f"{folder} has no exported model: make one with OnnxEncoder.export or "
                f"'twofold export MODEL --to {folder} --as onnx'"
            ) from None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(f"{path} can't be read ({error}): export the model again") from error


class OnnxRunner:
    """Encodes texts with the graphs of a folder, each opened when first used.

    Each text is run alone and unpadded, so that its vector doesn't depend on the other texts. In a
    batch, an int8 model would scale the activations of all texts together.
    """

    def __init__(
        self,
        folder: Path,
        manifest: OnnxManifest,
        threads: int | None = None,
        contents: Mapping[str, bytes] | None = None,
    ) -> None:
        """Create a runner; ``contents`` are files that were read already, by name."""
        self.folder = folder
        self.manifest = manifest
        self._contents = contents or {}
        self._threads = threads if threads is not None else os.cpu_count() or 1
        self._opened: dict[tuple[str, str], tuple[Any, Any]] = {}
        self._counters: dict[str, TokenCounter] = {}
        self._lock = ForkSafeLock()

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_opened": {}, "_counters": {}, "_contents": {}}

    def encode(self, texts: Sequence[str], tower: OnnxTower, *, progress: bool = False) -> Vectors:
        """Return one vector per text, float32 (n, dim)."""
        texts = check_texts(texts)
        session, tokenizer = self.open(tower)
        encodings = tokenizer.encode_batch(
            [tower.prompt + text for text in texts], add_special_tokens=tower.special_tokens
        )
        ids = [np.array([encoding.ids], np.int64) for encoding in encodings]
        # Longest first, so that no thread runs a long text alone at the end.
        sizes = np.array([row.size for row in ids], np.int64)
        order = [place for place in np.argsort(-sizes, kind="stable").tolist() if sizes[place]]
        vectors = np.zeros((len(texts), self.manifest.dim), np.float32)
        with progress_bar(len(texts), shown=progress) as advance:
            results = map_threads(
                lambda place: session.run(None, {"input_ids": ids[place]})[0], order, self._threads
            )
            for place, vector in zip(order, results, strict=True):
                if vector.shape != (1, self.manifest.dim):
                    raise InputError(
                        f"the model in {self.folder} gives vectors of the shape {vector.shape}, "
                        f"not (1, {self.manifest.dim}): export it again"
                    )
                vectors[place] = vector[0]
                advance(1)
        return fill_zero_vectors(vectors, self.manifest.metric)

    def count_truncated(self, texts: Sequence[str]) -> int:
        """Return how many passages have more tokens than the model reads."""
        tower = self.manifest.passage
        if tower.max_length is None:
            return 0
        counts = self._counter(tower).count([tower.prompt + text for text in texts])
        return int((counts > tower.max_length).sum())

    def count_tokens(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Return the number of tokens of each passage (n,), without its prompt."""
        return self._counter(self.manifest.passage).count(texts)

    @property
    def prompts(self) -> tuple[str, str]:
        """The prompts before queries and before passages, "" for none."""
        return self.manifest.query.prompt, self.manifest.passage.prompt

    @property
    def max_tokens(self) -> int | None:
        """The most tokens of a passage that the model reads, None if it reads all."""
        tower = self.manifest.passage
        if tower.max_length is None:
            return None
        return self._counter(tower).max_tokens(tower.prompt, tower.max_length)

    def token_spans(self, texts: Sequence[str]) -> list[NDArray[np.int64] | None]:
        """Return the tokens of each passage that has more than the model reads, else None."""
        tower = self.manifest.passage
        if tower.max_length is None:
            return [None] * len(texts)
        return self._counter(tower).spans(texts, tower.prompt, tower.max_length)

    def _counter(self, tower: OnnxTower) -> TokenCounter:
        _, tokenizer = self.open(tower)
        with self._lock:
            if tower.tokenizer not in self._counters:
                self._counters[tower.tokenizer] = TokenCounter(tokenizer)
            return self._counters[tower.tokenizer]

    def open_all(self) -> None:
        """Open all graphs and tokenizers now, and forget contents that were passed."""
        for tower in (self.manifest.query, self.manifest.passage):
            self.open(tower)
        self._contents = {}

    def open(self, tower: OnnxTower) -> tuple[Any, Any]:
        """Return a tower's ONNX session and tokenizer, shared by towers with the same files."""
        files = (tower.graph, tower.tokenizer)
        with self._lock:
            if files not in self._opened:
                self._opened[files] = self._read(tower)
            return self._opened[files]

    def _read(self, tower: OnnxTower) -> tuple[Any, Any]:
        check_extra("onnx", "ONNX encoders", "onnxruntime", "tokenizers")
        import onnxruntime as ort
        from tokenizers import Tokenizer

        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            graph = self._contents.get(tower.graph, str(self.folder / tower.graph))
            session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
            data = self._contents.get(tower.tokenizer)
            if data is not None:
                return session, Tokenizer.from_buffer(data)
            return session, Tokenizer.from_file(str(self.folder / tower.tokenizer))
        except Exception as error:
            raise InputError(
                f"the model in {self.folder} can't be opened ({error}): export it again"
            ) from error


def is_onnx_folder(folder: Path) -> bool:
    """Return whether a folder was written by ``OnnxEncoder.export``."""
    try:
        text = (folder / _FILE).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False
    return f'"{_KIND}"' in text
