"""The workloads that are recorded, killed and failed, and the content that an index must have."""

import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from twofold import BM25, HashingEncoder, Index, Retriever
from twofold.backend import SearchProfile
from twofold.encoders import QueryAdapter
from twofold.errors import IndexNotFoundError, TwofoldError
from twofold.fusion import FUSIONS
from twofold.index.backup import list_backups
from twofold.index.writing import commit, commit_files
from twofold.similarity import Metric
from twofold.training import AdapterPlan, TrainingSet, keep, train_adapter
from twofold.types import EncoderIdentity

WORDS = "plant light press wave food river stone glass horse cloud running mice".split()  # noqa: SIM905
QUERIES = ("plant light", "common stone running", "turn1 turn2 river")
PROFILE = SearchProfile(FUSIONS["z-score"].with_dense_weight(0.9), 50, BM25(0.9, 0.4), 1)


class SmallEncoder(HashingEncoder):
    """Hashes into few dimensions, so that states are small."""

    def __init__(self, dim=16):
        self.dim = dim
        self.name = f"small-{dim}"

    @property
    def identity(self):
        return EncoderIdentity(self.name, self.dim, Metric.COSINE, self.name)


def passages(first, last, turn=0):
    """Return passages with numbers as ids, whose texts carry the turn."""
    return [
        {
            "id": f"p{n:03}",
            "title": WORDS[n % 5],
            "text": f"{WORDS[n % 12]} {WORDS[n * 7 % 12]} common turn{turn} word{n}",
            "metadata": {"n": n, "turn": turn, "odd": n % 2 == 1, "name": WORDS[n % 3]},
        }
        for n in range(first, last)
    ]


def adapter(seed=0, dim=16):
    """Return a query adapter."""
    matrix = np.random.default_rng(seed).normal(size=(dim, dim)).astype(np.float32)
    return QueryAdapter(matrix)


def open_index(path, *, create=False, read_only=False):
    """Open an index of the workloads."""
    if not create:
        return Index.open(path, create=False, read_only=read_only)
    return Index.open(path, encoder=SmallEncoder())


@dataclass
class Context:
    """The folder of a run, and the index that its steps use."""

    root: Path
    index: Index | None = None

    @property
    def path(self):
        return self.root / "index"

    def reopen(self, **options):
        """Close the index and open it again."""
        self.close()
        self.index = Index.open(self.path, **{"encoder": SmallEncoder(), **options})

    def close(self):
        """Close the index, if it is open."""
        if self.index is not None:
            index, self.index = self.index, None
            index.close()


Step = Callable[[Context], object]


@dataclass(frozen=True)
class Workload:
    """Steps on an index, with what is prepared before them.

    Attributes:
        prepare: Makes the files that exist before, as a context's steps do.
        steps: What is recorded; each returns when its changes are durable.
        folders: The folders below the root that hold an index.
        in_catalog: Bytes up to which segments are stored in the catalog.
        garbage: Number of dead vectors up to which a vector file is not rewritten.
        earlier: Answers that a step of two commits changes first.
    """

    name: str
    prepare: tuple[Step, ...]
    steps: tuple[Step, ...]
    folders: tuple[str, ...] = ("index",)
    in_catalog: int = 1 << 18
    garbage: int = 1024
    earlier: tuple[str, ...] = ()

    def set_constants(self):
        """Set the sizes that decide where data is stored."""
        commit_files.IN_CATALOG = self.in_catalog
        commit.GARBAGE = self.garbage

    def prepared(self, root):
        """Make the files that exist before the steps, and return the context."""
        self.set_constants()
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        context = Context(root)
        for step in self.prepare:
            step(context)
        return context

    def contents(self, root):
        """Run all steps; return the content before the first one and after each."""
        context = self.prepared(root)
        found = [self.content(root)]
        for step in self.steps:
            step(context)
            found.append(self.content(root))
        context.close()
        return found

    def allowed(self, contents, done, begun):
        """Return the contents allowed after ``done`` steps, while another may have begun."""
        before, after = contents[done], contents[begun]
        between = []
        if self.earlier and begun > done:
            (name,) = self.folders
            changed = {key: after[name][key] for key in self.earlier}
            between = [{name: before[name] | changed}]
        return [before, *between, *contents[done + 1 : begun + 1]]

    def content(self, root):
        """Return the content of each folder's index, None for a folder without one."""
        return {name: CONTENTS.get(name, content_at)(root / name) for name in self.folders}


