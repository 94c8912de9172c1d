"""Immutable lexical segments: vocabulary, postings and forward index of some rows."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twofold.errors import InputError
from twofold.lexical.vocabulary import Hashes, Vocabulary
from twofold.segment_checks import (
    check_ascending,
    check_below,
    check_offsets,
    check_ranks,
    check_strings,
    check_type,
)
from twofold.segments import PackedStrings, run_offsets
from twofold.types import Rows

MAX_TERMS = 1 << 24  # terms of one document, which bound what any scoring function can return
MIN_BOUNDED_POSTINGS = 128  # a term with fewer has no stored bounds: scanning it is faster
Codes = NDArray[np.uint16] | NDArray[np.uint32]
"""The code of a posting: the number of its distinct pair of term frequency and passage length."""


@dataclass(frozen=True, slots=True)
class PostingsSegment:
    """Postings of documents, which are numbered from 0 in ascending order of their rows.

    A posting costs 6 bytes (document u32, code u16; u32 beyond 65,536 distinct pairs), and as
    much again in the forward index, which keeps statistics exact when rows are deleted. ``order``
    is each document's rank by id. Terms with many postings (``long_terms``) have a frontier of
    codes, from which the highest weight under any scoring function is read (``kernels.top_k``).
    """

    rows: NDArray[np.uint32]
    lengths: NDArray[np.uint32]
    ids: PackedStrings
    order: NDArray[np.uint32]
    vocabulary: Vocabulary
    pair_tf: NDArray[np.uint32]
    pair_length: NDArray[np.uint32]
    post_ptr: NDArray[np.int64]
    post_doc: NDArray[np.uint32]
    post_code: Codes
    long_terms: NDArray[np.uint32]
    bound_ptr: NDArray[np.int64]
    bound_code: Codes
    fwd_ptr: NDArray[np.int64]
    fwd_term: NDArray[np.uint32]
    fwd_code: Codes

    @classmethod
    def build(
        cls, rows: Rows, ids: Sequence[str], documents: Sequence[Sequence[str]]
    ) -> "PostingsSegment":
        """Index each document's terms, repeats included, under its row; rows ascend.

        Raises InputError for a document with more than MAX_TERMS terms.
        """
        longest = max(map(len, documents), default=0)
        if longest > MAX_TERMS:
            raise InputError(
                f"a passage must have at most {MAX_TERMS:,} terms, got {longest:,}: split it into "
                "shorter passages"
            )
        numbers: defaultdict[str, int] = defaultdict(count().__next__)
        flat = [numbers[term] for terms in documents for term in terms]
        vocabulary, by_hash = Vocabulary.from_terms(list(numbers))
        lengths = np.array([len(terms) for terms in documents], np.uint32)
        docs = np.repeat(np.arange(len(documents), dtype=np.int64), lengths)
        terms = by_hash[np.array(flat, np.int64)] if flat else np.empty(0, np.int64)
        keys, frequencies = np.unique(docs * max(len(numbers), 1) + terms, return_counts=True)
        doc_of, fwd_term = np.divmod(keys, max(len(numbers), 1))
        fwd_ptr = np.searchsorted(doc_of, np.arange(len(documents) + 1)).astype(np.int64)
        pairs, codes = np.unique(_pair_keys(frequencies, lengths[doc_of]), return_inverse=True)
        names = PackedStrings.from_strings(ids)
        order = names.ranks()
        return cls._invert(rows, lengths, names, order, vocabulary, pairs, fwd_ptr, fwd_term, codes)

    @classmethod
    def merge(
        cls, parts: Sequence["PostingsSegment"], live: Sequence[NDArray[np.bool_] | None]
    ) -> "PostingsSegment":
        """Merge the live documents of segments whose rows ascend from one to the next."""
        keep = [
            (part, np.ones(len(part), np.bool_) if alive is None else alive)
            for part, alive in zip(parts, live, strict=True)
        ]
        postings = [(part, np.repeat(alive, np.diff(part.fwd_ptr))) for part, alive in keep]
        used = [
            np.bincount(part.fwd_term[on], minlength=len(part.vocabulary)) > 0
            for part, on in postings
        ]
        vocabulary, new_terms = Vocabulary.union([part.vocabulary for part in parts], used)
        pairs, new_codes = _union_pairs(postings)
        counts = np.concatenate([np.diff(part.fwd_ptr)[alive] for part, alive in keep])
        fwd_ptr = run_offsets(counts)
        # Hash order is the same in every vocabulary, so terms stay ascending in each document.
        triples = list(zip(postings, new_terms, new_codes, strict=True))
        fwd_term = np.concatenate([new[part.fwd_term[on]] for (part, on), new, _ in triples])
        codes = np.concatenate([new[part.fwd_code[on]] for (part, on), _, new in triples])
        kept_ids = [part.ids.take(np.flatnonzero(alive)) for part, alive in keep]
        ids = PackedStrings.concatenate(kept_ids)
        rows = np.concatenate([part.rows[alive] for part, alive in keep])
        lengths = np.concatenate([part.lengths[alive] for part, alive in keep])
        order = _merge_orders(ids, keep)
        return cls._invert(rows, lengths, ids, order, vocabulary, pairs, fwd_ptr, fwd_term, codes)

    @classmethod
    def _invert(
        cls,
        rows: NDArray[Any],
        lengths: NDArray[np.uint32],
        ids: PackedStrings,
        order: NDArray[np.uint32],
        vocabulary: Vocabulary,
        pairs: NDArray[np.uint64],
        fwd_ptr: NDArray[np.int64],
        fwd_term: NDArray[np.int64],
        codes: NDArray[np.int64],
    ) -> "PostingsSegment":
        """Return the segment of a forward index, with postings and bounds."""
        from twofold.lexical.kernels import build

        narrow = len(pairs) <= 1 << 16
        fwd_code: Codes = codes.astype(np.uint16) if narrow else codes.astype(np.uint32)
        tf = (pairs >> np.uint64(32)).astype(np.uint32)
        length = (pairs & np.uint64(0xFFFFFFFF)).astype(np.uint32)
        terms, rows = fwd_term.astype(np.uint32), rows.astype(np.uint32)
        postings = build.invert(fwd_ptr, terms, fwd_code, len(vocabulary))
        post_ptr, _, post_code = postings
        bounds = build.frontiers(post_ptr, post_code, tf, length, MIN_BOUNDED_POSTINGS)
        values: list[Any] = [rows, lengths, ids, order, vocabulary, tf, length]
        values += [*postings, *bounds, fwd_ptr, terms, fwd_code]
        segment = cls(*values)  # in the order of its fields
        # Kernels are compiled for read-only arrays, as memory maps are.
        for array in segment.arrays().values():
            array.flags.writeable = False
        return segment

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "PostingsSegment":
        """Return the segment whose ``arrays()`` these are."""
        plain = dict(arrays)
        ids = PackedStrings(plain.pop("id_offsets"), plain.pop("id_data"))
        terms = PackedStrings(plain.pop("term_offsets"), plain.pop("term_data"))
        hashes: Hashes = plain.pop("term_hashes")
        segment = cls(ids=ids, vocabulary=Vocabulary(hashes, terms), **plain)
        segment._check()
        return segment

    def _check(self) -> None:
        """Raise CorruptIndexError unless every array is in the bounds that kernels rely on."""
        count, terms, pairs = len(self.rows), len(self.vocabulary), len(self.pair_tf)
        for name, length in (
            *(("rows", None), ("lengths", count), ("order", count)),
            *(("pair_tf", None), ("pair_length", pairs), ("post_doc", None), ("long_terms", None)),
            ("fwd_term", len(self.post_doc)),
        ):
            check_type(name, getattr(self, name), length, np.uint32)
        codes = np.uint16 if pairs <= 1 << 16 else np.uint32
        for name in ("post_code", "fwd_code", "bound_code"):
            length = len(self.post_doc) if name != "bound_code" else None
            check_type(name, getattr(self, name), length, codes)
            check_below(name, getattr(self, name), pairs)
        self.vocabulary.check()
        check_strings("id_data", self.ids, count)
        check_offsets("post_ptr", self.post_ptr, terms, len(self.post_doc))
        check_offsets("fwd_ptr", self.fwd_ptr, count, len(self.fwd_term))
        check_offsets("bound_ptr", self.bound_ptr, len(self.long_terms), len(self.bound_code))
        check_below("post_doc", self.post_doc, count)
        check_below("fwd_term", self.fwd_term, terms)
        check_below("long_terms", self.long_terms, terms)
        check_ascending("rows", self.rows)
        check_ascending("long_terms", self.long_terms)
        check_ascending("post_doc", self.post_doc, self.post_ptr)
        check_ascending("fwd_term", self.fwd_term, self.fwd_ptr)
        check_ranks("order", self.order, count)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the segment as named arrays, for storage."""
        names = [field.name for field in fields(self) if field.name not in ("ids", "vocabulary")]
        return {name: getattr(self, name) for name in names} | {
            "id_offsets": self.ids.offsets,
            "id_data": self.ids.data,
            "term_hashes": self.vocabulary.hashes,
            "term_offsets": self.vocabulary.terms.offsets,
            "term_data": self.vocabulary.terms.data,
        }

    @property
    def forward(self) -> tuple[NDArray[np.int64], NDArray[np.uint32], Codes]:
        """The terms and codes of each document, as kernels take them."""
        return self.fwd_ptr, self.fwd_term, self.fwd_code

    def __len__(self) -> int:
        return len(self.rows)


