"""Index types of the dense leg: frozen specs, each of which creates its FAISS structure.

Structures only propose candidates; scores are always computed from the stored float32 vectors.
Cosine stores unit vectors, which FAISS compares by Euclidean distance.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from twofold.errors import InputError
from twofold.validation import check_choice, check_integer, did_you_mean

Codes = Literal["float32", "float16", "int8"]
_QUANTIZERS = {"float16": "QT_fp16", "int8": "QT_8bit"}
_FACTORY_NAMES = {"float32": "Flat", "float16": "SQfp16", "int8": "SQ8"}
_RANGE_SAMPLE = 65_536  # vectors from which a scalar quantizer learns the range of each dimension
_VECTORS_PER_CENTROID = 64  # training vectors for each centroid of an inverted file
_KMEANS_ROUNDS = 10
_ONE_BIT_SCANNED = 250_000  # one-bit codes that are read in about a millisecond
_RESCORED_FLOATS = 400 * 384  # floats of stored vectors that rescoring a query reads
_MIN_BITS = 128  # dimensions below which one bit each can't tell near vectors apart
_MAX_LINKS, _MAX_VALUE = 512, 1 << 24
_SEED = 7
SPARE_CANDIDATES = 16  # candidates rescored beyond k, because codes are not exact


def _faiss() -> Any:
    """Import FAISS, which takes a while, on first use."""
    import faiss

    return faiss


@dataclass(frozen=True, slots=True)
class StructureSearch:
    """A search for the best ``k`` of ``count`` vectors of ``dim`` dimensions.

    ``effort`` multiplies the index type's usual work. ``selector`` is FAISS's, None for all.
    """

    dim: int
    count: int
    k: int
    effort: float
    selector: Any


class _Spec:
    """Defaults shared by the index types."""

    __slots__ = ()

    def __post_init__(self) -> None:
        spec: Any = self
        for field in fields(spec):
            value, name = getattr(self, field.name), f"{type(self).__name__}.{field.name}"
            if field.name == "codes":
                check_choice(name, value, _FACTORY_NAMES)
            elif value is not None or field.default is not None:
                low, high = (2, _MAX_LINKS) if field.name == "links" else (1, _MAX_VALUE)
                check_integer(name, value, low, high)
                object.__setattr__(self, field.name, int(value))  # numpy integers aren't JSON

    def training_size(self, count: int) -> int:
        """Return how many of ``count`` vectors to train on."""
        return min(count, _RANGE_SAMPLE)

    def candidate_count(self, search: StructureSearch) -> int:
        """Return how many candidates to rescore exactly."""
        return math.ceil((search.k + SPARE_CANDIDATES) * max(search.effort, 1.0))


@dataclass(frozen=True, slots=True)
class Flat(_Spec):
    """Scans all vectors: exactly, or as smaller ``codes``, which is faster."""

    codes: Codes = "float32"

    def create(self, dim: int, _count: int, metric: int) -> Any:
        """Return an untrained FAISS structure."""
        return _faiss().index_factory(dim, _FACTORY_NAMES[self.codes], metric)

    def search_parameters(self, search: StructureSearch) -> Any:
        """Return FAISS's search parameters."""
        return _faiss().SearchParameters(sel=search.selector)


@dataclass(frozen=True, slots=True)
class HNSW(_Spec):
    """A navigable small-world graph: the fastest index type.

    Each vector has ``links`` neighbors, of 8 bytes each. ``build_effort`` is FAISS's
    efConstruction, ``search_effort`` its efSearch. Malkov and Yashunin, Efficient and Robust
    Approximate Nearest Neighbor Search Using Hierarchical Navigable Small World Graphs (TPAMI
    2020).
    """

    links: int = 32
    build_effort: int = 200
    search_effort: int = 128
    codes: Codes = "int8"

    def create(self, dim: int, _count: int, metric: int) -> Any:
        """Return an untrained FAISS structure."""
        name = f"HNSW{self.links},{_FACTORY_NAMES[self.codes]}"
        graph = _faiss().index_factory(dim, name, metric)
        graph.hnsw.efConstruction = self.build_effort
        return graph

    def search_parameters(self, search: StructureSearch) -> Any:
        """Return FAISS's search parameters."""
        width = max(math.ceil(self.search_effort * search.effort), self.candidate_count(search))
        return _faiss().SearchParametersHNSW(efSearch=min(width, search.count), sel=search.selector)