def content_at(path):
    """Return the content of the index at a path as its readers see it, None without an index."""
    try:
        with Index.open(path, create=False) as index:
            return content_of(index)
    except IndexNotFoundError:
        return None


def archive_content(path):
    """Return the content of the newest backup, None without one."""
    if not path.exists() or not list_backups(path):
        return None
    return _content_of_new(path, lambda folder: Index.from_backup(path, folder))


def export_content(path):
    """Return the content of an export, None without one."""
    if not path.exists():
        return None
    return _content_of_new(path, lambda folder: Index.from_export(path, folder))


def _content_of_new(path, make):
    folder = path.with_name("for-reading")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with make(folder) as index:
            return content_of(index)
    except IndexNotFoundError:
        return None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


TORN_SLOT = "the other one is intact: the next writes replace it"
CONTENTS = {"backup.tar": archive_content, "export": export_content}
"""What reads the content of a path that is no index, by its name."""


def content_of(index):
    """Return all that an open index answers; damage and warnings raise AssertionError.

    A torn slot of HEAD is none, because the other slot is intact and the next writer mends it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        problems = [text for text in index.verify().problems if TORN_SLOT not in text]
        assert problems == [], problems
        return answers_of(index)


def answers_of(index):
    """Return all that an open index answers."""
    return {name: answer() for name, answer in answer_functions(index).items()}


def answer_functions(index):
    """Return functions that ask an open index for its answers, by name."""
    ids = [f"p{n:03}" for n in (0, 3, 7, 21, 31)]
    functions = {
        "passages": lambda: [(p.id, p.title, p.text, dict(p.metadata)) for p in index],
        "length": lambda: len(index),
        "odd": lambda: index.count({"odd": True}),
        "later": lambda: index.count({"turn": {"$gte": 1}}),
        "named": lambda: sorted(p.id for p in index.get(where={"name": {"$in": ["press"]}})),
        "get": lambda: [(p.id, p.text) for p in index.get(ids)],
        "known": lambda: [name in index for name in ids],
        "setting": lambda: [index.dim, index.analyzer, index.title_weight],
        "index type": lambda: index.index_type,
        "profiles": lambda: (dict(index.profiles), index.profiles.active),
        "adapters": lambda: {n: a.matrix.tobytes() for n, a in index.query_adapters.items()},
    }
    for query in QUERIES:
        functions[f"lexical {query}"] = lambda query=query: lexical_answer(index, query)
        functions[f"dense {query}"] = lambda query=query: dense_answer(index, query)
    functions["hybrid"] = lambda: hybrid_answer(index, QUERIES[1])
    return functions


def lexical_answer(index, query):
    """Return ids and scores of a lexical search."""
    hits = Retriever(index, mode="lexical", k=8).retrieve(query)
    return [(hit.id, hit.score) for hit in hits]


def dense_answer(index, query):
    """Return ids and scores of a dense search, None before the first vector."""
    dim = index.dim
    if dim is None:
        return None
    vector = SmallEncoder(dim).encode_queries([query])[0]
    hits = Retriever(index, mode="dense", k=8).retrieve(vector=vector)
    return [(hit.id, hit.score) for hit in hits]


def hybrid_answer(index, query):
    """Return the ids of a hybrid search that finds all, None before the first vector."""
    dim = index.dim
    if dim is None:
        return None
    vector = SmallEncoder(dim).encode_queries([query])[0]
    return sorted(Retriever(index, k=99).retrieve(query, vector=vector).ids)


def check_root(workload, root, allowed, *, write=True):
    """Require one of the ``allowed`` contents of the folders below ``root``, and one more write.

    Returns the place of the content among the allowed ones.
    """
    content = workload.content(root)
    if content not in allowed:
        raise AssertionError(describe_difference(content, allowed))
    if write:
        check_write(workload, root)
    return allowed.index(content)


def check_write(workload, root):
    """Require that each index takes another passage, and that a copy can be made again."""
    path = root / "index"
    with Index.open(path, encoder=AS_IT_IS(path)) as index:
        passage = {"id": "after", "text": "afterwards written"}
        dim = index.dim if index.dim is not None else SmallEncoder().dim
        index.upsert([passage], vectors=SmallEncoder(dim).encode_passages([passage["text"]]))
        assert Retriever(index, mode="lexical").retrieve("afterwards").ids == ["after"]
        assert dense_answer(index, "afterwards written")[0][0] == "after"
        assert index.verify(deep=True).problems == ()
        if "backup.tar" in workload.folders:
            index.backup(root / "backup.tar")
        if "export" in workload.folders and not (root / "export").exists():
            index.export(root / "export")
        if "copy" in workload.folders:
            index.copy(root / "copy", overwrite=(root / "copy" / "catalog.sqlite").exists())
    if "backup.tar" in workload.folders:
        content = archive_content(root / "backup.tar")
        assert content["passages"][-1][0] == "after"
    if "export" in workload.folders:
        assert export_content(root / "export") is not None
    if "copy" in workload.folders:
        with Index.open(root / "copy", create=False) as copy:
            assert "after" in copy
            assert copy.verify(deep=True).problems == ()


def AS_IT_IS(path):  # noqa: N802  # stands for a constant of the library
    """Return the encoder for a new index, and the stored one's for an existing index."""
    try:
        with Index.open(path, create=False) as index:
            dim = index.dim
    except TwofoldError:
        dim = None
    return SmallEncoder(dim if dim is not None else 16)