def _pair_keys(frequencies: NDArray[Any], lengths: NDArray[Any]) -> NDArray[np.uint64]:
    """Return each pair of term frequency and passage length as one sortable number."""
    return (frequencies.astype(np.uint64) << np.uint64(32)) | lengths.astype(np.uint64)


def _merge_orders(
    ids: PackedStrings, parts: Sequence[tuple[PostingsSegment, NDArray[np.bool_]]]
) -> NDArray[np.uint32]:
    """Return the ranks of ``ids``, the live ones of the parts, by merging the parts' orders."""
    from twofold.lexical.kernels import build

    runs: list[NDArray[np.int64]] = []
    start = 0
    for part, alive in parts:
        by_id = np.empty(len(part), np.int64)
        by_id[part.order] = np.arange(len(part))
        numbers = np.cumsum(alive) - 1 + start
        runs.append(numbers[by_id[alive[by_id]]])
        start += int(alive.sum())
    run_ptr = run_offsets([len(run) for run in runs])
    order = build.merge_ranks(ids.offsets, ids.data, np.concatenate(runs), run_ptr)
    return np.asarray(order, np.uint32)


def _union_pairs(
    postings: Sequence[tuple[PostingsSegment, NDArray[np.bool_]]],
) -> tuple[NDArray[np.uint64], list[NDArray[np.int64]]]:
    """Return the distinct pair keys of kept postings, and each part's new codes."""
    keys = [_pair_keys(part.pair_tf, part.pair_length) for part, _ in postings]
    used = [
        key[np.bincount(part.fwd_code[on], minlength=len(key)) > 0]
        for (part, on), key in zip(postings, keys, strict=True)
    ]
    distinct = np.unique(np.concatenate(used))
    return distinct, [np.searchsorted(distinct, key) for key in keys]
