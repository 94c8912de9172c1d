"""Jobs: a folder of shards, which is filled by a runner and loaded into an index."""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from twofold.backends.moving import check_same_content
from twofold.backends.remote_index import RemoteIndex
from twofold.batch_encoding.runners import Runner, SerialRunner
from twofold.batch_encoding.shards import Model, Shard, ShardTask, encode_shard
from twofold.dense import PassageVectors
from twofold.errors import CorruptIndexError, IndexMismatchError, InputError
from twofold.index.encoder_binding import EncoderBinding
from twofold.index.folder_swap import new_index_folder
from twofold.index.layout import resolve_folder
from twofold.index.open_options import AS_STORED, AsStored, OpenOptions
from twofold.index.writing.new_index import Batch, IndexContent, write_index
from twofold.index.writing.passage_input import PassageValidator
from twofold.index.writing.upsert import start_vector_set
from twofold.lexical import AnalyzerLike
from twofold.protocols import Encoder
from twofold.similarity import Metric
from twofold.storage import StoredPassage, make_folders, write_atomic
from twofold.types import Passage, PassageLike
from twofold.validation import as_path, check_integer, check_iterable

_VERSION = 1
_NAME = "job.json"


@dataclass(frozen=True, slots=True)
class JobReport:
    """The outcome of `EncodingJob.run`.

    Attributes:
        shards: How many shards the corpus has.
        encoded: How many of them were encoded; the others were there.
        passages: How many passages the corpus has.
        truncated: How many texts are longer than the encoder reads, and have no windows.
        windowed: How many texts have windows.
    """

    shards: int
    encoded: int
    passages: int
    truncated: int
    windowed: int


