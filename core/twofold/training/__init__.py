"""Training on one's own data that never makes retrieval worse."""

from twofold.training.example import Example
from twofold.training.training_set import TrainingSet

__all__ = ["Example", "TrainingSet"]
