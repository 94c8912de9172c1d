"""Train a query adapter on judged queries, and keep it only if held-out queries gain.

    python examples/train_on_your_data.py [FOLDER] [--encoder hashing] [--queries N]

FOLDER is in BEIR's layout, with qrels/train.tsv or qrels/test.tsv. Default: the bundled 1,000
abstracts, which all-MiniLM-L6-v2 encodes in a minute or two.
"""

import argparse
from pathlib import Path

from twofold import Index
from twofold.corpus import Corpus, read_qrels, read_queries
from twofold.training import TrainingSet, keep, train_adapter

DATA = Path(__file__).parent / "data" / "scifact-1000"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path, nargs="?", default=DATA)
    parser.add_argument("--encoder", default="all-MiniLM-L6-v2")
    parser.add_argument("--queries", type=int, help="training queries, all by default")
    options = parser.parse_args()
    qrels = options.folder / "qrels"
    train = qrels / "train.tsv"
    judged = read_qrels(train if train.exists() else qrels / "test.tsv")
    queries = read_queries(next(iter(sorted(options.folder.glob("queries.jsonl*")))))
    asked = {each: queries[each] for each in list(judged)[: options.queries]}
    with Index.open(None, encoder=options.encoder) as index:
        index.upsert(Corpus.from_path(options.folder))
        trained = train_adapter(index, TrainingSet.from_qrels(asked, {q: judged[q] for q in asked}))
        print(trained)
        if trained.accepted:
            print(f"in use as {keep(index, trained)!r}; to go back: index.profiles.use(None)")


if __name__ == "__main__":
    main()
