"""Small random transformers, built on the spot, whose vectors differ for different texts."""

import torch
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.base.modules import Normalize, Router, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from transformers import (
    AutoModel,
    BertConfig,
    BertModel,
    BertTokenizerFast,
    CamembertConfig,
    DistilBertConfig,
    MPNetConfig,
    RobertaConfig,
    XLMRobertaConfig,
)

WORDS = "plants make food from light how do cells divide the a of and query passage : red apple"
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,?!-'中文"
HIDDEN = 32


def transformer_folder(folder, *, seed=0, positions=64, hidden=HIDDEN):
    """Write a plain transformer of one layer and its WordPiece tokenizer; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused1]"]
    pieces = [*dict.fromkeys([*WORDS.split(), *LETTERS, *(f"##{letter}" for letter in LETTERS)])]
    (folder / "vocab.txt").write_text("\n".join([*special, *pieces]) + "\n", encoding="utf-8")
    tokenizer = BertTokenizerFast(vocab=str(folder / "vocab.txt"), model_max_length=positions)
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(special) + len(pieces),
        hidden_size=hidden,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=2 * hidden,
        max_position_embeddings=positions,
        initializer_range=0.5,
    )
    BertModel(config).save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    return folder


CONFIGS = {
    "bert": BertConfig,
    "roberta": RobertaConfig,
    "xlm-roberta": XLMRobertaConfig,
    "camembert": CamembertConfig,
    "mpnet": MPNetConfig,
    "distilbert": DistilBertConfig,
}


def architecture_folder(folder, kind, *, seed=0, positions=300, dtype=torch.float32, **settings):
    """Write a plain transformer of two layers of another architecture; return the folder.

    All weights are random, those of biases and normalizations too.
    """
    transformer_folder(folder, positions=positions)
    config = CONFIGS[kind](
        vocab_size=BertConfig.from_pretrained(str(folder)).vocab_size,
        hidden_size=HIDDEN,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=positions + 2,
        **{"hidden_dim" if kind == "distilbert" else "intermediate_size": 2 * HIDDEN},
        **settings,
    )
    torch.manual_seed(seed)
    model = AutoModel.from_config(config)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.4)
    model.to(dtype).save_pretrained(str(folder))
    return folder


def finished_folder(folder, plain, *, pooling="mean", normalize=True, **settings):
    """Write a sentence-transformers model around a plain transformer; return the folder."""
    module = Transformer(str(plain))
    modules = [module, Pooling(HIDDEN, pooling_mode=pooling)]
    modules += [Normalize()] if normalize else []
    model = SentenceTransformer(modules=modules, device="cpu", **settings)
    model.save_pretrained(str(folder), create_model_card=False)
    return folder


def router_folder(folder, queries, passages):
    """Write a model with a tower for queries and another for passages; return the folder."""
    router = Router.for_query_document(
        query_modules=[Transformer(str(queries)), Pooling(HIDDEN, pooling_mode="cls")],
        document_modules=[Transformer(str(passages)), Pooling(HIDDEN, pooling_mode="mean")],
    )
    model = SentenceTransformer(modules=[router, Normalize()], device="cpu")
    model.save_pretrained(str(folder), create_model_card=False)
    return folder


def cross_encoder_folder(folder, *, seed=0, labels=1, positions=64):
    """Write a random cross-encoder, whose scores differ from pair to pair; return the folder."""
    transformer_folder(folder, seed=seed, positions=positions)
    model = CrossEncoder(str(folder), num_labels=labels, device="cpu")
    torch.manual_seed(seed)
    torch.nn.init.normal_(model.model.classifier.weight, std=1.0)
    model.save_pretrained(str(folder), create_model_card=False)
    return folder
