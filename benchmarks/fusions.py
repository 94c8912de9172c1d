"""nDCG@10 of every fusion by collection, and how far each falls behind the better leg.

    python benchmarks/fusions.py [FOLDER[:ANALYZER] ...] [--queries 800]

FOLDER is in BEIR's layout. Vectors are by all-MiniLM-L6-v2 and cached in ``.eval``. Without
ANALYZER, a folder named by a language code uses that language, and any other folder English. More
than --queries judged queries are sampled. docs/decisions/0010 has the resulting table.
"""

import argparse
from pathlib import Path

from judged import DEFAULT, MEASURE, collection_name, open_collection
from languages import language_from_folder

from twofold import Retriever, WeightedSum
from twofold.evaluation import evaluate_run
from twofold.fusion import FUSIONS, GuardedFusion, WeightedFusion

RULES: dict[str, WeightedFusion] = {
    **{
        f"theoretical min-max, {weight}": WeightedSum(dense_weight=weight)
        for weight in (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9)
    },
    "guarded, 0.75": GuardedFusion(WeightedSum(dense_weight=0.75)),
    "guarded, 0.8 (default)": GuardedFusion(),
    **{
        f"{name}, {weight}": FUSIONS[name].with_dense_weight(weight)
        for name in ("min-max", "z-score", "z-score-candidates", "distribution-based")
        for weight in (0.5, 0.6)
    },
    "l2, 0.5": FUSIONS["l2"].with_dense_weight(0.5),
    "rank, 0.5": FUSIONS["rank"].with_dense_weight(0.5),
    "combmnz, 0.5": FUSIONS["combmnz"],
    "log-odds, 0.8": FUSIONS["log-odds"],
    "RRF, 60": FUSIONS["rrf"],
}


def measure_fusions(
    folder: Path, analyzer: str, max_queries: int
) -> tuple[float | None, dict[str, float]]:
    """Return a collection's leg agreement, and the measure of each leg and fusion."""
    with open_collection(folder, analyzer, max_queries) as collection:
        index, qrels = collection.index, collection.qrels
        query_ids, texts = list(collection.texts), list(collection.texts.values())
        vectors = index.encode_queries(texts)
        systems = {
            "dense": Retriever(index, mode="dense"),
            "lexical": Retriever(index, mode="lexical"),
            **{name: Retriever(index, fusion=rule) for name, rule in RULES.items()},
        }
        values: dict[str, float] = {}
        for name, retriever in systems.items():
            found = retriever.retrieve_many(
                texts, vectors=vectors if retriever.mode != "lexical" else None
            )
            run = {
                query_id: dict(zip(hits.ids, hits.scores.tolist(), strict=True))
                for query_id, hits in zip(query_ids, found, strict=True)
            }
            values[name] = evaluate_run(run, qrels, [MEASURE], name=name).measures[MEASURE]
        return index.agreement, values


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("folders", nargs="*", default=[str(DEFAULT)])
    options.add_argument("--queries", type=int, default=800)
    given = options.parse_args()
    names: list[str] = []
    agreements: list[str] = []
    columns: list[dict[str, float]] = []
    for argument in given.folders:
        name, _, analyzer = argument.partition(":")
        folder = Path(name).resolve()
        agreement, values = measure_fusions(
            folder, analyzer if analyzer else language_from_folder(folder), given.queries
        )
        names.append(collection_name(folder))
        agreements.append("" if agreement is None else f"{agreement:.2f}")
        columns.append(values)
    better = [max(column["dense"], column["lexical"]) for column in columns]
    lines = [["rule", *names, "mean", "worst against the better leg"]]
    lines.append(["---"] * len(lines[0]))
    lines.append(["agreement", *agreements, "", ""])
    for rule in columns[0]:
        row = [column[rule] for column in columns]
        worst = min(value - best for value, best in zip(row, better, strict=True))
        lines.append(
            [
                rule,
                *(f"{value:.3f}" for value in row),
                f"{sum(row) / len(row):.3f}",
                f"{worst:+.3f}",
            ]
        )
    print("\n".join(f"| {' | '.join(cells)} |" for cells in lines))


if __name__ == "__main__":
    main()
