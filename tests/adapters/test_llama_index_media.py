"""Pictures, sounds and videos of nodes come back whole."""

import base64

import pytest
from llama_index.core.schema import (
    Document,
    ImageDocument,
    ImageNode,
    IndexNode,
    MediaResource,
    Node,
    TextNode,
)

from llama_index_twofold import TwofoldRetriever, TwofoldVectorStore

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
COMMON = {"id_": "a", "metadata": {"topic": "tea"}, "embedding": [1.0, 0.0]}


def media(**given):
    return MediaResource(**given)


NODES = [
    ImageDocument(text="tea", image=base64.b64encode(PIXEL).decode(), **COMMON),
    ImageDocument(image=base64.b64encode(PIXEL).decode(), image_mimetype="image/png", **COMMON),
    ImageDocument(text="tea", image_resource=media(path="pictures/tea.png"), **COMMON),
    ImageDocument(text="tea", image_resource=media(url="https://example.org/tea.png"), **COMMON),
    ImageNode(text="tea", image=base64.b64encode(PIXEL).decode(), **COMMON),
    ImageNode(text="tea", image_path="pictures/tea.png", text_embedding=[0.5, 0.5], **COMMON),
    ImageNode(image_url="https://example.org/tea.png", image_mimetype="image/png", **COMMON),
    Node(text_resource=media(text="tea"), image_resource=media(data=PIXEL), **COMMON),
    Node(audio_resource=media(data=b"\x00\xffsound", mimetype="audio/wav"), **COMMON),
    Node(video_resource=media(path="tea.mp4"), text_resource=media(text="tea"), **COMMON),
    Node(
        text_resource=media(text="tea", embeddings={"dense": [0.5], "sparse": [1.0]}),
        image_resource=media(data=b""),
        audio_resource=media(url="https://example.org/tea.mp3"),
        **COMMON,
    ),
    Document(text="tea", image_resource=media(data=PIXEL), **COMMON),
    Node(text_resource=media(text=""), **COMMON),
]


def contents(node):
    """Everything a node has, with the media data that ``model_dump`` leaves out."""
    names = ("text_resource", "image_resource", "audio_resource", "video_resource")
    data = {name: getattr(getattr(node, name, None), "data", None) for name in names}
    return type(node), node.model_dump(exclude={"embedding"}), data, node.hash


@pytest.mark.parametrize("node", NODES)
@pytest.mark.filterwarnings("ignore:.*no words")
def test_media_come_back_whole(tmp_path, node):
    store = TwofoldVectorStore(path=tmp_path / "i")
    store.add([node])
    store.index.close()
    store = TwofoldVectorStore(path=tmp_path / "i")
    (found,) = store.get_nodes(["a"])
    assert contents(found) == contents(node)
    if isinstance(node, ImageDocument | ImageNode) and node.image:
        assert found.resolve_image().read() == PIXEL
    store.add([found.model_copy(update={"embedding": [1.0, 0.0]})])
    assert [contents(again) for again in store.get_nodes()] == [contents(node)]


def test_an_index_node_brings_its_picture():
    picture = Node(
        id_="p", text_resource=MediaResource(text="tea"), image_resource=media(data=PIXEL)
    )
    linked = IndexNode(id_="a", text="green tea", index_id="p", obj=picture)
    retriever = TwofoldRetriever.from_nodes([linked], encoder="hashing")
    (found,) = TwofoldRetriever(retriever.index).retrieve("tea")
    assert contents(found.node) == contents(picture)


class Captioned(ImageDocument):
    """A user's own kind of picture."""

    @classmethod
    def class_name(cls):
        return "Captioned"


class Words(TextNode):
    """A user's own kind of text."""

    @classmethod
    def class_name(cls):
        return "Words"


@pytest.mark.parametrize(
    ("node", "kind"),
    [
        (Captioned(text="tea", image_resource=media(data=PIXEL), **COMMON), ImageDocument),
        (Words(text="tea", **COMMON), TextNode),
    ],
)
def test_a_subclass_comes_back_as_the_type_that_is_known(node, kind):
    store = TwofoldVectorStore()
    store.add([node])
    (found,) = store.get_nodes()
    assert type(found) is kind
    assert found.get_content() == "tea"
    assert contents(found)[2] == contents(node)[2]
