"""An immutable piece of the lexical leg: vocabulary, postings and forward index of some rows."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twofold.errors import InputError
from twofold.lexical.vocabulary import Hashes, Vocabulary
from twofold.segments import PackedStrings, positions_of
from twofold.types import Rows

MOST_TERMS = 1 << 24
"""Terms of one document, which bound what any scoring function can give."""
LONG = 128
"""Postings from which a term's bounds are stored: fewer are looked through faster."""
Codes = NDArray[np.uint16] | NDArray[np.uint32]
"""A posting's code: the number of its distinct pair of term frequency and passage length."""


@dataclass(frozen=True, slots=True)
class PostingsSegment:
    """Documents are numbered locally from 0, in ascending order of their rows.

    A posting costs 6 bytes (document u32, code u16; u32 beyond 65,536 distinct pairs), and as
    much again in the forward index, from which statistics stay exact when rows are deleted.
    ``order`` is each document's place among the ids. Terms with LONG postings or more
    (``long_terms``) have a frontier of codes, from which the best part of any scoring function
    is read (``kernels.top``).
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
        """Index each document's terms (repeats included) under its row, rows ascending.

        Raises InputError for a document of more than MOST_TERMS.
        """
        longest = max(map(len, documents), default=0)
        if longest > MOST_TERMS:
            raise InputError(
                f"a passage has {longest:,} terms, {MOST_TERMS:,} are taken: split it into passages"
            )
        numbers: defaultdict[str, int] = defaultdict(count().__next__)
        flat = [numbers[term] for terms in documents for term in terms]
        vocabulary, by_hash = Vocabulary.of(list(numbers))
        lengths = np.array([len(terms) for terms in documents], np.uint32)
        docs = np.repeat(np.arange(len(documents), dtype=np.int64), lengths)
        terms = by_hash[np.array(flat, np.int64)] if flat else np.empty(0, np.int64)
        keys, frequencies = np.unique(docs * max(len(numbers), 1) + terms, return_counts=True)
        doc_of, fwd_term = np.divmod(keys, max(len(numbers), 1))
        fwd_ptr = np.searchsorted(doc_of, np.arange(len(documents) + 1))
        pairs = _pair_keys(frequencies, lengths[doc_of])
        distinct, codes = np.unique(pairs, return_inverse=True)
        packed = PackedStrings.of(ids)
        return cls._finish(
            rows=rows,
            lengths=lengths,
            ids=packed,
            order=packed.ranks(),
            vocabulary=vocabulary,
            pairs=distinct,
            fwd_ptr=fwd_ptr.astype(np.int64),
            fwd_term=fwd_term.astype(np.uint32),
            codes=codes,
        )

    @classmethod
    def merge(
        cls, parts: Sequence["PostingsSegment"], live: Sequence[NDArray[np.bool_] | None]
    ) -> "PostingsSegment":
        """Return one segment of the live documents of several with ascending rows."""
        keep = [
            np.ones(len(part), np.bool_) if alive is None else alive
            for part, alive in zip(parts, live, strict=True)
        ]
        postings = [
            np.repeat(alive, np.diff(part.fwd_ptr)) for part, alive in zip(parts, keep, strict=True)
        ]
        used = [
            np.bincount(part.fwd_term[on], minlength=len(part.vocabulary)) > 0
            for part, on in zip(parts, postings, strict=True)
        ]
        vocabulary, maps = Vocabulary.union([part.vocabulary for part in parts], used)
        distinct, recode = _union_pairs(parts, postings)
        counts = np.concatenate(
            [np.diff(part.fwd_ptr)[alive] for part, alive in zip(parts, keep, strict=True)]
        )
        fwd_ptr = np.zeros(len(counts) + 1, np.int64)
        np.cumsum(counts, out=fwd_ptr[1:])
        triples = list(zip(parts, postings, strict=True))
        # Hash order is the same in every vocabulary, so terms stay ascending in each document.
        fwd_term = np.concatenate(
            [new[part.fwd_term[on]] for (part, on), new in zip(triples, maps, strict=True)]
        )
        codes = np.concatenate(
            [new[part.fwd_code[on]] for (part, on), new in zip(triples, recode, strict=True)]
        )
        pairs = list(zip(parts, keep, strict=True))
        ids = PackedStrings.concatenate(
            [part.ids.take(np.flatnonzero(alive)) for part, alive in pairs]
        )
        return cls._finish(
            rows=np.concatenate([part.rows[alive] for part, alive in pairs]),
            lengths=np.concatenate([part.lengths[alive] for part, alive in pairs]),
            ids=ids,
            order=_merged_order(ids, pairs),
            vocabulary=vocabulary,
            pairs=distinct,
            fwd_ptr=fwd_ptr,
            fwd_term=fwd_term.astype(np.uint32),
            codes=codes,
        )

    @classmethod
    def _finish(
        cls,
        *,
        rows: NDArray[Any],
        lengths: NDArray[np.uint32],
        ids: PackedStrings,
        order: NDArray[np.uint32],
        vocabulary: Vocabulary,
        pairs: NDArray[np.uint64],
        fwd_ptr: NDArray[np.int64],
        fwd_term: NDArray[np.uint32],
        codes: NDArray[np.int64],
    ) -> "PostingsSegment":
        """Derive postings and bounds from a forward index."""
        from twofold.lexical.kernels import build as building

        narrow = len(pairs) <= 1 << 16
        fwd_code: Codes = codes.astype(np.uint16) if narrow else codes.astype(np.uint32)
        pair_tf = (pairs >> np.uint64(32)).astype(np.uint32)
        pair_length = (pairs & np.uint64(0xFFFFFFFF)).astype(np.uint32)
        post_ptr, post_doc, post_code = building.invert(
            fwd_ptr, fwd_term, fwd_code, len(vocabulary)
        )
        long_terms, bound_ptr, bound_code = building.frontiers(
            post_ptr, post_code, pair_tf, pair_length, LONG
        )
        segment = cls(
            rows=rows.astype(np.uint32),
            lengths=lengths,
            ids=ids,
            order=order,
            vocabulary=vocabulary,
            pair_tf=pair_tf,
            pair_length=pair_length,
            post_ptr=post_ptr,
            post_doc=post_doc,
            post_code=post_code,
            long_terms=long_terms,
            bound_ptr=bound_ptr,
            bound_code=bound_code,
            fwd_ptr=fwd_ptr,
            fwd_term=fwd_term,
            fwd_code=fwd_code,
        )
        # Kernels are compiled for read-only arrays, as memory maps are.
        for array in segment.arrays().values():
            array.flags.writeable = False
        return segment

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "PostingsSegment":
        """Return the segment that ``arrays()`` described."""
        own = dict(arrays)
        ids = PackedStrings(own.pop("id_offsets"), own.pop("id_data"))
        terms = PackedStrings(own.pop("term_offsets"), own.pop("term_data"))
        hashes: Hashes = own.pop("term_hashes")
        return cls(ids=ids, vocabulary=Vocabulary(hashes, terms), **own)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything as named arrays, for storage."""
        return {
            "rows": self.rows,
            "lengths": self.lengths,
            "order": self.order,
            "pair_tf": self.pair_tf,
            "pair_length": self.pair_length,
            "post_ptr": self.post_ptr,
            "post_doc": self.post_doc,
            "post_code": self.post_code,
            "long_terms": self.long_terms,
            "bound_ptr": self.bound_ptr,
            "bound_code": self.bound_code,
            "fwd_ptr": self.fwd_ptr,
            "fwd_term": self.fwd_term,
            "fwd_code": self.fwd_code,
            "id_offsets": self.ids.offsets,
            "id_data": self.ids.data,
            "term_hashes": self.vocabulary.hashes,
            "term_offsets": self.vocabulary.terms.offsets,
            "term_data": self.vocabulary.terms.data,
        }

    def __len__(self) -> int:
        return len(self.rows)

    def locate(self, rows: Rows) -> NDArray[np.int64]:
        """Return the local document of each row, -1 for rows that are not here."""
        return positions_of(rows, self.rows)


