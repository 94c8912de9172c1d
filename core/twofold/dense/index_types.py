"""What finds near vectors: frozen specs, each of which makes its FAISS structure.

Structures only propose candidates: scores are always those of the stored float32 vectors. Unit
vectors, as cosine has them, are compared by Euclidean distance.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from typing import Any, Literal

from twofold.errors import InputError
from twofold.similarity import Metric

Codes = Literal["float32", "float16", "int8"]
_QUANTIZERS = {"float16": "QT_fp16", "int8": "QT_8bit"}
_RANGES = 65_536
"""Vectors that tell the range of each dimension."""
_PER_LIST = 64
"""Vectors to find each centroid of an inverted file from."""
_ROUNDS = 10
"""Rounds of k-means."""
_SCANNED = 250_000
"""Vectors of one bit a dimension that are read in about a millisecond."""
_FLOATS = 400 * 384
"""Floats of stored vectors that candidates are scored by."""
_BITS = 128
"""Bits that tell near vectors apart well enough."""
_MOST_LINKS, _MOST = 512, 1 << 24
_SEED = 7
SPARE = 16
"""Candidates scored beyond k, since codes are not exact."""


@dataclass(frozen=True, slots=True)
class Size:
    """How many vectors of how many dimensions a structure is made for, and their metric."""

    dim: int
    count: int
    metric: Metric

    @property
    def distance(self) -> int:
        """FAISS's number of the metric."""
        import faiss

        dot = self.metric is Metric.DOT
        return int(faiss.METRIC_INNER_PRODUCT if dot else faiss.METRIC_L2)


@dataclass(frozen=True, slots=True)
class Search:
    """One search for the best ``k`` of ``count`` vectors of ``dim`` dimensions.

    ``effort`` 1.0 is as the kind says; ``selector`` is FAISS's, None for all vectors.
    """

    dim: int
    count: int
    k: int
    effort: float
    selector: Any


@dataclass(frozen=True, slots=True)
class Flat:
    """All vectors are looked at: exactly, or as smaller ``codes``, which scan faster."""

    codes: Codes = "float32"

    def __post_init__(self) -> None:
        _check(self)

    def empty(self, size: Size) -> Any:
        """Return FAISS's scalar quantizer, untrained."""
        import faiss

        return faiss.IndexScalarQuantizer(size.dim, _quantizer(self.codes), size.distance)

    def sample(self, count: int) -> int:
        """Return how many of ``count`` vectors to train on."""
        return min(count, _RANGES)

    def candidates(self, search: Search) -> int:
        """Return how many candidates to score exactly."""
        return math.ceil((search.k + SPARE) * max(search.effort, 1.0))

    def parameters(self, search: Search) -> Any:
        """Return FAISS's parameters of a search."""
        import faiss

        return faiss.SearchParameters(sel=search.selector)


@dataclass(frozen=True, slots=True)
class HNSW:
    """A graph of near neighbours: the fastest, with ``links`` * 8 bytes a vector beside its codes.

    Candidates are kept in a list of ``build_effort`` while it is built, and of ``search_effort``
    while it is searched. Malkov and Yashunin, Efficient and Robust Approximate Nearest Neighbor
    Search Using Hierarchical Navigable Small World Graphs (TPAMI 2020).
    """

    links: int = 32
    build_effort: int = 200
    search_effort: int = 128
    codes: Codes = "int8"

    def __post_init__(self) -> None:
        _check(self)
        if self.links < 2:
            raise InputError("HNSW's links is 1: a graph needs at least 2 a vector")

    def empty(self, size: Size) -> Any:
        """Return an empty graph over coded vectors."""
        import faiss

        if self.codes == "float32":
            made = faiss.IndexHNSWFlat(size.dim, self.links, size.distance)
        else:
            made = faiss.IndexHNSWSQ(size.dim, _quantizer(self.codes), self.links, size.distance)
        made.hnsw.efConstruction = self.build_effort
        return made

    def sample(self, count: int) -> int:
        """Return how many of ``count`` vectors to train on."""
        return min(count, _RANGES)

    def candidates(self, search: Search) -> int:
        """Return how many candidates to score exactly."""
        return math.ceil((search.k + SPARE) * max(search.effort, 1.0))

    def parameters(self, search: Search) -> Any:
        """Return the length of the list of candidates."""
        import faiss

        width = max(math.ceil(self.search_effort * search.effort), self.candidates(search))
        return faiss.SearchParametersHNSW(efSearch=min(width, search.count), sel=search.selector)


