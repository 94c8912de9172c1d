"""Compares how a model is used with how it was saved, and with how its family was trained."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from twofold.diagnosis.finding import Finding
from twofold.diagnosis.sample import IndexSample, mean_reciprocal_rank, to_unit
from twofold.encoders import ModelEncoder
from twofold.encoders.model_spec import ModelOptions, Pooling
from twofold.errors import TwofoldError
from twofold.index.leg_agreement import choose_sentence
from twofold.protocols import Encoder
from twofold.types import Vectors

_CLEAR = 0.1
"""A difference in mean reciprocal rank that is more than chance, on 40 passages."""
_GOOD = 0.9
"""Mean reciprocal rank of a sentence's own passage by a model that is used as it should be."""
_OPENING = 400
"""Characters of a passage by which ways to use a model are compared."""
_PROMPTS = (
    (re.compile(r"\b(multilingual-)?e5[-_]"), "query: ", "passage: "),
    (re.compile(r"nomic-embed-text"), "search_query: ", "search_document: "),
    (
        re.compile(r"bge-(small|base|large)-en"),
        "Represent this sentence for searching relevant passages: ",
        "",
    ),
    (
        re.compile(r"mxbai-embed|snowflake-arctic-embed-(xs|s|m|l)\b"),
        "Represent this sentence for searching relevant passages: ",
        "",
    ),
)
"""Families of models that are trained with prompts: name, query prompt, passage prompt."""
_PROMPT_OPTIONS = ("query_prompt", "passage_prompt")
_FEWEST = 20  # passages by which ways to use a model are compared


def check_options(sample: IndexSample) -> Iterator[Finding]:
    """Find options that differ from how the model was saved, and other uses that find more."""
    model = sample.model
    if sample.metric is None or sample.encoding.vectors is None:
        return
    family = _find_family(sample)
    if family is not None:
        yield from _check_prompts(sample, family)
    if not isinstance(model, ModelEncoder) or len(sample.encoded[0]) < _FEWEST:
        return
    used = _measure(sample, model)
    if used is None:
        return
    options, wanted = model.options, dict(zip(_PROMPT_OPTIONS, family or (), strict=False))
    for key in ("pooling", "normalize", *_PROMPT_OPTIONS):
        value = getattr(options, key)
        if value is None or value == wanted.get(key):
            continue
        saved = _measure_variant(sample, model, replace(options, **{key: None}))
        if saved is None or saved.is_same(used):
            continue
        worse = saved.rank - used.rank
        yield Finding(
            f"{key.replace('_', '-')}-overridden",
            "error" if worse >= _CLEAR else "warning" if worse >= 0 else "note",
            f"the model is used with {key}={value!r}, not as it was saved",
            f"leave out {key}, and encode the index again with `twofold reencode`",
            evidence=(
                f"sentences find their passage among {used.count} with a mean reciprocal rank of "
                f"{used.rank:.2f}, and of {saved.rank:.2f} as the model was saved",
            ),
        )
    if options.pooling is None and used.rank < _GOOD:
        yield from _check_pooling(sample, model, used)


@dataclass(frozen=True, slots=True)
class _Measured:
    """How well sentences find their passage by an encoder, and its vectors of both."""

    rank: float
    count: int
    vectors: Vectors

    def is_same(self, other: "_Measured") -> bool:
        """Return whether another encoder gives the same vectors, lengths included."""
        if self.vectors.shape != other.vectors.shape:
            return False
        change = np.linalg.norm(self.vectors - other.vectors, axis=1)
        return bool((change <= 0.01 * np.linalg.norm(self.vectors, axis=1)).all())


def _measure(sample: IndexSample, encoder: Encoder) -> _Measured | None:
    """Rank the passages that were encoded again by an encoder, with a sentence of each as query."""
    passages = sample.fetch(sample.encoded[0])
    sentences = [choose_sentence(passage) for passage in passages]
    openings = [passage.content[:_OPENING] for passage in passages]
    try:
        queries = np.asarray(encoder.encode_queries(sentences), np.float32)
        stored = np.asarray(encoder.encode_passages(openings), np.float32)
    except TwofoldError:
        return None
    return _Measured(_rank(queries, stored), len(passages), np.concatenate([queries, stored]))


def _measure_variant(
    sample: IndexSample, model: ModelEncoder, options: ModelOptions
) -> _Measured | None:
    """Measure a model with other options; None if it can't be used with them."""
    try:
        return _measure(sample, model.with_options(options))
    except (TwofoldError, OSError):
        return None


def _rank(queries: Vectors, stored: Vectors) -> float:
    """Return the mean reciprocal rank of each query's own vector by cosine."""
    scores = to_unit(queries) @ to_unit(stored).T
    ranks = 1 + (scores > np.diag(scores)[:, None]).sum(axis=1)
    return mean_reciprocal_rank([int(rank) for rank in ranks])


def _check_pooling(sample: IndexSample, model: ModelEncoder, used: _Measured) -> Iterator[Finding]:
    """Find a model that was saved with a pooling that it wasn't trained for."""
    poolings: tuple[Pooling, ...] = ("mean", "cls")
    for pooling in poolings:
        other = _measure_variant(sample, model, replace(model.options, pooling=pooling))
        if other is None or other.is_same(used):
            continue
        if other.rank < _GOOD or other.rank - used.rank < _CLEAR:
            continue  # a model that doesn't know the texts finds little in any way
        yield Finding(
            "wrong-pooling",
            "error",
            f"the model finds more with pooling={pooling!r} than with the saved pooling",
            f"encode the index again: `twofold reencode`, with ?pooling={pooling} after the model",
            evidence=(
                f"mean reciprocal rank of a sentence's own passage among {used.count}: "
                f"{used.rank:.2f} as saved, {other.rank:.2f} with {pooling}",
            ),
        )
        return


def _find_family(sample: IndexSample) -> tuple[str, str] | None:
    """Return the prompts that a model's family is trained with, None if it has none or unknown."""
    identity = sample.scope.identity
    name = identity.name if identity is not None else str(getattr(sample.model, "name", ""))
    found = (prompts for family, *prompts in _PROMPTS if family.search(name.lower()))
    query, passage = next(found, ("", ""))
    return (query, passage) if query else None


def _check_prompts(sample: IndexSample, family: tuple[str, str]) -> Iterator[Finding]:
    """Find a model of a family with prompts that is used without one of them."""
    used = getattr(sample.model, "prompts", None)
    if used is None:
        return
    lacking = [
        f"{prompt!r} before {texts}"
        for texts, prompt, present in zip(("queries", "passages"), family, used, strict=True)
        if prompt and not present
    ]
    if not lacking:
        return
    yield Finding(
        "prompt-missing",
        # Models that need no passage prompt work nearly as well without that of queries.
        "warning" if family[1] else "note",
        f"the model is trained with the prompt {' and '.join(lacking)}, and is used without",
        "encode the index again with query_prompt= and passage_prompt= in the encoder's spec",
    )
