"""Passages, vectors and postings in PostgreSQL with pgvector (extra ``postgres``).

Postings are an ordinary table, which backups and standbys contain like any other. BM25 is computed
in SQL by the formula of the local index, in its fixed-point numbers, so that scores are equal.
"""

from twofold.extras import check_extra

check_extra("postgres", "PostgresBackend", "psycopg")

from twofold.backends.postgres.backend import PostgresBackend  # noqa: E402  # it imports psycopg

__all__ = ["PostgresBackend"]
