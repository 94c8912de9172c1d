"""What an index is opened with: checked against what is stored, or stored as its settings."""

import os
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Literal

from twofold.encoders import DEFAULT_ENCODER, encoder_from_name
from twofold.errors import IndexMismatchError, IndexNotFoundError, InputError
from twofold.index.analyzer_binding import analyzed_by, check_analyzer, check_title_weight
from twofold.index.layout import Layout
from twofold.lexical import AnalyzerLike, analyzer_from_name, as_analyzer
from twofold.protocols import Analyzer, Encoder
from twofold.similarity import Metric
from twofold.storage import (
    Catalog,
    Settings,
    WriteLock,
    read_head,
    refuse_network,
    sync_folder,
    write_head,
)


class AsStored(Enum):
    """The type of ``AS_STORED``, the mark of an argument that was left out."""

    MARK = "as stored"


AS_STORED = AsStored.MARK
DEFAULT_ANALYZER = "english"


@dataclass(frozen=True, slots=True)
class OpenOptions:
    """The arguments of ``Index.open``; ``given`` is an encoder object, ``name`` an encoder's name.

    ``taken``: vectors are the caller's, of the dimensions that the first ones have. ``head`` is the
    generation in HEAD, read before the catalog is.
    """

    given: Encoder | None
    name: str | AsStored | None
    dim: int | None
    taken: bool
    metric: Metric | None
    analyzer: Analyzer | AsStored | None
    title_weight: int | None
    read_only: bool
    head: int

    @classmethod
    def of(
        cls,
        encoder: Encoder | str | AsStored | None,
        dim: int | Literal["first"] | None,
        metric: Metric | str | None,
        analyzer: AnalyzerLike | AsStored | None,
        title_weight: int | None,
        read_only: bool,
        head: int,
    ) -> "OpenOptions":
        """Check the arguments by themselves; raise InputError."""
        given: Encoder | None = None
        name: str | AsStored | None = AS_STORED
        if encoder is None or isinstance(encoder, str | AsStored):
            name = encoder
        else:
            given, name = check_encoder(encoder), encoder_name(encoder)
        known = dim if isinstance(dim, int) and not isinstance(dim, bool) and dim > 0 else None
        if known is None and dim not in (None, "first"):
            raise InputError(f"dim is {dim!r}: a whole number of at least 1, or 'first', is wanted")
        if analyzer is not None and not isinstance(analyzer, AsStored):
            analyzer = as_analyzer(analyzer)
        if title_weight is not None:
            check_title_weight(title_weight)
        chosen = Metric.of(metric) if metric is not None else None
        taken = dim is not None
        return cls(given, name, known, taken, chosen, analyzer, title_weight, read_only, head)

    def settings(self) -> Settings:
        """Return the settings of a new index with these choices."""
        name, analyzer = self.name, self.analyzer
        if isinstance(name, AsStored):
            name = DEFAULT_ENCODER if not self.taken else None
        if isinstance(analyzer, AsStored):
            analyzer = analyzer_from_name(DEFAULT_ANALYZER)
        dense = name is not None or self.taken
        if not dense and analyzer is None:
            raise InputError("encoder=None and analyzer=None leave no leg to search with")
        if name is not None and self.given is None:
            encoder_from_name(name)  # an unknown name is better known now
        metric = self.metric
        if metric is None and name is None and dense:
            metric = Metric.COSINE  # caller's vectors have no metric of their own
        settings = Settings(
            dense=dense,
            encoder=name,
            named=name is not None and (self.given is None or has_identity(self.given)),
            dim=self.dim,
            metric=metric,
        )
        if analyzer is None:
            if self.title_weight is not None:
                raise InputError("title_weight weighs words, and analyzer=None leaves them out")
            return settings
        weight = self.title_weight if self.title_weight is not None else settings.title_weight
        return analyzed_by(settings, analyzer, weight)

    def check(self, stored: Settings) -> None:
        """Raise IndexMismatchError where a choice contradicts what is stored."""
        if self.dim is not None and self.dim != stored.dim:
            raise _mismatch("dim", stored.dim, self.dim)
        if self.metric is not None and self.metric != stored.metric:
            before = stored.metric.value if stored.metric is not None else None
            raise _mismatch("metric", before, self.metric.value)
        if self.analyzer is None and stored.analyzer is not None:
            raise _mismatch("analyzer", stored.analyzer, None)
        if self.own_analyzer is not None:
            if stored.analyzer is None:
                raise _mismatch("analyzer", None, self.own_analyzer.name)
            check_analyzer(stored, self.own_analyzer)
        if self.title_weight is not None and self.title_weight != stored.title_weight:
            raise IndexMismatchError(
                f"the index was made with title_weight={stored.title_weight} and opened with "
                f"title_weight={self.title_weight}: leave it out to open the index as it is, or "
                "build its postings anew with Index.reanalyze"
            )
        if self.taken and not stored.dense:
            raise _mismatch("dim", None, "first")
        if self.name is None and not self.taken and stored.encoder is not None:
            raise _mismatch("encoder", stored.encoder, None)
        if not isinstance(self.name, AsStored) and self.name is not None and not stored.dense:
            raise _mismatch("encoder", None, self.name)

    @property
    def own_analyzer(self) -> Analyzer | None:
        """The analyzer that was given, if any."""
        return None if isinstance(self.analyzer, AsStored) else self.analyzer

    def is_another(self, stored: Settings) -> bool:
        """Whether an encoder was given that isn't, by its name, the stored one."""
        given = not isinstance(self.name, AsStored) and self.name is not None
        return given and self.name != stored.encoder

    def encoder(self, stored: Settings) -> Encoder | None:
        """Return the encoder that was given, None if it is to be the stored one."""
        if self.given is None and isinstance(self.name, str) and self.is_another(stored):
            return encoder_from_name(self.name)
        return self.given


