"""Each name of the root API has a short example in its docstring, which runs offline."""

import doctest

import pytest

import twofold

NEEDS_A_MODEL = {"OnnxEncoder"}  # an export takes half a minute, and the extra minilm
NAMES = [name for name in twofold.__all__ if callable(getattr(twofold, name))]


def run_examples(name, docstring):
    """Run the examples of a docstring; return them with what doctest printed about failures."""
    assert "Example:\n" in (docstring or ""), f"{name} has no section 'Example:'"
    test = doctest.DocTestParser().get_doctest(docstring, {}, name, None, None)
    printed = []
    doctest.DocTestRunner(verbose=False).run(test, out=printed.append)
    assert not printed, "".join(printed)
    return test.examples


@pytest.mark.parametrize("name", NAMES)
def test_the_example_of_a_public_name_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    docstring = getattr(twofold, name).__doc__
    examples = run_examples(name, docstring)
    run = [example for example in examples if doctest.SKIP not in example.options]
    calls = [example for example in run if not example.source.startswith("from ")]
    assert bool(calls) != (name in NEEDS_A_MODEL)
    assert len(docstring.partition("Example:\n")[2].strip().splitlines()) <= 6


def test_the_example_of_the_package_runs():
    assert run_examples("twofold", twofold.__doc__)


def test_a_wrong_example_is_noticed():
    with pytest.raises(AssertionError, match="Expected"):
        run_examples("wrong", "Example:\n    >>> 1 + 1\n    3\n")
    with pytest.raises(AssertionError, match="no section"):
        run_examples("none", "A class.")
