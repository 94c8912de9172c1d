"""Keeps the graphs that were built from models in the user's cache folder.

A graph is found by a hash of the model's files, so a changed model gets another one. A damaged
graph is built again. Deleting the folder at any time is safe.
"""

import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import xxhash
from platformdirs import user_cache_path

from twofold.encoders.onnx_export import can_compare, write_built
from twofold.encoders.onnx_folder import OnnxManifest, OnnxRunner, Precision, is_onnx_folder
from twofold.encoders.transformer_files import TransformerFiles, UnsupportedModelError
from twofold.errors import EncoderNotFoundError, InputError

CACHE_VARIABLE = "TWOFOLD_CACHE"
"""Environment variable with another cache folder."""
_BUILDER = 3
"""Raise it when the same files give another graph."""
_PREFIX = ".building-"
_NAME = re.compile("[0-9a-f]{32}")
_CHUNK = 1 << 22  # bytes
_UNUSED_DAYS = 90
_TRIES = 3


def cache_folder() -> Path:
    """Return the folder of cached graphs."""
    chosen = os.environ.get(CACHE_VARIABLE)
    return (Path(chosen) if chosen else user_cache_path("twofold")) / "graphs"


def open_graph(
    files: TransformerFiles, spec: str, precision: Precision, *, keep: bool = True
) -> OnnxRunner:
    """Open the graph of a model, which is built if it isn't in the cache.

    Several processes may build the same graph at once. Where the cache can't be written, and if
    not ``keep``, each process builds its own.

    Raises:
        UnsupportedModelError: The model can't be built as a graph.
    """
    folder = cache_folder() / _hash_model(files, precision)
    runner = _open_whole(folder)
    if runner is not None:
        with suppress(OSError):
            os.utime(folder)
        return runner
    if keep:
        with suppress(OSError):  # the folder can't be written, or the disk is full
            folder.parent.mkdir(parents=True, exist_ok=True)
            _remove_unused(folder.parent)
            for _ in range(_TRIES):
                _build(folder, files, spec, precision)
                runner = _open_whole(folder)
                if runner is not None:
                    return runner
    try:
        with tempfile.TemporaryDirectory(prefix="twofold-") as temporary:
            work = Path(temporary)
            write_built(work, files, spec, precision)
            return _open(work, OnnxManifest.read(work)[0])
    except OSError as error:
        raise UnsupportedModelError(f"its graph can't be written ({error})") from error


def _hash_model(files: TransformerFiles, precision: Precision) -> str:
    """Return a hash of everything that determines a graph."""
    settings = {**asdict(files), "folder": None, "builder": _BUILDER, "precision": precision}
    if files.config is None:  # such a graph is compared with the weights as soon as it can be
        settings["compared"] = can_compare()
    state = xxhash.xxh3_128(json.dumps(settings, sort_keys=True, default=str).encode())
    for path in files.paths:
        state.update(f"{path.name} {path.stat().st_size} ".encode())
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                state.update(chunk)
    return state.hexdigest()


def _open_whole(folder: Path) -> OnnxRunner | None:
    """Open a cached graph; return None if it is missing or damaged."""
    try:
        manifest, hashed = OnnxManifest.read(folder)
        paths = manifest.list_files(folder)
        if len(paths) == len(manifest.file_names):
            contents = {path.name: path.read_bytes() for path in paths}
            whole = manifest.hash_contents(contents) == hashed
            return _open(folder, manifest, contents) if whole else None
        # ONNX Runtime reads a file of weights itself, and it may change meanwhile.
        if manifest.hash_files(folder) != hashed:
            return None
        runner = _open(folder, manifest)
        return runner if manifest.hash_files(folder) == hashed else None
    except (EncoderNotFoundError, InputError, OSError):
        return None


def _open(
    folder: Path, manifest: OnnxManifest, contents: Mapping[str, bytes] | None = None
) -> OnnxRunner:
    """Open a folder's graphs and tokenizers now, because another process may replace the folder."""
    runner = OnnxRunner(folder, manifest, contents=contents)
    runner.open_all()
    return runner


def _build(folder: Path, files: TransformerFiles, spec: str, precision: Precision) -> None:
    """Build a graph in a folder of its own, and move it to its place."""
    work = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=folder.parent))
    try:
        new, old = work / "new", work / "old"
        new.mkdir()
        write_built(new, files, spec, precision)
        with suppress(FileNotFoundError):
            folder.rename(old)
        with suppress(OSError):  # another process was first
            new.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _remove_unused(parent: Path) -> None:
    """Remove graphs that were not used for long, and unfinished ones. Other folders stay."""
    now = time.time()
    for path in parent.iterdir():
        is_graph = _NAME.fullmatch(path.name) and is_onnx_folder(path)
        if path.is_symlink() or not (is_graph or path.name.startswith(_PREFIX)):
            continue
        days = _UNUSED_DAYS if is_graph else 1
        with suppress(OSError):
            if now - path.stat().st_mtime > days * 86_400:
                shutil.rmtree(path, ignore_errors=True)
