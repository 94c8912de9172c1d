"""Passages, vectors and postings in PostgreSQL with pgvector (extra ``postgres``).

Postings are an ordinary table, which backups and standbys contain like any other. BM25 is computed
in SQL by the formula of the local index, in its fixed-point numbers, so that scores are equal.
"""

from twofold.backends.postgres.backend import PostgresBackend

__all__ = ["PostgresBackend"]
