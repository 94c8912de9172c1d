"""Each example runs, is short, and says what it should."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
SCRIPTS = {
    "quickstart.py": ["1st by meaning", "since 2020: ['2']"],
    "langchain_rag.py": ["glucose. [leaf]"],
    "langchain_conversation.py": ["[bees-dance]", "keep it warm. [bees-winter]"],
    "langchain_agent.py": ["'filter': {'year': {'$gte': 2020}}", "[battery-2023]"],
    "langchain_folder.py": [
        "{'num_added': 3, 'num_updated': 0, 'num_skipped': 0, 'num_deleted': 0}",
        "{'num_added': 1, 'num_updated': 0, 'num_skipped': 1, 'num_deleted': 2}",
        "Soup is salted at the start.",
    ],
    "langchain_ensemble.py": [
        "ensemble: ['bee', 'hive', 'root', 'press']\nmoved: ['bee', 'hive', 'root']",
        "1st by meaning",
        "over 'like the ensemble'",
    ],
    "llama_index_rag.py": ["glucose. [leaf]"],
    "llama_index_chat.py": ["rinse twice. [kettle-clean]", "five years. [toaster-warranty]"],
    "llama_index_folder.py": [
        "3 parts were new or changed\n1 parts were new or changed",
        "Soup is salted at the start.\n['bread.txt', 'soup.txt']",
    ],
    "llama_index_auto_merging.py": ["section: A honey bee that has found flowers"],
    "dspy_retriever.py": ["glucose", "2 demonstrations", "found: 100.0"],
    "haystack_retriever.py": [
        "[kettle] Descale the kettle with vinegar.\n[new-kettle]",
        "kettle?\n[new-kettle] The new kettle descales itself.",
    ],
}
NEEDS = {"dspy_retriever.py": "dspy", "haystack_retriever.py": "haystack"}

WITH_A_MODEL = {
    "langchain_rag.py": ["tiny read: Answer from these passages", "[leaf] Plants make"],
    "langchain_conversation.py": [
        "[bees-dance] A honey bee",
        "where flowers are? | tiny read: Answer",  # the second question came with what was said
    ],
    "langchain_agent.py": [
        "'k': 9, 'filter': '{\"year\": {\"$gt\": 2021}}'",
        "tool: [1] (battery-2023) A condensed",
        "ai: tiny read: How much do",
    ],
}


def printed(name, *arguments, **environment):
    """Return what an example prints."""
    own = {k: v for k, v in os.environ.items() if k != "TWOFOLD_CHAT_MODEL"}
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *map(str, arguments)],
        capture_output=True,
        text=True,
        env=own | {"HF_HUB_OFFLINE": "1"} | environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", SCRIPTS)
def test_example(name):
    if name in NEEDS and find_spec(NEEDS[name]) is None:
        pytest.skip(f"{NEEDS[name]} is not installed")
    said = printed(name, HAYSTACK_TELEMETRY_ENABLED="False")
    for words in SCRIPTS[name]:
        assert words in said


@pytest.mark.parametrize("name", WITH_A_MODEL)
def test_example_with_a_chat_model(name):
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    said = printed(name, TWOFOLD_CHAT_MODEL="fake_chat:Reader:tiny", PYTHONPATH=path)
    for words in WITH_A_MODEL[name]:
        assert words in said
    if name == "langchain_agent.py":
        assert "battery-2021" not in said


def test_examples_are_short_and_all_run_here():
    scripts = sorted(EXAMPLES.glob("*.py"))
    others = {"demo.py", "train_reranker.py", "train_on_your_data.py"}
    parts = {
        "chat_models.py",
        "extractive.py",
        "language_models.py",
        "reranker_pairs.py",
        "word_matcher.py",
    }
    assert {path.name for path in scripts} == {*SCRIPTS, *others, *parts}
    for path in scripts:
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= (200 if path.name == "demo.py" else 80)


@pytest.mark.slow
def test_training_on_real_text_says_what_held_out_queries_gain():
    said = printed("train_on_your_data.py", "--encoder", "hashing")
    assert "on 300 (held-out queries)" in said
    assert "(unseen passages)" in said


@pytest.mark.slow
def test_the_trained_reranker_is_measured_and_kept(tmp_path):
    to = tmp_path / "model"
    said = printed("train_reranker.py", "--steps", 2, "--claims", 20, "--to", to)
    assert "hybrid and reranked: nDCG@10" in said
    assert "95% interval" in said
    assert (to / "config.json").exists()
