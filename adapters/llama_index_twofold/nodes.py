"""Between LlamaIndex's nodes and passages."""

from typing import Any

from llama_index.core.schema import BaseNode, IndexNode, MetadataMode, NodeWithScore, TextNode
from llama_index.core.vector_stores.utils import metadata_dict_to_node, node_to_metadata_dict

from twofold import Hit, Passage
from twofold.types import PAYLOAD

_CONTENT, _TYPE = "_node_content", "_node_type"


def as_passage(node: BaseNode) -> Passage:
    """Return a node as a passage, found by what LlamaIndex would embed of it.

    The node's metadata and its document's id can be filtered; the whole node is kept beside,
    without the live object of an IndexNode. Raises TypeError for what is no node.
    """
    if not isinstance(node, BaseNode):
        raise TypeError(f"a node is wanted, not {type(node).__name__}: {node!r:.80}")
    if isinstance(node, IndexNode) and node.obj is not None:
        node = node.model_copy(update={"obj": None})
    fields: dict[str, Any] = node_to_metadata_dict(node, remove_text=False, flat_metadata=False)
    whole = {name: fields.pop(name) for name in (_CONTENT, _TYPE)}
    return Passage(
        id=node.node_id,
        text=node.get_content(metadata_mode=MetadataMode.EMBED),
        metadata={**fields, PAYLOAD: whole},
    )


def as_node(hit: Hit) -> NodeWithScore:
    """Return a hit as a fresh node with its score; passages of other origin become TextNodes."""
    metadata = dict(hit.passage.metadata)
    whole = metadata.pop(PAYLOAD, None)
    if whole is not None:
        return NodeWithScore(node=metadata_dict_to_node({**metadata, **whole}), score=hit.score)
    if hit.passage.title:
        metadata.setdefault("title", hit.passage.title)
    node = TextNode(id_=hit.id, text=hit.passage.text, metadata=metadata)
    return NodeWithScore(node=node, score=hit.score)
