"""Between LlamaIndex's nodes and passages."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from llama_index.core.schema import (
    BaseNode,
    Document,
    ImageNode,
    IndexNode,
    MetadataMode,
    Node,
    NodeWithScore,
    TextNode,
)

from twofold import Passage
from twofold.errors import VectorError
from twofold.hits import Hits
from twofold.types import PAYLOAD, Vectors

_KINDS = {each.class_name(): each for each in (TextNode, IndexNode, ImageNode, Node, Document)}
_KIND, _FIELDS = "kind", "fields"
DOCUMENT_FIELDS = ("document_id", "doc_id", "ref_doc_id")
"""Names by which LlamaIndex's users filter for a node's document."""


def as_passage(node: BaseNode) -> Passage:
    """Return a node as a passage, found by what LlamaIndex would embed of it.

    The node's metadata and its document's id can be filtered by. All else of the node is kept
    beside: relationships, excluded keys, templates, and the ``obj`` of an IndexNode if it is a
    node; a live one, such as a retriever, can't be. Raises TypeError for what is no node.
    """
    if not isinstance(node, BaseNode):
        raise TypeError(f"a node is wanted, not {type(node).__name__}: {node!r:.80}")
    if isinstance(node, IndexNode) and not isinstance(node.obj, BaseNode | None):
        node = node.model_copy(update={"obj": None})
    searched = node.get_content(metadata_mode=MetadataMode.EMBED)
    fields: dict[str, Any] = node.model_dump(mode="json", exclude={"id_", "embedding"})
    metadata: dict[str, Any] = dict(fields["metadata"])
    if not any(name in metadata for name in (*DOCUMENT_FIELDS, PAYLOAD)):
        del fields["metadata"]  # the passage's own will do
    if fields.get("text") == searched:
        del fields["text"]
    if node.ref_doc_id is not None:
        metadata |= dict.fromkeys(DOCUMENT_FIELDS, node.ref_doc_id)
    kind = fields.pop("class_name")
    metadata[PAYLOAD] = {_KIND: kind, _FIELDS: fields}
    return Passage(id=node.node_id, text=searched, metadata=metadata)


def vectors_of(nodes: Sequence[BaseNode]) -> Vectors:
    """Return the embeddings of nodes, float32 (n, dim); raise VectorError where lengths differ."""
    rows = [np.asarray(node.embedding, np.float32) for node in nodes]
    for node, row in zip(nodes, rows, strict=True):
        if row.shape != rows[0].shape:
            raise VectorError(
                f"node {node.node_id!r} has an embedding of shape {row.shape}, and node "
                f"{nodes[0].node_id!r} one of {rows[0].shape}: they are of different models"
            )
    return np.stack(rows)


def as_node(passage: Passage) -> BaseNode:
    """Return a passage as a fresh node; one that was no node becomes a TextNode."""
    metadata = dict(passage.metadata)
    kept = metadata.pop(PAYLOAD, None)
    if not isinstance(kept, dict) or _KIND not in kept:
        if passage.title:
            metadata.setdefault("title", passage.title)
        return TextNode(id_=passage.id, text=passage.text, metadata=metadata)
    for name in DOCUMENT_FIELDS:
        metadata.pop(name, None)
    fields = {"metadata": metadata, "text": passage.text, **kept[_FIELDS], "id_": passage.id}
    node: BaseNode = _KINDS.get(kept[_KIND], TextNode).from_dict(fields)
    return node


def scored_nodes(hits: Hits) -> list[NodeWithScore]:
    """Return hits as fresh nodes with their scores, Python floats, best first."""
    scores = hits.scores.tolist()
    return [
        NodeWithScore(node=as_node(passage), score=score)
        for passage, score in zip(hits.passages, scores, strict=True)
    ]


def is_reference(passage: Passage) -> bool:
    """Whether a passage was an IndexNode or an ImageNode, which VectorStoreIndex tracks by id."""
    kept = passage.metadata.get(PAYLOAD)
    kinds = (IndexNode.class_name(), ImageNode.class_name())
    return isinstance(kept, dict) and kept.get(_KIND) in kinds
