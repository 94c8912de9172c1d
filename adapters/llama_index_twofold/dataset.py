"""LlamaIndex's EmbeddingQAFinetuneDataset as what twofold measures and tunes with."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twofold import Passage
from twofold.errors import InputError


@dataclass(frozen=True, slots=True)
class FinetuneData:
    """Passages, queries (id to text) and judgments (query id to passage id to 1)."""

    passages: tuple[Passage, ...]
    queries: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]


def finetune_data(given: Any) -> FinetuneData:
    """Read an ``EmbeddingQAFinetuneDataset``, or the JSON file that its ``save_json`` wrote.

    Raises InputError for what is neither, and for relevant passages that aren't in the corpus.
    """
    if isinstance(given, str | os.PathLike):
        try:
            values = json.loads(Path(given).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{given} can't be read as JSON: {error}") from error
    else:
        names = ("queries", "corpus", "relevant_docs")
        values = {name: getattr(given, name, None) for name in names}
    if not isinstance(values, dict):
        raise InputError(f"{given!r:.80} holds no object with queries, corpus and relevant_docs")
    queries, corpus, relevant = (
        _mapping(values, name) for name in ("queries", "corpus", "relevant_docs")
    )
    missing = [own for ids in relevant.values() for own in ids if own not in corpus]
    if missing:
        raise InputError(
            f"{len(missing)} relevant passages aren't in the corpus: {missing[0]!r} ..."
        )
    return FinetuneData(
        tuple(Passage(id=own, text=text) for own, text in corpus.items()),
        queries,
        {query: dict.fromkeys(ids, 1) for query, ids in relevant.items()},
    )


def _mapping(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = values.get(name)
    if not isinstance(found, dict):
        raise InputError(f"an EmbeddingQAFinetuneDataset has a mapping {name!r}, not {found!r:.60}")
    return found
