"""Distills a bi-encoder into a static model: one vector per token, no transformer."""

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twofold.encoders.batching import copy_fast_tokenizer
from twofold.encoders.model_loading import LoadedModel, check_output_folder, write_folder
from twofold.encoders.model_spec import AS_SAVED, ModelOptions
from twofold.encoders.sentence_transformer import SentenceTransformerEncoder
from twofold.errors import InputError
from twofold.extras import check_extra
from twofold.validation import as_path, check_integer

_SIF = 1e-4
"""Arora's a: a token with this frequency gets half the weight of a rare one."""
_UNUSED = re.compile(r"\[unused\d+\]|<unused\d+>")
_BATCH = 512  # tokens encoded at once, each as a text
_WORD = "a"  # any token, to find the special tokens around a text


def distill(
    model: str | Path, folder: str | Path, *, dim: int = 256, options: ModelOptions = AS_SAVED
) -> SentenceTransformerEncoder:
    """Distill a model into a static one, which encodes hundreds of times as fast; return it.

    The recipe is Model2Vec (Tulkens & van Dongen 2024, "Model2Vec: Fast State-of-the-Art Static
    Embeddings"). The passage tower encodes every token of the vocabulary. The vectors are reduced
    to principal components and weighted by a / (a + p), the smooth inverse frequency of Arora,
    Liang & Ma (ICLR 2017). The token's probability p is estimated by Zipf's law, with its position
    in the vocabulary as rank. A text's vector is the normalized mean of its tokens' vectors. No
    training texts are needed. The files have sentence-transformers' format.

    Args:
        model: The name or folder of the model to distill.
        folder: The folder to write: new, empty, or an earlier distilled model.
        dim: The number of dimensions, at most the model's.
        options: Options for loading the model to distill.

    Raises:
        InputError: The folder has other files, ``dim`` is out of range, or the model has no fast
            tokenizer.
    """
    check_extra("models", "distillation", "sentence_transformers", "torch")
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Normalize
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    target = as_path("folder", folder)
    check_output_folder(target, _is_static_folder)
    check_integer("dim", dim)
    ready = SentenceTransformerEncoder(model, options=options).loaded
    if dim > ready.dim:
        raise InputError(f"dim must be <= {ready.dim}, the dimensions of {str(model)!r}, got {dim}")
    original = ready.tokenizer("document")
    tokenizer = copy_fast_tokenizer(original)
    if tokenizer is None or not hasattr(original, "backend_tokenizer"):
        raise InputError(f"{str(model)!r} can't be distilled: its tokenizer is not a fast one")
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    special = set(original.all_special_ids) - {original.unk_token_id}
    used = {number for token, number in vocabulary.items() if not _UNUSED.fullmatch(token)}
    ids = np.array(sorted(used - special), np.int64)
    table = np.zeros((max(vocabulary.values()) + 1, dim), np.float32)
    vectors = _reduce_dimensions(_encode_tokens(ready, tokenizer, ids), dim)
    table[ids] = _weight_by_frequency(vectors)
    layers: list[Any] = [StaticEmbedding(tokenizer, embedding_weights=table), Normalize()]
    static = SentenceTransformer(modules=layers, device="cpu", similarity_fn_name="cosine")
    with write_folder(target) as work:
        static.save_pretrained(str(work), create_model_card=False)
    return SentenceTransformerEncoder(str(folder))


def _encode_tokens(
    ready: LoadedModel, tokenizer: Any, token_ids: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Encode each token as a text of its own, with special tokens; return float64 (n, dim)."""
    import torch

    bare = tokenizer.encode(_WORD, add_special_tokens=False).ids
    whole = tokenizer.encode(_WORD).ids
    start = next(at for at in range(len(whole)) if whole[at : at + len(bare)] == bare)
    before, after = whole[:start], whole[start + len(bare) :]
    blocks = []
    ready.model.eval()
    with torch.inference_mode():
        for start in range(0, len(token_ids), _BATCH):
            batch = token_ids[start : start + _BATCH]
            rows = np.array([[*before, number, *after] for number in batch.tolist()])
            features: Any = {"input_ids": torch.tensor(rows, device=ready.model.device)}
            features["attention_mask"] = torch.ones_like(features["input_ids"])
            for layer in ready.modules("document"):
                features = layer(features)
            vectors = features["sentence_embedding"][:, : ready.dim]
            blocks.append(vectors.double().cpu().numpy())
    return np.concatenate(blocks)


def _reduce_dimensions(vectors: NDArray[np.float64], dim: int) -> NDArray[np.float64]:
    """Center the vectors, and project them to their first ``dim`` principal axes (n, dim)."""
    centered = vectors - vectors.mean(axis=0)
    _, axes = np.linalg.eigh(centered.T @ centered)
    axes = axes[:, ::-1][:, :dim]
    # The sign of an axis is arbitrary: make its largest entry positive, for repeatable files.
    signs = np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(dim)])
    return np.asarray(centered @ (axes * signs))


def _weight_by_frequency(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weight token vectors (n, dim), most frequent token first, by smooth inverse frequency."""
    shares = 1 / np.arange(1, len(vectors) + 1)
    shares /= shares.sum()
    return np.asarray(vectors * (_SIF / (_SIF + shares))[:, None])


def _is_static_folder(folder: Path) -> bool:
    modules = folder / "modules.json"
    return modules.exists() and "StaticEmbedding" in modules.read_text(encoding="utf-8")
