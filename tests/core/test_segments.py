import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from twofold import segments as tiers
from twofold.segments import (
    PackedStrings,
    StringLookup,
    allowed_flags,
    find_positions,
    hash_strings,
)


@given(st.lists(st.integers(1, 300), min_size=1, max_size=300))
def test_few_segments_stay_and_rows_are_copied_seldom(batches):
    sizes, copied = [], 0
    for batch in batches:
        sizes.append(batch)
        while (run := tiers.next_merge(sizes)) is not None:
            merged = sum(sizes[run])
            copied += merged
            sizes[run] = [merged]
    total = sum(batches)
    assert sum(sizes) == total
    depth = total.bit_length() // 2 + 1
    assert len(sizes) <= 3 * depth * 2
    assert copied <= total * (depth + 1)


@given(
    st.sets(st.integers(0, 40)),
    st.lists(st.integers(0, 60)),
    st.lists(st.booleans(), max_size=50),
    st.sampled_from([np.uint32, np.int64]),
)
def test_rows_are_found_where_they_are(held, asked, mask, dtype):
    ascending = np.array(sorted(held), dtype)
    places = find_positions(np.array(asked, np.int64), ascending).tolist()
    assert places == [sorted(held).index(row) if row in held else -1 for row in asked]
    flags = allowed_flags(ascending, np.array(mask, np.bool_)).tolist()
    assert flags == [row < len(mask) and mask[row] for row in sorted(held)]


@given(st.lists(st.text()))
def test_packed_strings_read_back(strings):
    packed = PackedStrings.from_strings(strings)
    assert packed.tolist() == strings
    assert [packed[n] for n in range(len(packed))] == strings
    assert PackedStrings.concatenate([packed, packed]).tolist() == strings * 2
    ranks = packed.ranks().tolist()
    assert [strings[n] for n in sorted(range(len(strings)), key=ranks.__getitem__)] == sorted(
        strings
    )


@given(
    st.lists(st.text(max_size=6), max_size=40),
    st.lists(st.text(max_size=6), max_size=40),
    st.lists(st.booleans(), min_size=3, max_size=3),
)
def test_strings_are_found_in_few_and_in_many_looked_up(held, others, whole):
    lookup, packed = StringLookup(), PackedStrings.from_strings(held)
    for is_whole in whole:  # a few are scanned for, until many were looked up
        wanted = others + held if is_whole else (others + held)[-3:]
        found = lookup.find(packed, wanted, hash_strings(PackedStrings.from_strings(wanted)))
        expected = [
            (at, place)
            for at, string in enumerate(wanted)
            for place, other in enumerate(held)
            if other == string
        ]
        assert sorted(found) == expected


def test_strings_with_the_same_hash_are_told_apart():
    # Thue and Morse's words collide under every polynomial hash modulo 2^64.
    first = "a"
    for _ in range(11):
        first += first.translate(_SWAPPED)
    second = first.translate(_SWAPPED)
    packed = PackedStrings.from_strings([first, second])
    hashes = hash_strings(packed)
    assert hashes[0] == hashes[1]
    wanted = [second, first, *map(str, range(20))]
    found = StringLookup().find(packed, wanted, hash_strings(PackedStrings.from_strings(wanted)))
    assert sorted(found) == [(0, 1), (1, 0)]


_SWAPPED = str.maketrans("ab", "ba")
