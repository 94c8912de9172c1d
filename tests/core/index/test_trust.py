"""An index names its analyzer, but no code is imported on the word of an index alone."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from tiny_models import finished_folder, transformer_folder
from twofold import Index, Retriever
from twofold.errors import IndexMismatchError, InputError, TwofoldError
from twofold.index.analyzer_binding import AnalyzerSources
from twofold.lexical import analyzer_from_name

PASSAGES = [{"id": "1", "text": "a b|c"}, {"id": "2", "text": "d|e f"}]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of an index whose analyzer lies in a module that leaves a file when imported."""
    source = "from pathlib import Path\nPath(__file__).with_suffix('.ran').touch()\n"
    source += "def cut(text):\n    return text.split('|')\n"
    (tmp_path / "strange_cut.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with Index.open(tmp_path / "i", encoder=None, analyzer="strange_cut:cut") as index:
        index.upsert(PASSAGES)
    (tmp_path / "strange_cut.ran").unlink()
    sys.modules.pop("strange_cut")
    yield tmp_path / "i"
    sys.modules.pop("strange_cut", None)


def find(index, text):
    return Retriever(index, mode="lexical").retrieve(text).ids


def was_imported(folder):
    return (folder.parent / "strange_cut.ran").exists()


def test_without_consent_nothing_is_imported_and_the_rest_works(folder):
    with Index.open(folder) as index:
        assert index.get(["1"])[0].text == "a b|c"
        assert index.count() == 2
        assert index.verify().ok
        for call in (
            lambda: find(index, "a b"),
            lambda: index.upsert(["g|h"]),
            lambda: index.verify(deep=True),
            index.warm,
        ):
            with pytest.raises(IndexMismatchError, match="names the analyzer 'strange_cut:cut'"):
                call()
        assert index.get(where={})[0].text == "a b|c"
    assert not was_imported(folder)


@pytest.mark.parametrize("trust", [{"strange_cut"}, ["strange_cut"], ("other", "strange_cut")])
def test_a_trusted_module_is_imported(folder, trust):
    with Index.open(folder, trust=trust) as index:
        assert find(index, "a b") == ["1"]
        assert index.verify(deep=True).ok
    assert was_imported(folder)


@pytest.mark.parametrize("value", ["strange_cut", "other, strange_cut", "strange_cut,"])
def test_the_environment_trusts_modules(folder, value, monkeypatch):
    monkeypatch.setenv("TWOFOLD_TRUST", value)
    with Index.open(folder) as index:
        assert find(index, "e f") == ["2"]


@pytest.mark.parametrize("value", ["", "strange", "strange_cut.inner", "*", "strange_cut:cut"])
def test_other_values_of_the_environment_trust_nothing(folder, value, monkeypatch):
    monkeypatch.setenv("TWOFOLD_TRUST", value)
    with Index.open(folder) as index, pytest.raises(IndexMismatchError, match="TWOFOLD_TRUST="):
        find(index, "e f")
    assert not was_imported(folder)


def test_the_caller_names_the_analyzer(folder):
    with Index.open(folder, analyzer="strange_cut:cut") as index:
        assert find(index, "a b") == ["1"]
        restored = pickle.loads(pickle.dumps(index))
        assert find(restored, "a b") == ["1"]
        restored.close()


def test_a_language_needs_no_trust(tmp_path):
    with Index.open(tmp_path / "i", encoder=None, analyzer="german") as index:
        index.upsert(PASSAGES)
    with Index.open(tmp_path / "i") as index:
        assert find(index, "d") == ["2"]


@pytest.mark.parametrize("trust", ["my.module", b"x", 3, None, [""], [3], ["a:b"]])
def test_what_is_no_set_of_names_is_refused(tmp_path, trust):
    with pytest.raises(InputError, match="trust must be a set of modules' names"):
        Index.open(tmp_path / "i", encoder=None, trust=trust)
    assert not (tmp_path / "i").exists()


def test_the_command_line_imports_nothing_that_lies_in_the_current_folder(tmp_path):
    """The attack: an unpacked folder has an index and the module that its analyzer names."""
    (tmp_path / "payload.py").write_text(
        "import pathlib\npathlib.Path('owned').touch()\ndef cut(text):\n    return text.split()\n"
    )
    build = "from twofold import Index\nimport payload\n"
    build += "with Index.open('i', encoder=None, analyzer=payload.cut) as index:\n"
    build += "    index.upsert(['a b', 'c d'])\n"

    def run(*command):
        environment = {**os.environ, "PYTHONPATH": str(Path.cwd() / "core")}
        environment.pop("TWOFOLD_TRUST", None)
        return subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    assert run("-c", build).returncode == 0
    (tmp_path / "owned").unlink()
    for verb in (["search", "i", "a"], ["verify", "i", "--deep"], ["verify", "i"]):
        ended = run("-m", "twofold", *verb)
        assert "Traceback" not in ended.stderr
        assert ended.returncode == (0 if verb == ["verify", "i"] else 2)
    assert not (tmp_path / "owned").exists()


def test_a_name_chosen_by_the_caller_is_imported_without_an_index(folder):
    assert analyzer_from_name("strange_cut:cut").passage_terms("x|y") == ["x", "y"]


@pytest.mark.parametrize("name", ["split_words", "english_words", "english_stems"])
def test_the_analyzers_of_moved_retrievers_need_no_trust(tmp_path, name):
    path = f"twofold.lexical.analysis.bm25_retrievers:{name}"
    with Index.open(tmp_path / "i", encoder=None, analyzer=path) as index:
        index.upsert(["green teas", "black coffee"])
    with Index.open(tmp_path / "i") as index:
        assert [p.text for p in Retriever(index, mode="lexical").retrieve("teas").passages] == [
            "green teas"
        ]


@pytest.mark.parametrize("name", ["encoders:encoder_from_name", "cli.app:main", "index:Index"])
def test_other_functions_of_the_library_need_trust(name):
    with pytest.raises(IndexMismatchError, match="would be imported and run"):
        AnalyzerSources([]).check(f"twofold.{name}")


CODE = (
    "from pathlib import Path\nPath(__file__).with_suffix('.ran').touch()\n"
    "class Module:\n    @classmethod\n    def load(cls, *_, **__):\n        raise SystemExit(3)\n"
)


@pytest.mark.parametrize(
    "reference",
    ["strange_module.Module", "joblib.numpy_pickle", "pickle.Unpickler", "torch.load", "os", "x"],
)
def test_a_model_beside_an_index_runs_no_code(tmp_path, monkeypatch, reference):
    """A model's modules.json names the classes of its layers, which are imported."""
    plain = transformer_folder(tmp_path / "plain")
    model = finished_folder(tmp_path / "model", plain)
    with Index.open(tmp_path / "i", encoder=str(model)) as index:
        index.upsert(PASSAGES)
    for folder in (model, tmp_path, tmp_path / "i"):
        (folder / "strange_module.py").write_text(CODE)
    (model / "evil.pkl").write_bytes(pickle.dumps(Touch(str(tmp_path / "unpickled"))))
    modules = json.loads((model / "modules.json").read_text())
    for module in modules:
        module["type"], module["path"] = reference, "evil.pkl"
    (model / "modules.json").write_text(json.dumps(modules))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path / "i")
    with Index.open(tmp_path / "i") as index:
        with pytest.raises(TwofoldError):
            Retriever(index).retrieve("a b")
        assert find(index, "a b") == ["1"]
    assert not list(tmp_path.rglob("*.ran"))
    assert not (tmp_path / "unpickled").exists()


class Touch:
    """Pickled, it makes a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mknod, (self.path,)