def describe_difference(content, allowed):
    """Return in which answers a content differs from the allowed ones."""
    out = []
    for place, other in enumerate(allowed):
        for name in content:
            found, wanted = content[name], other[name]
            if found is None or wanted is None:
                if found is not wanted:
                    out.append(f"{place}: {name} is {'absent' if found is None else 'there'}")
                continue
            keys = [key for key in wanted if found.get(key) != wanted[key]]
            some = [(key, found.get(key), wanted[key]) for key in keys[:2]]
            if keys:
                out.append(f"{place}: {name} differs in {keys}: {some!r:.600}")
    return "; ".join(out)


def _create(context):
    context.index = open_index(context.path, create=True)


def _upsert(first, last, turn=0, **options):
    return lambda context: context.index.upsert(passages(first, last, turn), **options)


def _delete(*ids, **options):
    return lambda context: context.index.delete(list(ids) or None, **options)


def _train(context):
    """Train a query adapter, and save it with a profile: two commits."""
    queries = {f"q{n}": f"query {WORDS[n]} word{n}" for n in range(12)}
    judged = TrainingSet.from_qrels(queries, {f"q{n}": {f"p{n:03}": 1} for n in range(12)})
    plan = AdapterPlan(epochs=1, folds=2, min_queries=8, interpolations=(1.0,))
    keep(context.index, train_adapter(context.index, judged, plan=plan))


def _close(context):
    context.close()


def _reopen(context):
    context.reopen()


def _copy(name, **options):
    return lambda context: context.index.copy(context.root / name, **options)


def _backup(context):
    context.index.backup(context.root / "backup.tar")


def _restore(context, **options):
    Index.from_backup(context.root / "backup.tar", context.root / "copy", **options).close()


def _export(context):
    context.index.export(context.root / "export")


def _import(context):
    Index.from_export(context.root / "export", context.root / "copy").close()


