"""The arguments of `Index.open`: checked, and stored as the settings of a new index."""

import math
import os
from collections.abc import Collection
from enum import Enum
from pathlib import Path
from typing import Literal, cast

import numpy as np

from twofold.encoders import (
    DEFAULT_ENCODER,
    ModelEncoder,
    ServiceEncoder,
    TowersEncoder,
    encoder_from_name,
)
from twofold.encoders.model_spec import absolute_spec
from twofold.errors import IndexMismatchError, IndexNotFoundError, InputError
from twofold.index.analyzer_binding import (
    AnalyzerSources,
    check_analyzer,
    check_title_weight,
    check_trust,
    with_analyzer,
)
from twofold.index.layout import Layout
from twofold.lexical import AnalyzerLike, analyzer_from_name, as_analyzer
from twofold.protocols import Analyzer, Encoder
from twofold.similarity import Metric
from twofold.storage import MAX_DIM, IndexSettings, Version
from twofold.validation import is_integer, is_number


class AsStored(Enum):
    """The type of ``AS_STORED``, the default of arguments for which None is a value."""

    MARK = "as stored"


AS_STORED = AsStored.MARK
DEFAULT_ANALYZER = "english"
_WRAPPERS = {
    "embed_documents": "langchain_twofold.EmbeddingsEncoder",
    "get_text_embedding_batch": "llama_index_twofold.EmbeddingEncoder",
}
"""By a method of a framework's embedding models, the wrapper that makes them an encoder."""
_MAX_WINDOW = 1 << 20  # tokens


class OpenOptions:
    """The arguments of ``Index.open``; raises InputError for invalid ones.

    ``head`` is the version in the HEAD file, which must be read before the catalog.
    """

    def __init__(
        self,
        encoder: Encoder | str | AsStored | None,
        dim: int | Literal["first"] | None,
        metric: Metric | str | None,
        analyzer: AnalyzerLike | AsStored | None,
        title_weight: int | None,
        windows: bool | int | None,
        trust: Collection[str],
        wait: float,
        head: Version | None,
    ) -> None:
        self.encoder_object: Encoder | None = None
        if encoder is not None and not isinstance(encoder, str | AsStored):
            self.encoder_object = check_encoder(encoder)
            encoder = encoder_name(encoder)
        elif isinstance(encoder, str):
            encoder = absolute_spec(encoder)
        if dim is not None and dim != "first" and not (is_integer(dim) and 0 < dim <= MAX_DIM):
            raise InputError(
                f"dim must be an integer from 1 to {MAX_DIM:,} or 'first', got {dim!r:.80}"
            )
        if analyzer is not None and not isinstance(analyzer, AsStored):
            analyzer = as_analyzer(analyzer)
        if title_weight is not None:
            check_title_weight(title_weight)
        self.encoder: str | AsStored | None = encoder
        self.own_vectors = dim is not None
        self.dim = int(dim) if dim is not None and dim != "first" else None
        self.metric = Metric.from_name(metric) if metric is not None else None
        self.analyzer: Analyzer | AsStored | None = analyzer
        self.title_weight = title_weight
        self.windows = as_window_size(windows)
        self.trust = check_trust(trust)
        if not is_number(wait) or not 0 <= wait < math.inf:
            raise InputError(f"wait must be a number of seconds >= 0, got {wait!r:.80}")
        self.wait = float(wait)
        self.head = head

    def to_settings(self, folder: Path) -> IndexSettings:
        """Return the settings of a new index; raise InputError if it would have no leg."""
        name, analyzer = self.encoder, self.analyzer
        if isinstance(name, AsStored):
            name = DEFAULT_ENCODER if not self.own_vectors else None
        if isinstance(analyzer, AsStored):
            analyzer = analyzer_from_name(DEFAULT_ANALYZER)
        dense = name is not None or self.own_vectors
        if not dense and analyzer is None:
            raise InputError("an index with no leg can't search: pass encoder, dim or analyzer")
        if name is not None and self.encoder_object is None:
            encoder = encoder_from_name(name)  # raises for a malformed name
            if isinstance(encoder, ModelEncoder | TowersEncoder | ServiceEncoder):
                encoder.check_ready()
        metric = self.metric
        if metric is None and name is None and dense:
            metric = Metric.COSINE
        settings = IndexSettings(
            dense=dense,
            encoder=name,
            named=name is not None
            and (self.encoder_object is None or has_identity(self.encoder_object)),
            home=str(folder.resolve()) if name is not None else "",
            dim=self.dim,
            metric=metric,
            windows=None if isinstance(self.windows, AsStored) else self.windows,
        )
        if analyzer is None:
            if self.title_weight is not None:
                raise InputError("title_weight needs a lexical leg: leave it out or pass analyzer")
            return settings
        weight = self.title_weight if self.title_weight is not None else settings.title_weight
        return with_analyzer(settings, analyzer, weight)

    def check(self, stored: IndexSettings) -> None:
        """Raise IndexMismatchError if an argument contradicts the stored settings."""
        if self.dim is not None and self.dim != stored.dim:
            raise _mismatch("dim", stored.dim, self.dim)
        if self.metric is not None and self.metric != stored.metric:
            before = stored.metric.value if stored.metric is not None else None
            raise _mismatch("metric", before, self.metric.value)
        if self.analyzer is None and stored.analyzer is not None:
            raise _mismatch("analyzer", stored.analyzer, None)
        analyzer = self.given_analyzer
        if analyzer is not None:
            if stored.analyzer is None:
                raise _mismatch("analyzer", None, analyzer.name)
            check_analyzer(stored, analyzer)
        if self.title_weight is not None and self.title_weight != stored.title_weight:
            raise IndexMismatchError(
                f"the index was made with title_weight={stored.title_weight} and opened with "
                f"title_weight={self.title_weight}: leave it out to open the index as it is, or "
                "rebuild its postings with Index.reanalyze"
            )
        if not isinstance(self.windows, AsStored) and self.windows != stored.windows:
            made, asked = (
                True if size is None else size or False for size in (stored.windows, self.windows)
            )
            raise IndexMismatchError(
                f"the index was made with windows={made!r} and opened with windows={asked!r}: "
                "leave it out to open the index as it is, or encode its passages again with "
                f"Index.reencode(encoder, windows={asked!r})"
            )
        if self.own_vectors and not stored.dense:
            raise _mismatch("dim", None, "first")
        if self.encoder is None and not self.own_vectors and stored.encoder is not None:
            raise _mismatch("encoder", stored.encoder, None)
        if isinstance(self.encoder, str) and not stored.dense:
            raise _mismatch("encoder", None, self.encoder)

    @property
    def given_analyzer(self) -> Analyzer | None:
        """The analyzer that was passed, None if none was."""
        return None if isinstance(self.analyzer, AsStored) else self.analyzer

    @property
    def analyzer_sources(self) -> AnalyzerSources:
        """The analyzer that was passed, and the modules trusted to have the stored one."""
        analyzer = self.given_analyzer
        return AnalyzerSources([analyzer] if analyzer is not None else [], self.trust)

    def names_another(self, stored: IndexSettings) -> bool:
        """Return whether an encoder was passed whose name differs from the stored one."""
        return isinstance(self.encoder, str) and self.encoder != stored.encoder

    def load_encoder(self, stored: IndexSettings) -> Encoder | None:
        """Return the encoder that was passed, None to use the stored one."""
        named = self.encoder_object is None and self.names_another(stored)
        return encoder_from_name(cast(str, self.encoder)) if named else self.encoder_object


