"""LlamaIndex's ``EmbeddingQAFinetuneDataset`` as data for evaluation and tuning."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twofold import Passage
from twofold.errors import InputError

_PARTS = ("queries", "corpus", "relevant_docs")


@dataclass(frozen=True, slots=True)
class FinetuneData:
    """Passages, queries (id to text) and relevance judgments (query id to passage id to 1)."""

    passages: tuple[Passage, ...]
    queries: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]


def finetune_data(dataset: Any) -> FinetuneData:
    """Convert an ``EmbeddingQAFinetuneDataset``.

    Args:
        dataset: The dataset, or the path of a JSON file that its ``save_json`` wrote.

    Raises:
        InputError: ``dataset`` is neither, or a relevant passage is not in the corpus.

    Example:
        >>> data = finetune_data("pairs.json")  # doctest: +SKIP
        >>> evaluate(Retriever(index), data.queries, data.qrels, ["nDCG@10"])  # doctest: +SKIP
    """
    if isinstance(dataset, str | os.PathLike):
        try:
            values = json.loads(Path(dataset).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{dataset} can't be read as JSON: {error}") from error
    else:
        values = {name: getattr(dataset, name, None) for name in _PARTS}
    if not isinstance(values, dict):
        raise InputError(f"{dataset!r:.80} must be a JSON object with {', '.join(_PARTS)}")
    for name in _PARTS:
        if not isinstance(values.get(name), dict):
            raise InputError(
                f"{name} of an EmbeddingQAFinetuneDataset must be a mapping, got "
                f"{values.get(name)!r:.60}"
            )
    queries, corpus, relevant = (values[name] for name in _PARTS)
    missing = [passage for ids in relevant.values() for passage in ids if passage not in corpus]
    if missing:
        raise InputError(
            f"{len(missing)} relevant passages aren't in the corpus: {missing[0]!r} ...; add them"
        )
    return FinetuneData(
        tuple(Passage(id=passage_id, text=text) for passage_id, text in corpus.items()),
        queries,
        {query: dict.fromkeys(ids, 1) for query, ids in relevant.items()},
    )