class EncodingJob:
    """A job that encodes a corpus in shards, in a folder.

    Shards hold vectors alone: the corpus is read again when they are loaded. A job that was stopped
    can be run again, on the same corpus or on one with more passages at its end; shards that are
    there are left alone.

    Args:
        path: The folder, which is created.
        encoder: As in `Index.open`. An object must be picklable for runners in other processes.
        metric: As in `Index.open`.
        windows: As in `Index.open`.
        size: Passages in a shard.

    Attributes:
        path: The folder.
        size: Passages in a shard.
        options: The arguments of an index for these vectors: encoder, metric and windows.

    Raises:
        InputError: An argument is invalid.
        IndexMismatchError: The folder has a job with other arguments.
        EncoderMismatchError: The folder has shards of another model.

    Example:
        >>> from twofold import HashingEncoder, Index
        >>> from twofold.batch_encoding import EncodingJob
        >>> passages = [{"id": "1", "text": "plants make food"}, {"id": "2", "text": "a garden"}]
        >>> job = EncodingJob("shards", encoder=HashingEncoder())
        >>> job.run(passages).encoded
        1
        >>> job.load(passages, "garden.twofold")
        2
        >>> len(Index.open("garden.twofold", encoder=HashingEncoder()))
        2
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        encoder: Encoder | str | AsStored = AS_STORED,
        metric: Metric | str | None = None,
        windows: bool | int | None = None,
        size: int = 1024,
    ) -> None:
        check_integer("size", size, 1)
        self.path = as_path("path", path)
        self.size = size
        options = OpenOptions(encoder, None, metric, AS_STORED, None, windows, (), 0, None)
        settings = options.to_settings(Path())
        if not settings.dense:
            raise InputError("a job needs an encoder, got None: pass a model's name or an encoder")
        self._binding = EncoderBinding(options.encoder_object, Path())
        settings, record = start_vector_set(settings, self._binding, 1)
        self._settings, self._record = settings, record
        self.options: dict[str, Any] = {
            "encoder": settings.encoder if settings.named else None,
            "metric": settings.metric.value if settings.metric is not None else None,
            "windows": True if settings.windows is None else settings.windows or False,
        }
        self._model = Model(
            settings.to_json(), record.identity, record.canaries, options.encoder_object
        )
        make_folders(self.path)
        self._check_job()

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], *, encoder: Encoder | str | None = None
    ) -> "EncodingJob":
        """Open the job in a folder, with the arguments that it was made with.

        Args:
            path: The folder.
            encoder: The encoder, if it was an object.

        Raises:
            InputError: There is no job, or its encoder was an object and isn't passed.
        """
        file = as_path("path", path) / _NAME
        if not file.exists():
            raise InputError(f"there is no job in {path}: run twofold encode, or pass its folder")
        try:
            stored = json.loads(file.read_bytes())
            arguments, size = dict(stored["arguments"]), stored["size"]
        except (ValueError, LookupError, TypeError) as error:
            raise _damaged(file) from error
        if encoder is not None:
            arguments["encoder"] = encoder
        if arguments["encoder"] is None:
            raise InputError(f"the job in {path} was made with an encoder object: pass encoder=")
        return cls(path, size=size, **arguments)

    def _check_job(self) -> None:
        """Write the arguments, or compare them with those that are there."""
        ours: dict[str, Any] = {"version": _VERSION, "size": self.size, "model": self._model.key}
        arguments = {"arguments": self.options}
        file = self.path / _NAME
        if not file.exists():
            content = json.dumps({**ours, **arguments}).encode()
            write_atomic(file, lambda out: out.write(content))
            return
        try:
            theirs = json.loads(file.read_bytes())
            changed = [name for name, value in ours.items() if theirs[name] != value]
        except (ValueError, LookupError, TypeError) as error:
            raise _damaged(file) from error
        if changed:
            raise IndexMismatchError(
                f"{self.path} has a job with another {changed[0]} ({theirs[changed[0]]!r}) than "
                f"this one ({ours[changed[0]]!r}): pass the same arguments, or another folder"
            )

    def run(
        self,
        passages: Iterable[PassageLike],
        runner: Runner | None = None,
        *,
        progress: Callable[[int], None] | None = None,
    ) -> JobReport:
        """Encode the shards that are not there yet.

        Args:
            passages: The corpus, read once.
            runner: What runs the encoder. Default: this process.
            progress: Called with the number of passages in the shards that are there so far.

        Raises:
            PassageError: A passage is invalid.
            WorkerError: Workers died again and again. Shards that are there stay.
        """
        check_iterable(passages)
        counts = np.zeros(4, np.int64)  # shards, passages, truncated, windowed

        def show(shard: Shard) -> None:
            counts[:] += (1, len(shard.ids), shard.truncated, shard.windowed)
            if progress is not None:
                progress(int(counts[1]))

        def missing() -> Iterator[ShardTask]:
            for task, _ in self._tasks(passages):
                shard = self._read(task)
                if shard is None:
                    yield task
                else:
                    show(shard)

        encoded = 0
        for shard in (runner if runner is not None else SerialRunner()).run(
            encode_shard, missing()
        ):
            self._write(shard)
            encoded += 1
            show(shard)
        return JobReport(int(counts[0]), encoded, *counts[1:].tolist())

    def load(
        self,
        passages: Iterable[PassageLike],
        target: str | os.PathLike[str] | RemoteIndex,
        *,
        analyzer: AnalyzerLike | AsStored | None = AS_STORED,
        title_weight: int | None = None,
        overwrite: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> int:
        """Store the corpus with its vectors; return the number of passages.

        Args:
            passages: The corpus that the job encoded.
            target: A new or empty folder, or an index on a server.
            analyzer: The analyzer of a new folder, as in `Index.open`.
            title_weight: The title weight of a new folder, as in `Index.open`.
            overwrite: Replace an index that is in the folder.
            progress: Called with the number of passages stored so far.

        Raises:
            InputError: The job has not encoded these passages, or the folder holds other files.
            IndexMismatchError: The server's index was made for another model or other windows.
        """
        check_iterable(passages)
        stored, seen = 0, set[str]()

        def read() -> Iterator[tuple[list[tuple[Passage, str]], list[PassageVectors | None]]]:
            nonlocal stored
            for task, batch in self._tasks(passages):
                shard = self._read(task)
                if shard is None:
                    raise InputError(
                        f"{self.path} has no vectors of passage {task.ids[0]!r:.60} and those "
                        "after it: run the job on this corpus first"
                    )
                # Passages of equal content without ids have one id, and are one passage.
                first = {name: at for at, name in reversed(list(enumerate(task.ids)))}
                new = sorted(at for name, at in first.items() if name not in seen)
                seen.update(first)
                yield [batch[at] for at in new], [shard.vectors[at] for at in new]
                stored += len(new)
                if progress is not None:
                    progress(stored)

        if isinstance(target, RemoteIndex):
            self._load_remote(target, read())
            return stored
        options = OpenOptions(
            self._model.encoder if self._model.encoder is not None else self._settings.encoder,
            None, self._settings.metric, analyzer, title_weight, None, (), 0, None,
        )  # fmt: skip
        folder = resolve_folder(target)
        settings = replace(
            options.to_settings(folder),
            dim=self._settings.dim,
            metric=self._settings.metric,
            windows=self._settings.windows,
        )
        content = IndexContent(settings, self._record)

        def batches() -> Iterator[Batch]:
            for batch, vectors in read():
                groups = {at: each for at, each in enumerate(vectors) if each is not None}
                yield Batch(batch, PassageVectors.assign(groups, settings.dim or 0))

        with new_index_folder(folder, overwrite=overwrite) as layout:
            write_index(layout, content, batches(), options.analyzer_sources, self._binding)
        return stored

    def _load_remote(
        self,
        target: RemoteIndex,
        batches: Iterator[tuple[list[tuple[Passage, str]], list[PassageVectors | None]]],
    ) -> None:
        theirs = target.read_content()
        settings = replace(
            theirs.settings, dim=self._settings.dim, metric=self._settings.metric,
            windows=self._settings.windows,
        )  # fmt: skip
        ours = IndexContent(settings, self._record)
        if theirs.vector_set is None:
            for name in ("encoder", "metric", "dim"):
                before, wanted = getattr(theirs.settings, name), getattr(self._settings, name)
                if before not in (None, wanted):
                    raise IndexMismatchError(
                        f"{target!r} was made with {name}={before!r:.80}, and the shards with "
                        f"{wanted!r:.80}: load them into another one"
                    )
        check_same_content(ours, theirs)
        for batch, vectors in batches:
            target.write_batch(batch, vectors, (settings, self._record))
        last = target.read_content()
        target.write_settings(last.settings, last.adapters)

    def _tasks(
        self, passages: Iterable[PassageLike]
    ) -> Iterator[tuple[ShardTask, list[tuple[Passage, str]]]]:
        """Yield the task and the passages of each shard."""
        batches = PassageValidator().iterate_batches(passages, self.size)
        for number, batch in enumerate(batches):
            rows = [StoredPassage.from_passage(0, passage, text) for passage, text in batch]
            ids = tuple(row.id for row in rows)
            texts = tuple(row.encoded_text for row in rows)
            yield ShardTask(number, ids, texts, self._model), batch

    def _read(self, task: ShardTask) -> Shard | None:
        """Return the shard of a task, None if there is none, or of other passages, or damaged."""
        try:
            shard = Shard.from_bytes(self._file(task.number).read_bytes())
        except (FileNotFoundError, CorruptIndexError):
            return None
        return shard if shard.key == task.key else None

    def _write(self, shard: Shard) -> None:
        content = shard.to_bytes()
        write_atomic(self._file(shard.number), lambda out: out.write(content))

    def _file(self, number: int) -> Path:
        return self.path / f"{number:08d}.shard"


def _damaged(file: Path) -> CorruptIndexError:
    return CorruptIndexError(f"{file} is damaged: delete the folder, and run the job again")