def as_window_size(windows: bool | int | None) -> int | AsStored | None:
    """Return the argument ``windows`` as the settings have it; raise InputError for another value.

    True is None, the default size; False is 0; None means as stored.
    """
    if windows is None:
        return AS_STORED
    if isinstance(windows, bool | np.bool_):
        return None if windows else 0
    if not is_integer(windows) or not 1 <= windows <= _MAX_WINDOW:
        raise InputError(
            f"windows must be True, False or a number of tokens from 1 to {_MAX_WINDOW:,}, got "
            f"{windows!r:.80}"
        )
    return int(windows)


def as_sources(analyzer: AnalyzerLike | None, trust: Collection[str]) -> AnalyzerSources:
    """Return an analyzer that was passed, and the modules trusted to have the stored one."""
    given = [as_analyzer(analyzer)] if analyzer is not None else []
    return AnalyzerSources([*given], check_trust(trust))


def encoder_name(encoder: Encoder) -> str:
    """Return an encoder object's name, or the name of its class."""
    return str(getattr(encoder, "name", type(encoder).__qualname__))


def check_encoder(encoder: object) -> Encoder:
    """Return ``encoder``; raise InputError if it does not implement `Encoder`."""
    if not isinstance(encoder, Encoder):
        for method, wrapper in _WRAPPERS.items():
            if hasattr(encoder, method):
                raise InputError(
                    f"encoder is a {type(encoder).__name__}, an embedding model of a framework: "
                    f"pass {wrapper}(...) around it"
                )
        raise InputError(
            "encoder must be a model's name or an object with encode_queries and "
            f"encode_passages, got {encoder!r:.80}"
        )
    return encoder


def has_identity(encoder: Encoder) -> bool:
    """Return whether an encoder has an attribute ``identity``, without loading the model."""
    return getattr(type(encoder), "identity", None) is not None


def ensure_index(layout: Layout, options: OpenOptions, *, create: bool) -> None:
    """Create an index if there is none.

    Raises:
        IndexNotFoundError: There is none and ``create`` is false, or the folder holds other files.
    """
    folder = layout.folder
    if layout.catalog.exists() and options.head is not None:
        return
    if folder.exists() and not folder.is_dir():
        raise IndexNotFoundError(f"{folder} is a file: an index is a folder")
    ours = {layout.catalog.name, layout.lock.name, layout.head.name, "vectors", "segments"}
    others = sorted(set(os.listdir(folder)) - ours) if folder.exists() else []
    others = [name for name in others if not name.startswith(layout.catalog.name)]
    if others and not layout.catalog.exists():
        raise IndexNotFoundError(
            f"{folder} is a folder but not an index: it holds {others[0]!r}; "
            "pass the path of an index, or of a new or empty folder"
        )
    if not create:
        if layout.catalog.exists():
            return  # opening it will report what is wrong
        raise IndexNotFoundError(f"there is no index at {folder}")
    layout.create(options.to_settings(folder))


def _mismatch(name: str, stored: object, given: object) -> IndexMismatchError:
    return IndexMismatchError(
        f"the index was made with {name}={stored!r} and opened with {name}={given!r}: leave it "
        "out to open the index as it is, or make a new index"
    )