def encoder_name(encoder: Encoder) -> str:
    """Return an encoder object's name, and that of its class if it has none."""
    return str(getattr(encoder, "name", type(encoder).__qualname__))


def check_encoder(encoder: object) -> Encoder:
    """Return an encoder; raise InputError for what is none."""
    if not isinstance(encoder, Encoder):
        raise InputError(
            "an encoder is a model's name or an object with encode_queries and encode_passages, "
            f"not {encoder!r:.80}"
        )
    return encoder


def has_identity(encoder: Encoder) -> bool:
    """Whether an encoder can be told from another by its identity, which isn't asked for yet."""
    return getattr(type(encoder), "identity", None) is not None


def resolve_folder(path: str | os.PathLike[str] | None) -> Path:
    """Return an absolute path: what is relative must not follow a later change of directory.

    Raises InputError for an empty one, which would be the folder here.
    """
    name = os.fspath(path) if path is not None else ""
    if not name:
        raise InputError(
            "the path of an index is empty: give a folder, or None for a temporary one"
        )
    return Path(name).absolute()


def create_index(layout: Layout, choices: OpenOptions, *, create: bool) -> None:
    """Make sure that there is an index to open; raise IndexNotFoundError if there is none.

    A folder that holds other things is never turned into an index.
    """
    folder = layout.folder
    if layout.catalog.exists() and choices.head >= 0:
        return
    if folder.exists() and not folder.is_dir():
        raise IndexNotFoundError(f"{folder} is a file: an index is a folder")
    ours = {layout.catalog.name, layout.lock.name, layout.head.name, "vectors", "segments"}
    others = sorted(set(os.listdir(folder)) - ours) if folder.exists() else []
    others = [name for name in others if not name.startswith(layout.catalog.name)]
    if others and not layout.catalog.exists():
        raise IndexNotFoundError(
            f"{folder} is a folder but not an index: it holds {others[0]!r}; "
            "give the path of an index, or of a new or empty folder"
        )
    if not create:
        if layout.catalog.exists():
            return  # opened as it is, which tells what is wrong with it
        raise IndexNotFoundError(f"there is no index at {folder}")
    settings = choices.settings()
    folder.mkdir(parents=True, exist_ok=True)
    refuse_network(folder)
    lock = WriteLock(layout.lock)
    lock.acquire()
    try:
        layout.vectors.mkdir(exist_ok=True)
        layout.segments.mkdir(exist_ok=True)
        Catalog.create(layout.catalog, settings)
        if read_head(layout.head) < 0 and _generation(layout) == 0:
            write_head(layout.head, 0)
        sync_folder(folder)
        sync_folder(folder.resolve().parent)
    finally:
        lock.release()


def _generation(layout: Layout) -> int:
    catalog = Catalog(layout.catalog, read_only=False)
    try:
        with catalog.reading() as reader:
            return reader.generation()
    finally:
        catalog.close()


def _mismatch(what: str, stored: object, given: object) -> IndexMismatchError:
    return IndexMismatchError(
        f"the index was made with {what}={stored!r} and opened with {what}={given!r}: leave it "
        "out to open the index as it is, or make a new index"
    )
