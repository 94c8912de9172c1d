"""The training files of ``train``."""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Literal

from twofold import training
from twofold.corpus import read_qrels, read_queries
from twofold.errors import InputError
from twofold.index import Index
from twofold.retriever import Retriever


class GeneratorName(str, Enum):
    """The query generators."""

    TITLES = "titles"
    FIRST_SENTENCES = "first-sentences"
    HEADINGS = "headings"
    KEYPHRASES = "keyphrases"


_GENERATORS: dict[GeneratorName, training.QueryGenerator] = {
    GeneratorName.TITLES: training.Titles(),
    GeneratorName.FIRST_SENTENCES: training.FirstSentences(),
    GeneratorName.HEADINGS: training.Headings(),
    GeneratorName.KEYPHRASES: training.Keyphrases(),
}


@dataclass(frozen=True, slots=True)
class TrainingFiles:
    """The files and generators that ``train`` was given; InputError if they don't go together."""

    queries: Path | None
    qrels: Path | None
    triples: Path | None
    id_triples: Path | None
    dpr: Path | None
    clicks: Path | None
    propensity: str | None
    generators: tuple[GeneratorName, ...]

    def __post_init__(self) -> None:
        if not self._has_files and not self.generators:
            raise InputError(
                "there is nothing to learn from: give --queries with --qrels, or --triples, "
                "--id-triples, --dpr, --clicks or --generate"
            )
        needs_queries = self.qrels is not None or self.id_triples is not None
        if needs_queries != (self.queries is not None):
            raise InputError("--queries goes with --qrels or --id-triples, whose texts it has")
        if self.propensity is not None and self.clicks is None:
            raise InputError("--propensity goes with --clicks")
        self._click_plan()

    @property
    def _has_files(self) -> bool:
        files = (self.qrels, self.triples, self.id_triples, self.dpr, self.clicks)
        return any(path is not None for path in files)

    def _click_plan(self) -> training.ClickPlan:
        power: float | Literal["estimated"] = "estimated"
        if self.propensity is None:
            return training.ClickPlan()
        if self.propensity != power:
            try:
                power = float(self.propensity)
            except ValueError:
                raise InputError(
                    f"--propensity must be a number >= 0 or 'estimated', got {self.propensity!r}"
                ) from None
        return training.ClickPlan(propensity=power)

    def read(self, index: Index) -> tuple[training.TrainingSet, training.TrainingSet | None]:
        """Return judged examples, and extra ones that are only trained on.

        Generated queries are extra, and must find their passage. Without files, they are the judged
        examples.
        """
        extra = None
        if self.generators:
            generators = [_GENERATORS[name] for name in dict.fromkeys(self.generators)]
            extra = training.filter_round_trip(
                training.generate_examples(index, generators), Retriever(index)
            ).accepted
            if not self._has_files:
                return extra, None
        texts = read_queries(self.queries) if self.queries is not None else {}
        sets: list[training.TrainingSet] = []
        if self.qrels is not None:
            sets.append(training.TrainingSet.from_qrels(texts, read_qrels(self.qrels)))
        if self.triples is not None:
            sets.append(training.read_triples(self.triples))
        if self.id_triples is not None:
            sets.append(training.read_id_triples(self.id_triples, texts))
        if self.dpr is not None:
            sets.append(training.read_dpr(self.dpr))
        if self.clicks is not None:
            sets.append(
                training.examples_from_clicks(training.read_clicks(self.clicks), self._click_plan())
            )
        return sets[0].join(*sets[1:]), extra
