"""Replace an EnsembleRetriever: the same results first, then explained, then compared.

Results are the same but for passages without a word of the question, with which BM25Retriever fills
its list. Needs langchain-classic and langchain-community.
"""

import warnings

from langchain_core.documents import Document

from langchain_twofold import TwofoldEmbeddings, TwofoldRetriever, from_ensemble
from twofold import HashingEncoder
from twofold.evaluation import compare, evaluate

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # langchain-community warns that it is being sunset
    from langchain_classic.retrievers import EnsembleRetriever
    from langchain_community.retrievers import BM25Retriever
    from langchain_community.vectorstores import FAISS

TEXTS = {
    "leaf": "Leaves make glucose from sunlight, water and carbon dioxide.",
    "root": "Roots take up water and minerals from the soil.",
    "bee": "A honey bee dances to tell the others where flowers are.",
    "hive": "In winter the bees keep the hive warm by moving their wings.",
    "press": "Gutenberg's printing press made books cheap in the 15th century.",
    "ink": "Printers mixed their ink from soot, varnish and egg white.",
}
QUESTIONS = {"q1": "what do leaves make of water", "q2": "how do bees tell where flowers are"}
QRELS = {"q1": {"leaf": 1}, "q2": {"bee": 1}}


def ensemble() -> EnsembleRetriever:
    """Return the retriever of an existing application."""
    documents = [Document(id=key, page_content=text) for key, text in TEXTS.items()]
    bm25 = BM25Retriever.from_documents(documents, k=3)
    vectors = FAISS.from_documents(documents, TwofoldEmbeddings(HashingEncoder()))
    dense = vectors.as_retriever(search_kwargs={"k": 3})
    return EnsembleRetriever(retrievers=[bm25, dense], weights=[0.5, 0.5])


def main() -> None:
    before = ensemble()
    moved = from_ensemble(before)
    for question in QUESTIONS.values():
        for name, retriever in (("ensemble", before), ("moved", moved)):
            print(f"{name}: {[each.id for each in retriever.invoke(question)]}")
    better = TwofoldRetriever(index=moved.index)
    print(better.retriever.retrieve(QUESTIONS["q2"], k=2).explain())
    found = compare(
        [
            evaluate(better.retriever, QUESTIONS, QRELS, ["nDCG@3"], name="twofold's default"),
            evaluate(moved.retriever, QUESTIONS, QRELS, ["nDCG@3"], name="like the ensemble"),
        ],
        "nDCG@3",
    )
    print(found)


if __name__ == "__main__":
    main()
