"""Training examples for a cross-encoder from an unlabeled corpus, and the training loop."""

import random
import re
from collections.abc import Callable
from typing import Any

import torch
from sentence_transformers import CrossEncoder
from torch import nn

from twofold import Passage, Retriever

BATCH = 4
SENTENCES = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
Example = tuple[str, list[str]]
"""A text, and passages without it: the one that it comes from, then negatives."""


def build_examples(passages: list[Passage], retriever: Retriever, count: int = 7) -> list[Example]:
    """Take the title and two sentences of each passage as queries, and mine negatives by search."""
    draw = random.Random(0)  # noqa: S311 - reproducible
    by_id, queries = {each.id: each for each in passages}, []
    for passage in passages:
        sentences = [part for part in SENTENCES.split(passage.text) if 40 < len(part) < 300]
        texts = [passage.title, *draw.sample(sentences, min(2, len(sentences)))]
        queries += [(text, passage.id) for text in texts if text]
    examples: list[Example] = []
    answers = retriever.retrieve_many([text for text, _ in queries])
    for (text, positive), hits in zip(queries, answers, strict=True):
        candidates = [hit for hit in hits.ids if hit != positive]
        chosen = [positive, *draw.sample(candidates, min(count, len(candidates)))]
        # Negatives lose a sentence, too, so that length doesn't give the answer away.
        examples.append((text, [_without(by_id[name].content, text, draw) for name in chosen]))
    draw.shuffle(examples)
    return examples


def _without(content: str, text: str, draw: random.Random) -> str:
    sentences = SENTENCES.split(content)
    removed = text if text in content else draw.choice(sentences)
    return content.replace(removed, " ")


def train(
    model: CrossEncoder, examples: list[Example], steps: int, log: Callable[[str], object] = str
) -> None:
    """Train the model to find each text's passage among the negatives, BATCH texts per step.

    ``log`` is called with a line every ten steps.
    """
    network: Any = model.transformers_model
    head = list(network.classifier.parameters())
    pretrained = [weight for weight in network.bert.parameters() if weight.requires_grad]
    rates = [1e-4, 1e-2]  # for pretrained and for new weights
    groups = [{"params": pretrained}, {"params": head}]
    optimizer = torch.optim.AdamW(groups, lr=rates[0])
    # Torch divides by 0.11 * steps - 1, which is never 0.
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rates, total_steps=steps, pct_start=0.11
    )
    model.train()
    for step in range(steps):
        batch = [examples[(BATCH * step + at) % len(examples)] for at in range(BATCH)]
        pairs = [(text, passage) for text, passages in batch for passage in passages]
        scores = model(model.preprocess(pairs))["scores"].flatten()
        parts = scores.split([len(passages) for _, passages in batch])
        target = torch.zeros((), dtype=torch.long)  # the first passage
        loss = torch.stack([nn.functional.cross_entropy(part, target) for part in parts]).mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_([*pretrained, *head], 1.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % 10 == 0:
            log(f"step {step + 1}: loss {loss.item():.3f}")
    model.eval()
