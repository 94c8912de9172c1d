"""A small cross-encoder that starts by comparing the words of both texts, on MiniLM's vectors.

Randomly initialized attention needs millions of pairs to learn that a word in one text matches a
word in the other. This model starts with matching attention: queries and keys have equal weights,
so like words attend to each other (Trockman and Kolter, Mimetic Initialization of Self-Attention
Layers, ICML 2023). It has to learn only how much a match counts; before, all scores are equal.
"""

from typing import Any

import torch
from sentence_transformers import CrossEncoder
from torch import nn

from twofold.encoders.model_spec import DEFAULT_ENCODER, resolve_model_source

SHARPNESS = 2.5
"""Scale of the first attention: identical words score about 10, unrelated ones about 0."""
MARK = 0.5
"""Length of the offset that marks the words of passages; word vectors have length 1."""
QUERY = 2.8
"""How much the second attention prefers words without the mark: those of the query."""


def word_matcher(max_length: int = 256, seed: int = 0) -> CrossEncoder:
    """Return the untrained model: MiniLM's word vectors and two layers without positions.

    In the first layer, each word attends to like words and receives their mark. In the second, the
    first token attends to the query's words, and sees how many received the passage's mark.
    """
    torch.manual_seed(seed)
    model: CrossEncoder = CrossEncoder(
        resolve_model_source(DEFAULT_ENCODER), num_labels=1, device="cpu"
    )
    network: Any = model.transformers_model
    bert, size = network.bert, network.config.hidden_size
    identity, mark = torch.eye(size), nn.functional.normalize(torch.randn(size), dim=0)
    rotation = torch.linalg.qr(torch.randn(size, size))[
        0
    ]  # so that every head sees a mix of all dimensions
    words = bert.embeddings
    first, second = bert.encoder.layer[:2]
    with torch.no_grad():
        words.position_embeddings.weight.zero_()
        words.token_type_embeddings.weight[1] = words.token_type_embeddings.weight[0] + MARK * mark
        for layer in (first, second):
            attention, after = layer.attention.self, layer.attention.output
            for part in (attention.query, attention.key, attention.value, after.dense):
                part.weight.zero_()
                part.bias.zero_()
            attention.value.weight.copy_(identity)
            after.dense.weight.copy_(identity)
            layer.output.dense.weight.zero_()
            layer.output.dense.bias.zero_()
            for norm in (after.LayerNorm, layer.output.LayerNorm):
                norm.reset_parameters()
        matching = SHARPNESS * rotation @ (identity - torch.outer(mark, mark))  # ignores the mark
        first.attention.self.query.weight.copy_(matching)
        first.attention.self.key.weight.copy_(matching)
        every_head = torch.zeros(size)
        every_head[:: size // network.config.num_attention_heads] = 1
        second.attention.self.query.bias.copy_(every_head)
        second.attention.self.key.weight.copy_(QUERY * torch.outer(every_head, -mark))
        bert.pooler.dense.weight.copy_(identity)
        bert.pooler.dense.bias.zero_()
        network.classifier.weight.zero_()
        network.classifier.bias.zero_()
    bert.encoder.layer = nn.ModuleList([first, second])
    network.config.num_hidden_layers = 2
    words.requires_grad_(requires_grad=False)
    model.max_seq_length = max_length
    return model
