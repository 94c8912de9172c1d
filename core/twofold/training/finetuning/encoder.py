"""Fine-tunes an index's encoder by contrastive learning with mined negatives."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from twofold.encoders import SentenceTransformerEncoder
from twofold.encoders.model_loading import quiet_loading
from twofold.errors import InputError
from twofold.index import Index
from twofold.training.acceptance import QueryMeasures
from twofold.training.data.examples import TrainingSet
from twofold.training.finetuning.dev_evaluation import DataSplit, DevEvaluator
from twofold.training.finetuning.loop import (
    EpochProgress,
    FineTunedModel,
    FineTuningRun,
    FineTuningTask,
    RunState,
    check_dependencies,
    fine_tune,
)
from twofold.training.finetuning.models import (
    Similarity,
    TrainingEncoder,
    build_towers,
    check_encoder,
    find_towers,
    is_router,
    limit_tokens,
)
from twofold.training.finetuning.pair_dataset import ANCHOR, PairDataset
from twofold.training.finetuning.plans import EncoderPlan
from twofold.training.negatives import MinedNegatives, Mining, mine
from twofold.types import Scores
from twofold.validation import as_path

_MIN_PROBABILITY, _MAX_PROBABILITY = 1e-6, 1 - 1e-6
"""Range of a teacher's probabilities, whose logits then lie within -13.8 and 13.8."""


class EncoderTask(FineTuningTask):
    """Fine-tuning of a copy of an index's encoder."""

    def __init__(
        self,
        index: Index,
        encoder: SentenceTransformerEncoder,
        train: TrainingSet,
        evaluator: DevEvaluator,
        plan: EncoderPlan,
    ) -> None:
        model = build_towers(copy.deepcopy(encoder.model), plan)
        super().__init__(model, len(evaluator.passages))
        self._index = index
        self._encoder = encoder
        self._train = train
        self._evaluator = evaluator
        self._plan = plan
        self._weight = 1.0
        self._towers = find_towers(self.model)
        # The base's weights are copied, to the CPU, only if they are needed.
        interpolates = plan.interpolations != (1.0,)
        weights = self.model.state_dict() if interpolates else {}
        self._base = {name: tensor.detach().cpu().clone() for name, tensor in weights.items()}
        with index.open_search() as scope:
            queries = [example.query for example in train]
            self._similarity = Similarity.from_scope(scope, encoder, queries)
        texts = {passage.id: passage.content for passage in index if passage.content}
        self._pairs = PairDataset(train, texts, plan.negatives, plan.seed)
        positives = max(len(example.positives) for example in train)
        if len(texts) < self._pairs.count + positives:
            raise InputError(
                f"the index must have at least {self._pairs.count + positives:,} passages with "
                f"text for {self._pairs.count} negatives and {positives} relevant passages, "
                f"got {len(texts):,}"
            )

    def evaluate(self, *, base: bool = False) -> QueryMeasures:
        """Return the measures of held-out and control queries by the current model or the base."""
        limit_tokens(self._towers, None)
        model = self._encoder.model if base else self.model
        return self._evaluator.evaluate(TrainingEncoder(model, self._encoder))

    def save(self, folder: Path) -> None:
        """Write the model to a new folder."""
        limit_tokens(self._towers, None)
        with quiet_loading():
            self.model.save_pretrained(str(folder), create_model_card=False)

    def choose_model(self, run: FineTuningRun) -> tuple[QueryMeasures, Path]:
        """Return measures and folder of the interpolation that is best on validation queries."""
        state = run.state
        best = super().choose_model(run)
        if state.best == 0 or self._plan.interpolations == (1.0,):
            return best
        candidates: dict[float, QueryMeasures] = {}
        for weight in self._plan.interpolations:
            if weight != 1.0:
                self._interpolate(state.model, weight)
            candidates[weight] = self.evaluate() if weight != 1.0 else best[0]
        chosen = max(candidates, key=lambda weight: run.validation_mean(candidates[weight]))
        if chosen == 1.0:
            return best
        self._weight = chosen
        self._interpolate(state.model, chosen)
        self.save(state.interpolated)
        return candidates[chosen], state.interpolated

    def metadata(self) -> dict[str, Any]:
        """Return the hyperparameters of encoder training."""
        plan = self._plan
        return {
            **{name: getattr(plan, name) for name in ("temperature", "towers", "dims", "remine")},
            "interpolation": self._weight,
            "negatives": dict(plan.mining.counts) if plan.mining is not None else {},
            "teacher": repr(plan.teacher) if plan.teacher is not None else None,
        }

    def _interpolate(self, folder: Path, weight: float) -> None:
        """Set the model's weights between the base's (``weight`` 0) and a saved model's (1)."""
        weights = self.read_weights(folder)
        for name, tensor in weights.items():
            if tensor.is_floating_point():
                base = self._base[name].to(tensor.device)
                weights[name] = base + weight * (tensor - base)
        self.model.load_state_dict(weights)

    def begin_epoch(self, number: int, state: RunState) -> None:
        """Mine the epoch's negatives, and let the teacher score them."""
        plan = self._plan
        limit_tokens(self._towers, None)
        mined: MinedNegatives = {}
        if plan.mining is not None:
            mined = self._mine(number, plan.mining)
            state.record_negatives(number, mined)
        self._pairs.set_negatives(mined, number)
        if plan.teacher is not None:
            queries, texts = zip(*self._pairs.texts_to_score(), strict=True)
            logits = _logits(plan.teacher.rerank(list(queries), list(texts)))
            self._pairs.set_teacher_scores([values.tolist() for values in logits])
        limit_tokens(self._towers, plan.max_length)

    def build_trainer(self, arguments: dict[str, Any]) -> Any:
        """Return a trainer with the contrastive loss, also at the vector lengths in ``dims``."""
        from sentence_transformers import SentenceTransformerTrainingArguments
        from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss

        from twofold.training.finetuning.hf_trainers import ContrastiveLoss, EncoderTrainer

        plan, size = self._plan, self._plan.mini_batch_size
        size = size if size is not None and size < plan.batch else None
        loss: Any = ContrastiveLoss(
            self.model, self._similarity, plan.temperature, self._pairs, size
        )
        if plan.dims:
            lengths = sorted({*plan.dims, self._similarity.dim}, reverse=True)
            loss = MatryoshkaLoss(self.model, loss, matryoshka_dims=lengths)
        prompts = {task: self._encoder.loaded.prompt(task) for task in ("query", "document")}
        passages = [name for name in self._pairs.columns if name != ANCHOR]
        by_column = {ANCHOR: prompts["query"], **dict.fromkeys(passages, prompts["document"])}
        routes = {ANCHOR: "query", **dict.fromkeys(passages, "document")}
        return EncoderTrainer(
            model=self.model,
            args=SentenceTransformerTrainingArguments(
                **arguments,
                remove_unused_columns=False,
                dataloader_num_workers=0,  # other processes would not see new negatives
                prompts=by_column if any(prompts.values()) else None,
                router_mapping=routes if is_router(self.model) else {},
            ),
            train_dataset=self._pairs.build_dataset(),
            loss=loss,
        )

    def _mine(self, number: int, mining: Mining) -> MinedNegatives:
        mining = replace(mining, seed=mining.seed + number - 1)  # other random ones each time
        if number == 1:
            mining = replace(mining, counts={"random": self._plan.negatives})
        if number == 1 or not self._plan.remine:
            return mine(self._index, self._train, mining)
        with self._evaluator.open_index(TrainingEncoder(self.model, self._encoder)) as index:
            index.upsert(list(self._index))
            return mine(index, self._train, mining)


