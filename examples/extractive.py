"""Answers without a language model, by quoting the sentences nearest to a question."""

from collections.abc import Sequence

from semantic_text_splitter import TextSplitter

from twofold import Encoder

SENTENCES = 3


def answer(question: str, passages: Sequence[tuple[str, str]], encoder: Encoder) -> str:
    """Quote the nearest sentences of (id, text) passages, each with the passage's id."""
    splitter = TextSplitter((40, 240))
    sentences = [(key, part) for key, text in passages for part in splitter.chunks(text)]
    if not sentences:
        return "Nothing was found."
    vectors = encoder.encode_passages([part for _, part in sentences])
    nearness = vectors @ encoder.encode_queries([question])[0]
    best = sorted(nearness.argsort()[::-1][:SENTENCES])  # in the order of the passages
    return "\n".join(f"{sentences[place][1]} [{sentences[place][0]}]" for place in best)
