"""A bi-encoder distilled into one vector a token: hundreds of times as fast, and poorer."""

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twofold.encoders.model_folder import check_target, written_whole
from twofold.encoders.model_loading import LoadedModel
from twofold.encoders.model_spec import AS_SAVED, ModelOptions
from twofold.encoders.sentence_transformer import SentenceTransformerEncoder
from twofold.errors import InputError

_SIF = 1e-4
"""Arora's a: a token as frequent as this gets half the weight of a rare one."""
_UNUSED = re.compile(r"\[unused\d+\]|<unused\d+>")
_BATCH = 512  # tokens at once, each with its special ones
_WORD = "a"


def distill(
    model: str | Path, folder: str | Path, *, dim: int = 256, options: ModelOptions = AS_SAVED
) -> SentenceTransformerEncoder:
    """Write a static model to ``folder``, in sentence-transformers' form, and return its encoder.

    The recipe of Model2Vec (Tulkens & van Dongen 2024, "Model2Vec: Fast State-of-the-Art Static
    Embeddings"): every token of the vocabulary goes through the model's passage tower by itself,
    the vectors are reduced to ``dim`` by principal components, and weighted by a / (a + p), the
    smooth inverse frequency of Arora, Liang & Ma (ICLR 2017), with p by Zipf's law from the rank
    of a token in the vocabulary, which is in order of frequency. A text is the normalised mean of
    its tokens' vectors. Nothing is downloaded and no texts are needed.

    Raises InputError for a folder that holds something else, for a ``dim`` above the model's, and
    for a model without a fast tokenizer.
    """
    target = Path(folder)
    check_target(target, _is_static_folder)
    if isinstance(dim, bool) or dim < 1:
        raise InputError(f"dim is {dim!r}: a whole number of at least 1 is wanted")
    ready = SentenceTransformerEncoder(model, options=options).loaded
    if dim > ready.dim:
        raise InputError(
            f"dim={dim} of {str(model)!r}, which has {ready.dim} dimensions: give less"
        )
    tokenizer = _tokenizer(ready, str(model))
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    special = _special_ids(ready.tokenizer("document"))
    used = np.array(
        sorted(
            number
            for token, number in vocabulary.items()
            if number not in special and not _UNUSED.fullmatch(token)
        ),
        np.int64,
    )
    table = np.zeros((max(vocabulary.values()) + 1, dim), np.float32)
    table[used] = _weighted(_reduced(_token_vectors(ready, tokenizer, used), dim))
    with written_whole(target) as work:
        _save(work, tokenizer, table)
    return SentenceTransformerEncoder(str(folder))


def _token_vectors(
    ready: LoadedModel, tokenizer: Any, numbers: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return what the model makes of each token as a text of its own, float64 (n, dim)."""
    import torch

    before, after = _frame(tokenizer)
    device = ready.model.device
    found = []
    ready.model.eval()
    with torch.inference_mode():
        for start in range(0, len(numbers), _BATCH):
            part = numbers[start : start + _BATCH]
            ids = np.array([[*before, number, *after] for number in part.tolist()])
            features: Any = {"input_ids": torch.tensor(ids, device=device)}
            features["attention_mask"] = torch.ones_like(features["input_ids"])
            for layer in ready.modules("document"):
                features = layer(features)
            vectors = features["sentence_embedding"][:, : ready.dim]
            found.append(vectors.double().cpu().numpy())
    return np.concatenate(found)


def _frame(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Return the special tokens that the tokenizer puts before and after a text."""
    bare = tokenizer.encode(_WORD, add_special_tokens=False).ids
    whole = tokenizer.encode(_WORD).ids
    start = next(at for at in range(len(whole)) if whole[at : at + len(bare)] == bare)
    return whole[:start], whole[start + len(bare) :]


def _reduced(vectors: NDArray[np.float64], dim: int) -> NDArray[np.float64]:
    """Return the first principal components (n, dim) of centred vectors."""
    centred = vectors - vectors.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, ::-1][:, :dim]
    # An axis has no sign of its own: the greatest entry is made positive, for repeatable files.
    signs = np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(dim)])
    return np.asarray(centred @ (axes * signs))


def _weighted(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the vectors (n, dim), in order of frequency, by smooth inverse frequency."""
    shares = 1 / np.arange(1, len(vectors) + 1)
    shares /= shares.sum()
    return np.asarray(vectors * (_SIF / (_SIF + shares))[:, None])


def _tokenizer(ready: LoadedModel, model: str) -> Any:
    from tokenizers import Tokenizer

    given = ready.tokenizer("document")
    own = getattr(given, "backend_tokenizer", None)
    if not isinstance(own, Tokenizer):
        raise InputError(
            f"{model!r} is no transformer with a fast tokenizer: there is nothing to distil"
        )
    tokenizer = Tokenizer.from_str(own.to_str())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _special_ids(tokenizer: Any) -> set[int]:
    """Return the tokens that no word becomes; the unknown one stands for words."""
    return set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}


def _save(folder: Path, tokenizer: Any, table: NDArray[np.float32]) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Normalize
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    modules: list[Any] = [StaticEmbedding(tokenizer, embedding_weights=table), Normalize()]
    model = SentenceTransformer(modules=modules, device="cpu", similarity_fn_name="cosine")
    model.save_pretrained(str(folder), create_model_card=False)


def _is_static_folder(folder: Path) -> bool:
    """Whether a folder looks like one that was written here."""
    modules = folder / "modules.json"
    return modules.exists() and "StaticEmbedding" in modules.read_text(encoding="utf-8")
