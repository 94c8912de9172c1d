"""Compares how a model is used with how it was saved, and with how its family was trained."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from twofold.diagnosis.finding import Finding, Severity
from twofold.diagnosis.sample import (
    ENCODED,
    IndexSample,
    cosines,
    find_reciprocal_ranks,
    is_clearly_less,
    to_unit,
)
from twofold.encoders import ModelEncoder
from twofold.encoders.model_spec import ModelOptions, Pooling
from twofold.errors import TwofoldError
from twofold.index.leg_agreement import MIN_PASSAGES, choose_sentence
from twofold.protocols import Encoder
from twofold.types import Scores, Vectors

_CLEAR = 0.1
"""A difference in mean reciprocal rank that users notice."""
_ALIKE = 0.995
"""The cosine from which a query's and a passage's encoding of one text are the same."""
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
_FEWEST = 5  # passages by which ways to use a model are compared


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
    options, wanted = model.options, dict(zip(_PROMPT_OPTIONS, family or (), strict=False))
    changed = [
        key
        for key in ("pooling", "normalize", "dim", *_PROMPT_OPTIONS)
        if getattr(options, key) is not None and getattr(options, key) != wanted.get(key)
    ]
    if not changed and _rank_as_encoded(sample) >= _GOOD:
        return
    used = _measure(sample, model)
    if used is None:
        return
    for key in changed:
        saved = _measure_variant(sample, model, replace(options, **{key: None}))
        if saved is None or saved.is_same(used):
            continue
        yield Finding(
            f"{key.replace('_', '-')}-overridden",
            _rate_override(key, used, saved),
            f"the model is used with {key}={getattr(options, key)!r}, not as it was saved",
            f"leave out {key}, and encode the index again with `twofold reencode`",
            evidence=(
                f"sentences find their passage among {len(used.ranks)} with a mean reciprocal rank "
                f"of {used.rank:.2f}, and of {saved.rank:.2f} as the model was saved",
            ),
        )
    if options.pooling is None and used.rank < _GOOD:
        yield from _check_pooling(sample, model, used)


def check_query_encoding(sample: IndexSample) -> Iterator[Finding]:
    """Find queries that are encoded in another way than passages, and find less by it."""
    vectors, metric = sample.encoding.vectors, sample.metric
    if metric is None or vectors is None or len(sample.scan) < MIN_PASSAGES:
        return
    sentences = sample.sentences[:ENCODED]
    try:
        others = np.asarray(sample.scope.encode_passages(sentences), np.float32)
    except Exception:  # noqa: BLE001  # encoders of users raise anything; another check says so
        return
    vectors = vectors[: len(sentences)]
    if others.shape != vectors.shape or not np.isfinite(others).all():
        return
    if float(np.median(cosines(vectors, others))) > _ALIKE:
        return
    keys = sample.scan.keys[sample.probes[: len(sentences)]].tolist()
    queries = find_reciprocal_ranks(sample.search_dense(vectors), keys)
    passages = find_reciprocal_ranks(sample.search_dense(others), keys)
    if not is_clearly_less(passages, queries, _CLEAR / 2):
        return
    yield Finding(
        "queries-encoded-otherwise",
        "error" if is_clearly_less(passages, queries, _CLEAR) else "warning",
        "queries are encoded in another way than passages, and find less: the prompt, the pooling "
        "or the model of the two differs",
        "encode both by one model, each with the prompt that it was trained with; if the model has "
        "two towers, compare it with others by `twofold eval`",
        evidence=(
            f"{len(keys)} sentences find their passage with a mean reciprocal rank of "
            f"{queries.mean():.2f} encoded as queries, and of {passages.mean():.2f} encoded as "
            "passages",
        ),
    )


@dataclass(frozen=True, slots=True)
class _Measured:
    """How well sentences find their passage by an encoder, and its vectors of both."""

    ranks: Scores
    vectors: Vectors

    @property
    def rank(self) -> float:
        """The mean reciprocal rank of a sentence's own passage."""
        return float(self.ranks.mean())

    def is_same(self, other: "_Measured") -> bool:
        """Return whether another encoder gives the same vectors, lengths included."""
        if self.vectors.shape != other.vectors.shape:
            return False
        change = np.linalg.norm(self.vectors - other.vectors, axis=1)
        return bool((change <= 0.01 * np.linalg.norm(self.vectors, axis=1)).all())


def _rate_override(key: str, used: _Measured, saved: _Measured) -> Severity:
    """Return how severe an option is: models may be trained for fewer dimensions."""
    if is_clearly_less(saved.ranks, used.ranks, _CLEAR):
        return "error"
    if key == "dim":
        return "warning" if is_clearly_less(saved.ranks, used.ranks, _CLEAR / 4) else "note"
    return "note" if is_clearly_less(used.ranks, saved.ranks, _CLEAR / 4) else "warning"


def _rank_as_encoded(sample: IndexSample) -> float:
    """Return how well sentences find the passages that were encoded again."""
    positions, stored = sample.encoded
    place = {position: at for at, position in enumerate(sample.probes.tolist())}
    chosen = [at for at, position in enumerate(positions.tolist()) if position in place]
    queries = [place[positions[at]] for at in chosen]
    if not chosen or sample.encoding.vectors is None:
        return 0.0
    return float(_ranks(sample.encoding.vectors[queries], stored[chosen]).mean())


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
    return _Measured(_ranks(queries, stored), np.concatenate([queries, stored]))


def _measure_variant(
    sample: IndexSample, model: ModelEncoder, options: ModelOptions
) -> _Measured | None:
    """Measure a model with other options; None if it can't be used with them."""
    try:
        return _measure(sample, model.with_options(options))
    except (TwofoldError, OSError):
        return None


def _ranks(queries: Vectors, stored: Vectors) -> Scores:
    """Return the reciprocal rank (n,) of each query's own vector by cosine."""
    scores = to_unit(queries) @ to_unit(stored).T
    return np.asarray(1.0 / (1 + (scores > np.diag(scores)[:, None]).sum(axis=1)))


def _check_pooling(sample: IndexSample, model: ModelEncoder, used: _Measured) -> Iterator[Finding]:
    """Find a model that was saved with a pooling that it wasn't trained for."""
    poolings: tuple[Pooling, ...] = ("mean", "cls")
    for pooling in poolings:
        other = _measure_variant(sample, model, replace(model.options, pooling=pooling))
        if other is None or other.is_same(used):
            continue
        if other.rank < _GOOD or not is_clearly_less(other.ranks, used.ranks, _CLEAR / 2):
            continue  # a model that doesn't know the texts finds little in any way
        yield Finding(
            "wrong-pooling",
            "error",
            f"the model finds more with pooling={pooling!r} than with the saved pooling",
            f"encode the index again: `twofold reencode`, with ?pooling={pooling} after the model",
            evidence=(
                f"mean reciprocal rank of a sentence's own passage among "
                f"{len(used.ranks)}: "
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
