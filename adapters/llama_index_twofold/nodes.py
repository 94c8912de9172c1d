"""Conversion between LlamaIndex nodes and twofold passages."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from llama_index.core.schema import (
    BaseNode,
    Document,
    ImageDocument,
    ImageNode,
    IndexNode,
    MetadataMode,
    Node,
    NodeWithScore,
    TextNode,
)

from twofold import Passage
from twofold.errors import PassageError, VectorError
from twofold.integrations import add_new_field, add_title, own_metadata, own_title
from twofold.metadata import to_json_metadata
from twofold.results.hits import Hits
from twofold.types import PAYLOAD, Vectors

_NODE_TYPES = {
    kind.class_name(): kind
    for kind in (TextNode, IndexNode, ImageNode, Node, Document, ImageDocument)
}
_NEAREST = tuple(reversed(_NODE_TYPES.items()))
_KIND, _FIELDS, _OBJECT = "kind", "fields", "obj"
_RESOURCES = ("text_resource", "image_resource", "audio_resource", "video_resource")
_MISSPELT = "metadata_seperator"
"""LlamaIndex 0.13 also writes ``metadata_separator``, and reads only this misspelt field."""
DOCUMENT_FIELDS = ("document_id", "doc_id", "ref_doc_id")
"""Metadata fields with the id of a node's document, which LlamaIndex users filter by."""


def as_passage(node: BaseNode) -> Passage:
    """Convert a node to a passage whose text is what LlamaIndex would embed.

    The node's metadata and its document's id can be filtered by. The rest of the node is stored in
    a reserved field: relationships, excluded keys, templates, pictures and other media, and an
    IndexNode's ``obj`` if that is a node. Other objects, such as retrievers, are not stored. A
    title or score that a search added to the metadata is left out again. Raises TypeError for
    other types, and PassageError for an empty node id.
    """
    if not isinstance(node, BaseNode):
        raise TypeError(f"expected a node, got {type(node).__name__}: {node!r:.80}")
    if not node.node_id:
        raise PassageError(f"a node's id must be a string that isn't empty, got {node!r:.80}")
    title, kept = own_title(node), to_json_metadata(own_metadata(node), repr(node.node_id))
    if kept is not node.metadata:
        node = node.model_copy(update={"metadata": kept})
    text = node.get_content(metadata_mode=MetadataMode.EMBED)
    payload = _node_to_dict(node)
    fields = payload[_FIELDS]
    metadata: dict[str, Any] = dict(fields["metadata"])
    if not any(name in metadata for name in (*DOCUMENT_FIELDS, PAYLOAD)):
        del fields["metadata"]  # the passage's metadata is enough to restore it
    if fields.get("text") == text:
        del fields["text"]
    del fields["id_"]
    if node.ref_doc_id is not None:
        metadata |= dict.fromkeys(DOCUMENT_FIELDS, node.ref_doc_id)
    metadata[PAYLOAD] = payload
    return Passage(id=node.node_id, text=text, title=title, metadata=metadata)


def _node_to_dict(node: BaseNode) -> dict[str, Any]:
    """Return a node, without its embedding, as values that the index converts to JSON."""
    linked = node.obj if isinstance(node, IndexNode) else None
    if linked is not None:
        node = node.model_copy(update={"obj": None})
    fields: dict[str, Any] = node.model_dump(exclude={"embedding"})
    fields["metadata"] = node.metadata
    for name in _RESOURCES if isinstance(node, Node) else ():
        if (resource := getattr(node, name)) is not None:
            data = resource.data.decode() if resource.data is not None else None  # it is base64
            fields[name] = {**resource.model_dump(mode="json"), "data": data}
    fields.pop(_MISSPELT, None)
    kind = fields.pop("class_name")
    if kind not in _NODE_TYPES:  # a subclass is stored as the nearest type that is known
        kind = next((k for k, known in _NEAREST if isinstance(node, known)), kind)
    payload = {_KIND: kind, _FIELDS: fields}
    return {**payload, _OBJECT: _node_to_dict(linked)} if isinstance(linked, BaseNode) else payload


def _node_from_dict(payload: Mapping[str, Any], defaults: Mapping[str, Any]) -> BaseNode:
    """Restore a node from ``_node_to_dict``; ``defaults`` are fields that were left out."""
    node_type = _NODE_TYPES.get(payload[_KIND], TextNode)
    node: BaseNode = node_type.from_dict({**defaults, **payload[_FIELDS]})
    if _OBJECT in payload and isinstance(node, IndexNode):
        node.obj = _node_from_dict(payload[_OBJECT], {})
    return node


def stack_embeddings(nodes: Sequence[BaseNode]) -> Vectors:
    """Return the nodes' embeddings, float32 (n, dim). Raises VectorError if lengths differ."""
    rows = [np.asarray(node.embedding, np.float32) for node in nodes]
    for node, row in zip(nodes, rows, strict=True):
        if row.shape != rows[0].shape:
            raise VectorError(
                f"embeddings must have one shape, got {row.shape} for node {node.node_id!r} and "
                f"{rows[0].shape} for node {nodes[0].node_id!r}: encode all by one model"
            )
    return np.stack(rows)


def as_node(passage: Passage) -> BaseNode:
    """Convert a passage to a new node of its original type; TextNode if it wasn't a node."""
    metadata = dict(passage.metadata)
    payload = metadata.pop(PAYLOAD, None)
    if not isinstance(payload, dict) or _KIND not in payload:
        payload = {_KIND: TextNode.class_name(), _FIELDS: {}}
    else:
        for name in DOCUMENT_FIELDS:
            metadata.pop(name, None)
    defaults = {"id_": passage.id, "metadata": metadata, "text": passage.text}
    node = _node_from_dict(payload, defaults)
    add_title(node, passage.title)
    return node


def nodes_from_hits(hits: Hits, confidence_key: str | None = None) -> list[NodeWithScore]:
    """Convert hits to new nodes with Python floats as scores, best first.

    ``hits.confidence`` is added to the metadata under ``confidence_key``, if that isn't None.
    """
    nodes = [
        NodeWithScore(node=as_node(passage), score=score)
        for passage, score in zip(hits.passages, hits.scores.tolist(), strict=True)
    ]
    for node in nodes if confidence_key is not None else ():
        add_new_field(node.node, confidence_key, hits.confidence, "confidence_key")
    return nodes


def is_reference(passage: Passage) -> bool:
    """Return whether a passage was made from an IndexNode or ImageNode."""
    payload = passage.metadata.get(PAYLOAD)
    kinds = (IndexNode.class_name(), ImageNode.class_name())
    return isinstance(payload, dict) and payload.get(_KIND) in kinds