def _other(context):
    """Make another index where a copy will go."""
    with Index.open(context.root / "copy", encoder=SmallEncoder()) as index:
        index.upsert(passages(50, 60, 9))


BASE = (_create, _upsert(0, 20))
SAVED = replace(PROFILE, query_adapter="trained")

WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("create", (), (_create, _close)),
        Workload(
            "upsert",
            BASE,
            (_upsert(20, 30), _upsert(5, 12, 1), _upsert(0, 12, 2, replace_all=True), _close),
        ),
        Workload(
            "delete",
            (_create, _upsert(0, 24)),
            (_delete("p001", "p005", "p011", "none"), _delete(where={"odd": True}), _close),
        ),
        Workload(
            "reanalyze",
            BASE,
            (
                lambda context: context.index.reanalyze("german"),
                lambda context: context.index.reanalyze("english", title_weight=3),
                _upsert(20, 24, 1),
                _close,
            ),
        ),
        Workload(
            "reencode",
            BASE,
            (lambda context: context.index.reencode(SmallEncoder(24)), _upsert(20, 24, 1), _close),
        ),
        Workload(
            "reindex",
            BASE,
            (
                lambda context: context.index.reindex("hnsw"),
                _upsert(20, 26),
                lambda context: context.index.reindex("flat"),
                _close,
            ),
        ),
        Workload(
            "profiles",
            BASE,
            (
                lambda context: context.index.query_adapters.save("trained", adapter()),
                lambda context: context.index.profiles.save("fast", SAVED, use=True),
                lambda context: context.index.query_adapters.save("other", adapter(1)),
                lambda context: context.index.profiles.use(None),
                lambda context: context.index.profiles.drop("fast"),
                lambda context: context.index.query_adapters.drop("trained"),
                _close,
            ),
        ),
        Workload("training", BASE, (_train, _close), earlier=("adapters",)),
        Workload("copy", BASE, (_copy("copy"), _close), folders=("index", "copy")),
        Workload(
            "overwrite",
            (_other, *BASE, lambda context: context.index.query_adapters.save("a", adapter())),
            (_copy("copy", overwrite=True), _close),
            folders=("index", "copy"),
        ),
        Workload("backup", BASE, (_backup, _close), folders=("index", "backup.tar")),
        Workload(
            "backups",
            (*BASE, _backup),
            (_upsert(18, 24, 1), _backup, _delete("p003"), _backup, _close),
            folders=("index", "backup.tar"),
            in_catalog=1024,
        ),
        Workload("restore", (*BASE, _backup), (_restore, _close), folders=("index", "copy")),
        Workload(
            "restore over",
            (_other, *BASE, _backup),
            (lambda context: _restore(context, overwrite=True), _close),
            folders=("index", "copy"),
        ),
        Workload("export", BASE, (_export, _close), folders=("index", "export")),
        Workload("import", (*BASE, _export), (_import, _close), folders=("index", "copy")),
        Workload(
            "files",
            (_create, _upsert(0, 8)),
            (
                *(_upsert(n, n + 3, n) for n in range(8, 26, 3)),
                _delete("p003", "p009", "p010"),
                _upsert(2, 6, 7),
                _close,
            ),
            in_catalog=256,
        ),
        Workload(
            "rewrite",
            (_create, _upsert(0, 30)),
            (
                _upsert(0, 20, 1),
                _delete(where={"n": {"$gte": 12}}),
                _upsert(30, 34),
                _reopen,
                _upsert(30, 36, 2),
                _close,
            ),
            in_catalog=1024,
            garbage=4,
        ),
        Workload(
            "life",
            (),
            (
                _create,
                _upsert(0, 10),
                _upsert(8, 12, 1),
                _close,
                _reopen,
                _delete("p001"),
                _copy("copy"),
                _upsert(12, 14),
                _close,
            ),
            folders=("index", "copy"),
            in_catalog=2048,
        ),
    )
}

REPEATABLE = [name for name in WORKLOADS if name != "training"]
"""The workloads whose steps can be repeated; a repeated training is saved under another name."""
