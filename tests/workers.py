"""What worker processes run in tests, in a module that they can import."""

from twofold.errors import ReadOnlyError


def search_in_worker(retriever, query):
    """Search in another process; return the best id, and what a write raises."""
    try:
        retriever.index.upsert(["from a worker"])
    except ReadOnlyError as error:
        return retriever.retrieve(query).ids[0], str(error)
    raise AssertionError("a worker wrote")
