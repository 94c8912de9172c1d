"""What tells one reranker from another."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RerankerIdentity:
    """A reranker's name, and a hash of all that decides a pair's score."""

    name: str
    fingerprint: str
