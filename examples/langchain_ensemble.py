"""Move an EnsembleRetriever over: the same answers first, then why, and then better ones, measured.

The same but for passages that share no word with the question: BM25Retriever fills its list up with
them, and twofold doesn't. What is moved needs langchain-classic and langchain-community.
"""

import warnings

from langchain_core.documents import Document

from langchain_twofold import TwofoldEmbeddings, TwofoldRetriever, from_ensemble
from twofold import HashingEncoder
from twofold.evaluation import compare, evaluate

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the package that both live in is being sunset
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
    """Return what an application has before it moves."""
    documents = [Document(id=own, page_content=text) for own, text in TEXTS.items()]
    words = BM25Retriever.from_documents(documents, k=3)
    vectors = FAISS.from_documents(documents, TwofoldEmbeddings(HashingEncoder()))
    near = vectors.as_retriever(search_kwargs={"k": 3})
    return EnsembleRetriever(retrievers=[words, near], weights=[0.5, 0.5])


def main() -> None:
    before = ensemble()
    same = from_ensemble(before)
    for question in QUESTIONS.values():
        for name, retriever in (("ensemble", before), ("moved", same)):
            print(f"{name}: {[each.id for each in retriever.invoke(question)]}")
    better = TwofoldRetriever(index=same.index)
    print(better.retriever.retrieve(QUESTIONS["q2"], k=2).explain())
    found = compare(
        [
            evaluate(better.retriever, QUESTIONS, QRELS, ["nDCG@3"], name="twofold's default"),
            evaluate(same.retriever, QUESTIONS, QRELS, ["nDCG@3"], name="like the ensemble"),
        ],
        "nDCG@3",
    )
    print(found)


if __name__ == "__main__":
    main()
