"""Lessons for a cross-encoder out of a corpus without labels: whose text is this?"""

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
Lesson = tuple[str, list[str]]
"""A text, and passages without it: first the one that it was taken from, then others."""


def lessons(passages: list[Passage], retriever: Retriever, others: int = 7) -> list[Lesson]:
    """Take title and two sentences out of each passage; the others are what is found by them."""
    draw = random.Random(0)  # noqa: S311 - the same lessons every time
    by_id, taken = {each.id: each for each in passages}, []
    for each in passages:
        sentences = [one for one in SENTENCES.split(each.text) if 40 < len(one) < 300]
        texts = [each.title, *draw.sample(sentences, min(2, len(sentences)))]
        taken += [(text, each.id) for text in texts if text]
    found: list[Lesson] = []
    answers = retriever.retrieve_many([text for text, _ in taken])
    for (text, own), hits in zip(taken, answers, strict=True):
        near = [hit for hit in hits.ids if hit != own]
        chosen = [own, *draw.sample(near, min(others, len(near)))]
        # Without the text in the right passage, nor so much in the others: length tells nothing.
        found.append((text, [_without(by_id[name].content, text, draw) for name in chosen]))
    draw.shuffle(found)
    return found


def _without(content: str, text: str, draw: random.Random) -> str:
    sentences = SENTENCES.split(content)
    gone = text if text in content else draw.choice(sentences)
    return content.replace(gone, " ")


def trained(
    model: CrossEncoder,
    learned: list[Lesson],
    steps: int,
    told: Callable[[str], object] = str,
) -> None:
    """Fit the model to find each text's passage among the others, BATCH texts a step.

    ``told`` takes a line for every tenth step.
    """
    network: Any = model.transformers_model
    head = list(network.classifier.parameters())
    body = [each for each in network.bert.parameters() if each.requires_grad]
    rates = [1e-4, 1e-2]  # what it starts with is bent, what it lacks is made
    groups = [{"params": body}, {"params": head}]
    optimizer = torch.optim.AdamW(groups, lr=rates[0])
    # Torch divides by 0.11 * steps - 1, which is never 0.
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rates, total_steps=steps, pct_start=0.11
    )
    model.train()
    for step in range(steps):
        batch = [learned[(BATCH * step + at) % len(learned)] for at in range(BATCH)]
        pairs = [(text, passage) for text, passages in batch for passage in passages]
        scores = model(model.preprocess(pairs))["scores"].flatten()
        parts = scores.split([len(passages) for _, passages in batch])
        right = torch.zeros((), dtype=torch.long)  # the first is
        loss = torch.stack([nn.functional.cross_entropy(part, right) for part in parts]).mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_([*body, *head], 1.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % 10 == 0:
            told(f"step {step + 1}: loss {loss.item():.3f}")
    model.eval()
