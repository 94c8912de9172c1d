import json
import os
from pathlib import Path

import pytest

from reliability.shim import build, missing_reason


@pytest.fixture(scope="session")
def shim_library(tmp_path_factory):
    """The compiled shim."""
    reason = missing_reason()
    if reason is not None:
        pytest.skip(reason)
    return build(tmp_path_factory.mktemp("shim"))


@pytest.fixture
def record_counts(request):
    """Print a test's counts, and append them to the file that TORTURE_COUNTS names."""

    def record(report):
        line = json.dumps({"test": request.node.name, **report})
        print(line)  # noqa: T201
        path = os.environ.get("TORTURE_COUNTS")
        if path:
            with Path(path).open("a", encoding="utf-8") as file:
                file.write(line + "\n")

    return record
