"""Writes a new index from the settings, passages and vectors of another one."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from twofold.dense import PassageVectors
from twofold.index.analyzer_binding import AnalyzerSources, with_analyzer
from twofold.index.encoder_binding import EncoderBinding
from twofold.index.layout import Layout
from twofold.index.view import SnapshotProvider
from twofold.index.writing.commit import Change
from twofold.index.writing.maintenance import build_structures, update_agreement
from twofold.index.writing.writer import IndexWriter
from twofold.lexical import analyzer_from_name
from twofold.protocols import Analyzer
from twofold.storage import (
    FORMAT,
    Catalog,
    IndexSettings,
    StoredPassage,
    VectorSetRecord,
    make_folders,
    write_atomic,
)
from twofold.types import Passage


@dataclass(frozen=True, slots=True)
class Batch:
    """Passages with their metadata as JSON.

    Attributes:
        passages: Pairs of a passage and its metadata.
        vectors: The vectors as stored; the rows are positions in ``passages``.
    """

    passages: Sequence[tuple[Passage, str]]
    vectors: PassageVectors = field(default_factory=PassageVectors.empty)


@dataclass(frozen=True, slots=True)
class IndexContent:
    """The content of an index, beside its passages.

    Attributes:
        settings: Its settings.
        vector_set: The record of its vectors' encoder, None without vectors.
        adapters: The files of its query adapters, by name.
    """

    settings: IndexSettings
    vector_set: VectorSetRecord | None
    adapters: Mapping[str, bytes] = field(default_factory=dict)


def write_index(
    layout: Layout,
    content: IndexContent,
    batches: Iterable[Batch],
    sources: AnalyzerSources,
    encoder: EncoderBinding | None = None,
) -> None:
    """Fill the empty folder of ``layout``. The passages get new rows, and the postings are built.

    Args:
        layout: The folder's paths.
        content: Settings, encoder and query adapters.
        batches: The passages, each batch one commit.
        sources: Where the analyzer comes from that the settings name.
        encoder: The encoder, to measure the agreement of both legs if the settings don't have it.

    Raises:
        IndexMismatchError: The analyzer is missing, or its module isn't trusted.
    """
    settings = _with_current_analyzer(content.settings, sources)
    # A profile whose query adapter has no vectors yet is not active before there are some.
    unmeasured = replace(
        settings,
        active_profile=None,
        agreement=None,
        agreement_passages=0,
        agreement_changed=0,
    )
    layout.create(unmeasured)
    if content.adapters:
        make_folders(layout.adapters)
    for name, data in content.adapters.items():
        write_atomic(layout.adapter_file(name), lambda file, data=data: file.write(data))  # type: ignore[misc]  # bound here
    catalog = Catalog(layout.catalog, read_only=False)
    binding = encoder if encoder is not None else EncoderBinding(None, layout.folder)
    snapshots = SnapshotProvider(catalog, layout, sources, binding, lambda _: None)
    writer = IndexWriter(catalog, layout, snapshots, read_only=False)
    try:
        for batch in batches:
            with writer.transaction() as transaction:
                first = transaction.snapshot.state.next_row
                transaction.change = _plan_change(batch, first, content.vector_set)
        build_structures(writer, compact=True)
        with writer.transaction() as transaction:
            measured = replace(
                transaction.snapshot.settings,
                active_profile=settings.active_profile,
                agreement=settings.agreement,
                agreement_passages=settings.agreement_passages,
                agreement_changed=settings.agreement_changed,
            )
            transaction.change = Change(settings=measured)
        if encoder is not None:
            update_agreement(writer)
    finally:
        catalog.close()
        writer.close()


def _with_current_analyzer(settings: IndexSettings, sources: AnalyzerSources) -> IndexSettings:
    """Return the settings of this format, with the analyzer as it is now."""
    settings = replace(settings, format=FORMAT)
    if settings.analyzer is None:
        return settings
    given = [analyzer for analyzer in sources.given if analyzer.name == settings.analyzer]
    analyzer: Analyzer
    if given:
        analyzer = given[-1]
    else:
        sources.check(settings.analyzer)
        analyzer = analyzer_from_name(settings.analyzer)
        sources.given.append(analyzer)
    return with_analyzer(settings, analyzer, settings.title_weight)


def _plan_change(batch: Batch, first: int, vector_set: VectorSetRecord | None) -> Change:
    added = tuple(
        StoredPassage.from_passage(first + position, passage, metadata)
        for position, (passage, metadata) in enumerate(batch.passages)
    )
    if vector_set is None or not len(batch.vectors):
        return Change(added)
    vectors = replace(batch.vectors, rows=first + batch.vectors.rows)
    return Change(added, vectors=vectors, vector_set=vector_set)
