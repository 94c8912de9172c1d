"""Use a twofold index in a DSPy program: search, answer, evaluate and optimize.

DSPY_MODEL names a language model, such as "openai/gpt-4o-mini". Without it, a stand-in quotes a
passage that was found. Needs ``pip install dspy`` besides twofold.
"""

import os

import dspy
from dspy.utils import DummyLM

from twofold import Index, Retriever

PASSAGES = {
    "leaf": "Leaves make glucose from sunlight, water and carbon dioxide.",
    "root": "Roots take up water and minerals from the soil.",
    "bee": "A honey bee dances to tell the others where flowers are.",
    "hive": "In winter the bees keep the hive warm by moving their wings.",
    "press": "Gutenberg's printing press made books cheap in the 15th century.",
}
QUESTIONS = {"What do leaves make?": "leaf", "How does a bee tell where flowers are?": "bee"}


class Answer(dspy.Module):  # type: ignore[misc]  # dspy is untyped where it isn't installed
    """Answers a question from the passages that a retriever finds."""

    def __init__(self, retriever: Retriever) -> None:
        super().__init__()
        self.retriever = retriever
        self.respond = dspy.Predict("context: list[str], question -> answer")

    def forward(self, question: str) -> dspy.Prediction:
        """Return the answer, and the ids of the passages that it was made from."""
        hits = self.retriever.retrieve(question)
        context = [passage.text for passage in hits.passages]
        answer = self.respond(context=context, question=question).answer
        return dspy.Prediction(answer=answer, ids=hits.ids)


def language_model() -> dspy.LM:
    """Return the model that DSPY_MODEL names, or one that repeats the first passage it knows."""
    if name := os.environ.get("DSPY_MODEL"):
        return dspy.LM(name)
    return DummyLM({text: {"answer": text} for text in PASSAGES.values()})


def finds_source(example: dspy.Example, prediction: dspy.Prediction, trace: object = None) -> bool:  # noqa: ARG001  # DSPy passes it
    """Return whether the passage with the answer was found."""
    return example.source in prediction.ids


def main() -> None:
    dspy.configure(lm=language_model())
    examples = [
        dspy.Example(question=question, source=source).with_inputs("question")
        for question, source in QUESTIONS.items()
    ]
    with Index.open(None, encoder="hashing") as index:
        index.upsert([{"id": key, "text": text} for key, text in PASSAGES.items()])
        program = Answer(Retriever(index, k=1))
        print(program(question="What do leaves make?").answer)
        optimizer = dspy.BootstrapFewShot(metric=finds_source, max_labeled_demos=0)
        optimized = optimizer.compile(program, trainset=examples)
        print(len(optimized.respond.demos), "demonstrations")
        score = dspy.Evaluate(devset=examples, metric=finds_source, display_progress=False)
        print("found:", score(optimized).score)


if __name__ == "__main__":
    main()