def _pair_keys(frequencies: NDArray[Any], lengths: NDArray[Any]) -> NDArray[np.uint64]:
    """Return term frequency and passage length as one sortable number each."""
    return (frequencies.astype(np.uint64) << np.uint64(32)) | lengths.astype(np.uint64)


def _merged_order(
    ids: PackedStrings, parts: Sequence[tuple[PostingsSegment, NDArray[np.bool_]]]
) -> NDArray[np.uint32]:
    """Return the places of ``ids``, the parts' live ones, by merging the orders of the parts."""
    from twofold.lexical.kernels import build as building

    runs: list[NDArray[np.int64]] = []
    start = 0
    for part, alive in parts:
        by_id = np.empty(len(part), np.int64)
        by_id[part.order] = np.arange(len(part))
        numbers = np.cumsum(alive) - 1 + start
        runs.append(numbers[by_id[alive[by_id]]])
        start += int(alive.sum())
    run_ptr = np.zeros(len(runs) + 1, np.int64)
    np.cumsum([len(run) for run in runs], out=run_ptr[1:])
    order: NDArray[np.uint32] = building.merged_ranks(
        ids.offsets, ids.data, np.concatenate(runs), run_ptr
    )
    return order


def _union_pairs(
    parts: Sequence[PostingsSegment], postings: Sequence[NDArray[np.bool_]]
) -> tuple[NDArray[np.uint64], list[NDArray[np.int64]]]:
    """Return the distinct pairs still in use, and each part's old to new codes."""
    keys = [_pair_keys(part.pair_tf, part.pair_length) for part in parts]
    used = [
        np.bincount(part.fwd_code[on], minlength=len(key)) > 0
        for part, on, key in zip(parts, postings, keys, strict=True)
    ]
    distinct = np.unique(np.concatenate([key[on] for key, on in zip(keys, used, strict=True)]))
    return distinct, [np.searchsorted(distinct, key) for key in keys]
