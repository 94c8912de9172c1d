"""Index four passages, ask a question, and see why each passage was found."""

from twofold import Index, Retriever

PASSAGES: list[dict[str, object] | str] = [
    {"id": "1", "text": "Plants feed on light: photosynthesis makes food of water and air."},
    {"id": "2", "text": "Chlorophyll makes leaves green.", "metadata": {"year": 2021}},
    {"id": "3", "text": "Grandmother's garden has herbs, flowers and seeds for the birds."},
    "Bread is made of flour, water, salt and yeast.",
]


def main() -> None:
    with Index.open(None, encoder="all-MiniLM-L6-v2") as index:  # pass a path to keep the index
        index.upsert(PASSAGES)
        retriever = Retriever(index, mode="hybrid", k=3)

        hits = retriever.retrieve("how do plants make food?")
        for hit in hits:
            dense, lexical = hit.legs["dense"].score, hit.legs["lexical"].score
            print(f"{hit.rank}. {hit.score:.3f} = dense {dense:.3f}, lexical {lexical:.3f}")
            print(f"   {hit.passage.text}")
        print(hits.explain())

        index.delete(["3"])
        print("without the garden:", retriever.retrieve("how do plants make food?").ids)
        print("since 2020:", retriever.retrieve("leaves", where={"year": {"$gte": 2020}}).ids)


if __name__ == "__main__":
    main()