def _logits(scores: list[Scores]) -> list[Scores]:
    """Return a teacher's scores, turned from probabilities into logits if all are in [0, 1]."""
    if all(values.size == 0 or (values.min() >= 0 and values.max() <= 1) for values in scores):
        clipped = [np.clip(values, _MIN_PROBABILITY, _MAX_PROBABILITY) for values in scores]
        return [np.log(values / (1 - values)) for values in clipped]
    return scores


def train_encoder(
    index: Index,
    training_set: TrainingSet,
    to: str | Path,
    *,
    plan: EncoderPlan | None = None,
    extra: TrainingSet | None = None,
    progress: EpochProgress | None = None,
) -> FineTunedModel:
    """Fine-tune a copy of the index's encoder and save it in a new folder; the index is unchanged.

    The loss is InfoNCE over the passages of a batch and mined negatives (Karpukhin et al., Dense
    Passage Retrieval, EMNLP 2020). ``plan.remine`` mines again before each epoch (Xiong et al.,
    ANCE, ICLR 2021). The model is accepted if test queries gain significantly, and neither test
    queries for unseen passages nor control queries lose. The same call resumes a killed run.

    Args:
        index: Index with a sentence-transformers model as its encoder.
        training_set: Judged queries; a share of them is held out.
        to: Folder of the model; ``index.reencode(str(to))`` puts it to use.
        plan: The hyperparameters.
        extra: More examples, such as synthetic ones, to train on.
        progress: Called with each epoch.

    Raises:
        MissingExtraError: The extra ``train`` isn't installed.
        InputError: The encoder can't be fine-tuned, the folder isn't new, or no example is usable.
        QueryError: The index is empty or has no vectors.
    """
    check_dependencies()
    plan = plan if plan is not None else EncoderPlan()
    encoder = check_encoder(index, plan)

    def build_task(plan: EncoderPlan, split: DataSplit, judged: TrainingSet) -> EncoderTask:
        if plan.teacher is not None:  # fail early if its model can't be loaded
            plan.teacher.rerank([judged[0].query], [[judged[0].query]])
        evaluator = DevEvaluator.from_index(
            index, split.held_out, judged, split.train, plan.checked_passages, plan.measure
        )
        return EncoderTask(index, encoder, split.train, evaluator, plan)

    fingerprint = encoder.identity.fingerprint
    return fine_tune(
        index, training_set, as_path("to", to), plan, build_task, fingerprint, progress, extra
    )
