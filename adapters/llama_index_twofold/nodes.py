"""Between LlamaIndex's nodes and passages."""

from collections.abc import Mapping, Sequence
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
from twofold.results.hits import Hits
from twofold.types import PAYLOAD, Vectors

_KINDS = {each.class_name(): each for each in (TextNode, IndexNode, ImageNode, Node, Document)}
_KIND, _FIELDS, _OBJECT = "kind", "fields", "obj"
_MISSPELT = "metadata_seperator"
"""What LlamaIndex 0.13 writes beside ``metadata_separator``, and reads in place of it."""
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
    searched = node.get_content(metadata_mode=MetadataMode.EMBED)
    kept = _kept(node)
    fields = kept[_FIELDS]
    metadata: dict[str, Any] = dict(fields["metadata"])
    if not any(name in metadata for name in (*DOCUMENT_FIELDS, PAYLOAD)):
        del fields["metadata"]  # the passage's own will do
    if fields.get("text") == searched:
        del fields["text"]
    del fields["id_"]
    if node.ref_doc_id is not None:
        metadata |= dict.fromkeys(DOCUMENT_FIELDS, node.ref_doc_id)
    metadata[PAYLOAD] = kept
    return Passage(id=node.node_id, text=searched, metadata=metadata)


def _kept(node: BaseNode) -> dict[str, Any]:
    """Return a node as JSON values, without its embedding."""
    linked = node.obj if isinstance(node, IndexNode) else None
    if linked is not None:
        node = node.model_copy(update={"obj": None})
    fields: dict[str, Any] = node.model_dump(mode="json", exclude={"embedding"})
    fields.pop(_MISSPELT, None)
    kept = {_KIND: fields.pop("class_name"), _FIELDS: fields}
    return {**kept, _OBJECT: _kept(linked)} if isinstance(linked, BaseNode) else kept


def _made(kept: Mapping[str, Any], fields: Mapping[str, Any]) -> BaseNode:
    """Return a fresh node of what was kept, and of fields that weren't."""
    kind = _KINDS.get(kept[_KIND], TextNode)
    node: BaseNode = kind.from_dict({**fields, **kept[_FIELDS]})
    if _OBJECT in kept and isinstance(node, IndexNode):
        node.obj = _made(kept[_OBJECT], {})
    return node


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
    return _made(kept, {"id_": passage.id, "metadata": metadata, "text": passage.text})


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