@dataclass(frozen=True, slots=True)
class _InvertedFile(_Spec):
    """Vectors in ``lists`` by nearest centroid; a search reads the nearest ``probes`` lists."""

    lists: int | None = None
    probes: int | None = None

    def training_size(self, count: int) -> int:
        """Return how many of ``count`` vectors to train on."""
        return min(count, max(self._list_count(count) * _VECTORS_PER_CENTROID, _RANGE_SAMPLE))

    def search_parameters(self, search: StructureSearch) -> Any:
        """Return FAISS's search parameters."""
        lists = self._list_count(search.count)
        share = self.probes / lists if self.probes is not None else self._probe_share(search.count)
        probes = max(math.ceil(lists * share * search.effort), 1)
        return _faiss().IVFSearchParameters(nprobe=min(probes, lists), sel=search.selector)

    def _list_count(self, count: int) -> int:
        """Return the number of lists, at least two vectors each."""
        lists = self.lists if self.lists is not None else self._default_lists(count)
        return max(min(lists, count // 2), 1)

    def _default_lists(self, count: int) -> int:
        return _nearest_power_of_two(1.3 * count**0.5)

    def _probe_share(self, count: int) -> float:
        """Return the share of the lists to read where ``probes`` is None."""
        del count  # OneBit needs it
        return 1 / 8


class _RescoredFile(_InvertedFile):
    """An inverted file with codes so small that many candidates must be rescored."""

    __slots__ = ()
    rescored: int | None

    def candidate_count(self, search: StructureSearch) -> int:
        """Return how many candidates to rescore; the default reads a fixed number of floats."""
        usual = self.rescored
        if usual is None:
            usual = max(_RESCORED_FLOATS // search.dim, 100)
        return math.ceil(max(usual, 2 * search.k) * search.effort)


@dataclass(frozen=True, slots=True)
class IVF(_InvertedFile):
    """An inverted file of coded vectors: quick to build; queries unlike passages need more probes.

    ``lists`` is 1.3 times the square root of the number of vectors by default; 1 in 8 is read.
    Jegou, Douze and Schmid, Product Quantization for Nearest Neighbor Search (TPAMI 2011).
    """

    codes: Codes = "int8"

    def create(self, dim: int, count: int, metric: int) -> Any:
        """Return an untrained FAISS structure."""
        lists, centroids = self._list_count(count), _faiss().IndexFlatL2(dim)
        if self.codes == "float32":
            return _with_kmeans(_faiss().IndexIVFFlat(centroids, dim, lists, metric))
        codes = getattr(_faiss().ScalarQuantizer, _QUANTIZERS[self.codes])
        return _with_kmeans(_faiss().IndexIVFScalarQuantizer(centroids, dim, lists, codes, metric))


@dataclass(frozen=True, slots=True)
class IVFPQ(_RescoredFile):
    """An inverted file of product-quantized vectors, with four bits per piece.

    ``code_bytes`` per vector: by default, one per eight dimensions. ``lists`` and ``probes`` are
    as in ``IVF``, ``rescored`` as in ``OneBit``. Jegou, Douze and Schmid (TPAMI 2011); scanned in
    registers: Andre, Kermarrec and Le Scouarnec, Cache Locality Is Not Enough (VLDB 2015).
    """

    code_bytes: int | None = None
    rescored: int | None = None

    def create(self, dim: int, count: int, metric: int) -> Any:
        """Return an untrained FAISS structure; its pieces divide the dimensions evenly."""
        limit = 2 * self.code_bytes if self.code_bytes is not None else dim // 4
        pieces = max(n for n in range(1, dim + 1) if dim % n == 0 and n <= max(limit, 1))
        lists, centroids = self._list_count(count), _faiss().IndexFlatL2(dim)
        file = _faiss().IndexIVFPQFastScan(centroids, dim, lists, pieces, 4, metric)
        file.pq.cp.min_points_per_centroid = 1  # or FAISS prints to stderr
        return _with_kmeans(file)


@dataclass(frozen=True, slots=True)
class OneBit(_RescoredFile):
    """One bit per dimension of randomly rotated vectors: the smallest and quickest to build.

    At least ``rescored`` candidates are rescored exactly, by default 400 at 384 dimensions and more
    at fewer. By default a list has at least 1,500 vectors, and all lists are read up to 250,000
    vectors, 1/16 from 4,000,000 on. Gao and Long, RaBitQ: Quantizing High-Dimensional Vectors with
    a Theoretical Error Bound for Approximate Nearest Neighbor Search (SIGMOD 2024).
    """

    rescored: int | None = None

    def create(self, dim: int, count: int, metric: int) -> Any:
        """Return an untrained FAISS structure behind a rotation."""
        rotation = _faiss().RandomRotationMatrix(dim, dim)
        rotation.init(_SEED)
        lists, centroids = self._list_count(count), _faiss().IndexFlatL2(dim)
        file = _faiss().IndexIVFRaBitQFastScan(centroids, dim, lists, metric)
        return _faiss().IndexPreTransform(rotation, _with_kmeans(file))

    def search_parameters(self, search: StructureSearch) -> Any:
        """Return FAISS's search parameters."""
        probing = super(OneBit, self).search_parameters(search)
        return _faiss().SearchParametersPreTransform(index_params=probing)

    def _default_lists(self, count: int) -> int:
        """Return few lists: one-bit codes are read faster than lists are switched."""
        return _nearest_power_of_two(min(1.3 * count**0.5, count / 1500))

    def _probe_share(self, count: int) -> float:
        return min(max(_ONE_BIT_SCANNED / count, 1 / 16), 1.0)


IndexType = Flat | HNSW | IVF | IVFPQ | OneBit


@dataclass(frozen=True, slots=True)
class Auto(_Spec):
    """The index type that suits the number of vectors and their dimensions.

    ``Flat()``, which is exact, below ``graph_from`` vectors. ``HNSW()`` below ``bits_from``, and
    for vectors of fewer than 128 dimensions. ``OneBit()`` otherwise.
    """

    graph_from: int = 20_000
    bits_from: int = 500_000


_TYPES: dict[str, type[IndexType | Auto]] = {
    "auto": Auto,
    "flat": Flat,
    "hnsw": HNSW,
    "ivf": IVF,
    "ivf-pq": IVFPQ,
    "one-bit": OneBit,
}


def check_index_type(index_type: object) -> IndexType | Auto:
    """Return ``index_type`` if it is one; raise InputError otherwise."""
    if not isinstance(index_type, IndexType | Auto):
        names = ", ".join(f"{spec.__name__}()" for spec in _TYPES.values())
        raise InputError(f"index_type must be one of {names} or its name, got {index_type!r:.80}")
    return index_type


def resolve_index_type(index_type: IndexType | Auto, count: int, dim: int) -> IndexType:
    """Return ``index_type``, or the choice of Auto for ``count`` vectors of ``dim`` dimensions."""
    if not isinstance(index_type, Auto):
        return index_type
    if count < index_type.graph_from:
        return Flat()
    return OneBit() if count >= index_type.bits_from and dim >= _MIN_BITS else HNSW()


def index_type_as_dict(index_type: IndexType | Auto) -> dict[str, Any]:
    """Return an index type as JSON values."""
    name = next(name for name, spec in _TYPES.items() if spec is type(index_type))
    return {"kind": name, **asdict(index_type)}


def index_type_from_dict(values: Mapping[str, Any]) -> Any:
    """Return the index type that ``index_type_as_dict`` converted."""
    parameters = dict(values)
    return _TYPES[parameters.pop("kind")](**parameters)


def index_type_from_name(name: str) -> IndexType | Auto:
    """Return an index type by its name, such as ``"hnsw"``.

    Codes may follow a colon, as in ``"flat:int8"``. Raises InputError for an unknown name.
    """
    base, _, codes = name.partition(":")
    spec = _TYPES.get(base)
    parameters: dict[str, Any] = {"codes": codes} if codes else {}
    if spec is None or not parameters.keys() <= spec.__dataclass_fields__.keys():
        hint = did_you_mean(base, _TYPES) if spec is None else ""
        raise InputError(
            f"unknown index type {name!r}: use one of {', '.join(_TYPES)}; flat, hnsw and ivf take "
            f"codes, such as 'hnsw:float16'{hint}"
        )
    return spec(**parameters)


def _nearest_power_of_two(value: float) -> int:
    return 1 << max(round(math.log2(max(value, 1.0))), 0)


def _with_kmeans(file: Any) -> Any:
    """Make an inverted file train k-means in few rounds, on few vectors; return the file."""
    file.cp.niter = _KMEANS_ROUNDS
    file.cp.min_points_per_centroid = 1  # or FAISS prints to stderr
    file.cp.max_points_per_centroid = _VECTORS_PER_CENTROID
    return file
