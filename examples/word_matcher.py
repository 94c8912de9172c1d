"""A small cross-encoder that starts by comparing the words of both texts, on MiniLM's vectors.

Attention that starts out random takes millions of pairs to find that a word in one text answers to
a word in the other. This one starts there: as Trockman and Kolter (Mimetic Initialization of
Self-Attention Layers, ICML 2023) have it, with queries and keys alike, so that like words look at
each other. What is left to learn is how much a word that was met counts; until then all scores are
equal.
"""

from typing import Any

import torch
from sentence_transformers import CrossEncoder
from torch import nn

from twofold.encoders.model_spec import DEFAULT_ENCODER, resolve_model_source

SHARPNESS = 2.5
"""Of the first attention: a word and itself score about 10, unrelated words about 0."""
MARK = 0.5
"""How far the words of passages are moved along one direction, where a word's vector is 1 long."""
QUERY = 2.8
"""How much more the second attention looks at what bears no mark."""


def word_matcher(max_length: int = 256, seed: int = 0) -> CrossEncoder:
    """Return the model before training: MiniLM's word vectors below two layers without order.

    In the first, each word takes in the words that are like it, and with them the mark of the text
    they stand in; in the second, the first token looks at the query's words, and at how many of
    them bear the passage's mark now.
    """
    torch.manual_seed(seed)
    model: CrossEncoder = CrossEncoder(resolve_model_source(DEFAULT_ENCODER), num_labels=1, device="cpu")
    network: Any = model.transformers_model
    bert, size = network.bert, network.config.hidden_size
    same, mark = torch.eye(size), nn.functional.normalize(torch.randn(size), dim=0)
    turned = torch.linalg.qr(torch.randn(size, size))[0]  # so that each head sees a bit of all
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
            attention.value.weight.copy_(same)
            after.dense.weight.copy_(same)
            layer.output.dense.weight.zero_()
            layer.output.dense.bias.zero_()
            for norm in (after.LayerNorm, layer.output.LayerNorm):
                norm.reset_parameters()
        compared = SHARPNESS * turned @ (same - torch.outer(mark, mark))  # whatever text it is in
        first.attention.self.query.weight.copy_(compared)
        first.attention.self.key.weight.copy_(compared)
        every_head = torch.zeros(size)
        every_head[:: size // network.config.num_attention_heads] = 1
        second.attention.self.query.bias.copy_(every_head)
        second.attention.self.key.weight.copy_(QUERY * torch.outer(every_head, -mark))
        bert.pooler.dense.weight.copy_(same)
        bert.pooler.dense.bias.zero_()
        network.classifier.weight.zero_()
        network.classifier.bias.zero_()
    bert.encoder.layer = nn.ModuleList([first, second])
    network.config.num_hidden_layers = 2
    words.requires_grad_(requires_grad=False)
    model.max_seq_length = max_length
    return model
