"""Filters and metadata for property tests, with values that are easily mistaken."""

from hypothesis import strategies as st

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([2**53 - 1, 2**53 + 1, 2**60, 2**60 + 1, -(2**70), 10**400]),
    st.sampled_from([0.5, 1.0, -2.5, 1e300]),
    st.sampled_from(["", "a", "b", "Ab", "abc", "\u00fc", "3"]),
)
values = st.one_of(scalars, st.lists(scalars, max_size=3))
fields = st.sampled_from(["x", "y", "z"])
metadata = st.dictionaries(fields, values, max_size=3)
ordered = st.one_of(
    st.integers(-3, 3), st.sampled_from([0.5, 2**60, 2**60 + 1]), st.sampled_from(["", "a", "b"])
)
conditions = st.one_of(
    st.tuples(st.sampled_from(["$eq", "$ne"]), values),
    st.tuples(st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), ordered),
    st.tuples(st.sampled_from(["$in", "$nin", "$any", "$all"]), st.lists(scalars, max_size=3)),
    st.tuples(st.sampled_from(["$exists", "$empty"]), st.booleans()),
    st.tuples(st.just("$contains"), scalars),
    st.tuples(st.sampled_from(["$text", "$itext"]), st.sampled_from(["", "a", "B"])),
).map(lambda pair: dict([pair]))
leaves = st.dictionaries(fields, st.one_of(scalars, conditions), min_size=1, max_size=2)
filters = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"$and": parts}),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"$or": parts}),
        inner.map(lambda part: {"$not": part}),
    ),
    max_leaves=4,
)