@dataclass(frozen=True, slots=True)
class _InvertedFile:
    """Vectors in ``lists`` by their nearest centroid, of which the nearest ``probes`` are read."""

    lists: int | None = None
    probes: int | None = None

    def __post_init__(self) -> None:
        _check(self)

    def sample(self, count: int) -> int:
        """Return how many of ``count`` vectors to train on."""
        return min(count, max(self._lists(count) * _PER_LIST, _RANGES))

    def parameters(self, search: Search) -> Any:
        """Return how many lists to read."""
        import faiss

        lists = self._lists(search.count)
        share = self.probes / lists if self.probes is not None else self._share(search.count)
        probes = max(math.ceil(lists * share * search.effort), 1)
        return faiss.IVFSearchParameters(nprobe=min(probes, lists), sel=search.selector)

    def _lists(self, count: int) -> int:
        """Return the number of lists, at least two vectors each."""
        wanted = self.lists if self.lists is not None else self._usual(count)
        return max(min(wanted, count // 2), 1)

    def _usual(self, count: int) -> int:
        """Return a power of two near 1.3 times the square root of the number of vectors."""
        return _power_of_two(1.3 * count**0.5)

    def _share(self, count: int) -> float:
        """Return the share of lists that is read if nothing is said: one in eight."""
        del count  # whatever their number
        return 1 / 8


@dataclass(frozen=True, slots=True)
class IVF(_InvertedFile):
    """An inverted file of coded vectors: quick to build; queries unlike the passages need probes.

    Left out, there are 1.3 times the square root of the number of vectors ``lists``, and one in
    eight is read. Jegou, Douze and Schmid, Product Quantization for Nearest Neighbor Search (TPAMI
    2011).
    """

    codes: Codes = "int8"

    def empty(self, size: Size) -> Any:
        """Return an empty inverted file."""
        import faiss

        dim, lists, centroids = size.dim, self._lists(size.count), faiss.IndexFlatL2(size.dim)
        if self.codes == "float32":
            return _prepared(faiss.IndexIVFFlat(centroids, dim, lists, size.distance))
        codes = _quantizer(self.codes)
        return _prepared(faiss.IndexIVFScalarQuantizer(centroids, dim, lists, codes, size.distance))

    def candidates(self, search: Search) -> int:
        """Return how many candidates to score exactly."""
        return math.ceil((search.k + SPARE) * max(search.effort, 1.0))


@dataclass(frozen=True, slots=True)
class IVFPQ(_InvertedFile):
    """An inverted file of product-quantized vectors, ``code_bytes`` each, in pieces of four bits.

    Left out, a byte stands for eight dimensions, and lists and probes are as in ``IVF``.
    ``rescored`` candidates or more are scored exactly, as in ``OneBit``. Jegou, Douze and Schmid
    (TPAMI 2011); scanned in registers: Andre, Kermarrec and Le Scouarnec, Cache Locality Is Not
    Enough (VLDB 2015).
    """

    code_bytes: int | None = None
    rescored: int | None = None

    def empty(self, size: Size) -> Any:
        """Return an empty inverted file; the pieces divide the dimensions evenly."""
        import faiss

        dim = size.dim
        wanted = 2 * self.code_bytes if self.code_bytes is not None else dim // 4
        pieces = max(n for n in range(1, dim + 1) if dim % n == 0 and n <= max(wanted, 1))
        lists, centroids = self._lists(size.count), faiss.IndexFlatL2(dim)
        made = faiss.IndexIVFPQFastScan(centroids, dim, lists, pieces, 4, size.distance)
        made.pq.cp.min_points_per_centroid = 1  # or it prints to stderr
        return _prepared(made)

    def candidates(self, search: Search) -> int:
        """Return how many candidates to score exactly."""
        return _rescored(self.rescored, search)


@dataclass(frozen=True, slots=True)
class OneBit(_InvertedFile):
    """One bit a dimension, of vectors turned at random: the smallest, and the quickest to build.

    ``rescored`` candidates or more are scored exactly. Left out, those are 400 at 384 dimensions
    and more at fewer, which tell less; a list has 1,500 vectors and more, and all lists are read up
    to 250,000 vectors, a sixteenth of them from 4,000,000 on.

    Gao and Long, RaBitQ: Quantizing High-Dimensional Vectors with a Theoretical Error Bound for
    Approximate Nearest Neighbor Search (SIGMOD 2024).
    """

    rescored: int | None = None

    def empty(self, size: Size) -> Any:
        """Return an empty inverted file behind a rotation."""
        import faiss

        dim = size.dim
        rotation = faiss.RandomRotationMatrix(dim, dim)
        rotation.init(_SEED)
        lists, centroids = self._lists(size.count), faiss.IndexFlatL2(dim)
        file = faiss.IndexIVFRaBitQFastScan(centroids, dim, lists, size.distance)
        return faiss.IndexPreTransform(rotation, _prepared(file))

    def candidates(self, search: Search) -> int:
        """Return how many candidates to score exactly."""
        return _rescored(self.rescored, search)

    def parameters(self, search: Search) -> Any:
        """Return how many lists to read."""
        import faiss

        probing = super(OneBit, self).parameters(search)
        return faiss.SearchParametersPreTransform(index_params=probing)

    def _usual(self, count: int) -> int:
        """Return few lists: bits are read so fast that going from list to list counts."""
        return _power_of_two(min(1.3 * count**0.5, count / 1500))

    def _share(self, count: int) -> float:
        """Return the share of lists that is read if nothing is said."""
        return min(max(_SCANNED / count, 1 / 16), 1.0)


IndexType = Flat | HNSW | IVF | IVFPQ | OneBit


@dataclass(frozen=True, slots=True)
class Auto:
    """The kind that suits the number of vectors and of their dimensions.

    ``Flat()``, which is exact, below ``graph_from`` vectors; ``HNSW()`` below ``bits_from``, and
    for vectors of fewer than 128 dimensions, whose bits are too few; else ``OneBit()``.
    """

    graph_from: int = 20_000
    bits_from: int = 500_000

    def __post_init__(self) -> None:
        _check(self)


def check_index_type(kind: object) -> IndexType | Auto:
    """Return a kind; raise InputError for what is none."""
    if not isinstance(kind, IndexType | Auto):
        names = ", ".join(f"{each.__name__}()" for each in _NAMES.values())
        raise InputError(f"a kind is one of {names} or its name, not {kind!r:.80}")
    return kind


def resolved(kind: IndexType | Auto, count: int, dim: int) -> IndexType:
    """Return the kind that serves ``count`` vectors of ``dim`` dimensions."""
    if not isinstance(kind, Auto):
        return kind
    if count < kind.graph_from:
        return Flat()
    return OneBit() if count >= kind.bits_from and dim >= _BITS else HNSW()


_NAMES: dict[str, type[IndexType | Auto]] = {
    "auto": Auto,
    "flat": Flat,
    "hnsw": HNSW,
    "ivf": IVF,
    "ivf-pq": IVFPQ,
    "one-bit": OneBit,
}


def as_dict(kind: IndexType | Auto) -> dict[str, Any]:
    """Return a kind as JSON values."""
    name = next(name for name, each in _NAMES.items() if each is type(kind))
    return {"kind": name, **asdict(kind)}


def index_type_from_dict(values: Mapping[str, Any]) -> Any:
    """Return the kind that ``as_dict`` gave."""
    fields = dict(values)
    return _NAMES[fields.pop("kind")](**fields)


def index_type_from_name(name: str) -> IndexType | Auto:
    """Return a kind by its name, as ``"hnsw"``, with codes after a colon, as ``"flat:int8"``."""
    base, _, codes = name.partition(":")
    made = _NAMES.get(base)
    coded: dict[str, Any] = {"codes": codes} if codes else {}
    if made is None or not coded.keys() <= made.__dataclass_fields__.keys():
        near = get_close_matches(base, _NAMES, n=1)
        hint = f"; did you mean {near[0]!r}?" if near and near[0] != base else ""
        raise InputError(
            f"unknown kind {name!r}: use one of {', '.join(_NAMES)}; flat, hnsw and ivf take "
            f"codes, as 'hnsw:float16'{hint}"
        )
    return made(**coded)


def _check(kind: Any) -> None:
    """Raise InputError for a field that can't be."""
    for field in fields(kind):
        value, name = getattr(kind, field.name), f"{type(kind).__name__}'s {field.name}"
        if field.name == "codes":
            if value not in ("float32", *_QUANTIZERS):
                raise InputError(f"{name} is {value!r}: 'float32', 'float16' or 'int8' is wanted")
        elif value is None and field.default is None:
            continue
        elif not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InputError(f"{name} is {value!r}: a whole number of at least 1 is wanted")
        elif value > (limit := _MOST_LINKS if field.name == "links" else _MOST):
            raise InputError(f"{name} is {value!r:.40}: at most {limit:,} is taken")


def _quantizer(codes: Codes) -> Any:
    """Return FAISS's name for codes."""
    import faiss

    return getattr(faiss.ScalarQuantizer, _QUANTIZERS[codes])


def _rescored(wanted: int | None, search: Search) -> int:
    """Return how many candidates to score exactly; left out, they hold a fixed number of floats."""
    usual = max(_FLOATS // search.dim, 100) if wanted is None else wanted
    return math.ceil(max(usual, 2 * search.k) * search.effort)


def _power_of_two(value: float) -> int:
    """Return the power of two that is nearest, at least 1."""
    return 1 << max(round(math.log2(max(value, 1.0))), 0)


def _prepared(made: Any) -> Any:
    """Return an inverted file whose centroids are found in few rounds, from few vectors."""
    made.cp.niter = _ROUNDS
    made.cp.min_points_per_centroid = 1  # or it prints to stderr
    made.cp.max_points_per_centroid = _PER_LIST
    return made
