"""The wheel holds what the editable install shows."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("twofold", "langchain_twofold", "llama_index_twofold")


def test_the_wheel_holds_every_module_and_marker(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {
        path.relative_to(root).as_posix()
        for root in (ROOT / "core", ROOT / "adapters")
        for path in root.rglob("*")
        if path.suffix in (".py", ".txt")
    }
    assert len(sources) > 50
    assert "twofold/lexical/stopwords/english.txt" in sources
    assert sources <= names
    for package in PACKAGES:
        assert f"{package}/py.typed" in names
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)


def test_the_installed_wheel_gives_the_same_names(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    script = (
        "import twofold, langchain_twofold, llama_index_twofold\n"
        "for each in (twofold, langchain_twofold, llama_index_twofold):\n"
        "    print(each.__file__, *sorted(each.__all__))\n"
        "    [getattr(each, name) for name in each.__all__]\n"
    )

    def names(path):
        command = [sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}\n{script}"]
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path)
        return [line.split(" ") for line in done.stdout.splitlines()]

    installed, editable = names([str(tmp_path / "installed")]), names([])
    assert [line[1:] for line in installed] == [line[1:] for line in editable]
    assert all(line[0].startswith(str(tmp_path)) for line in installed)
    assert not any(line[0].startswith(str(tmp_path)) for line in editable)


def test_importing_the_core_is_light():
    heavy = (
        "torch sentence_transformers transformers faiss numba langchain_core llama_index "
        "ir_measures typer plotly matplotlib sklearn umap"
    )
    found = f"[name for name in {heavy.split()} if name in sys.modules]"
    script = f"import sys, twofold; print({found})"
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]"


WITHOUT_MODELS = [
    ("CrossEncoderReranker('x').rerank(['x'], [['x']])", "cross-encoders need"),
    ("distill('all-MiniLM-L6-v2', sys.argv[1])", "distillation needs"),
    ("SentenceTransformerEncoder('all-MiniLM-L6-v2').encode_queries(['x'])", "torch models need"),
    ("ModelEncoder('all-MiniLM-L6-v2', backend='torch').identity", "torch models need"),
]


@pytest.mark.parametrize(("call", "purpose"), WITHOUT_MODELS)
def test_what_needs_torch_says_so(call, purpose, tmp_path):
    script = (
        "import sys\n"
        "for name in ('torch', 'sentence_transformers'): sys.modules[name] = None\n"
        "from twofold import CrossEncoderReranker, ModelEncoder, SentenceTransformerEncoder\n"
        "from twofold.encoders import distill\n" + call
    )
    command = [sys.executable, "-c", script, str(tmp_path / "new")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert f"MissingExtraError: {purpose} sentence-transformers and torch: pip install" in (
        done.stderr
    )
    assert "'twofold[models]'" in done.stderr


def test_what_needs_an_extra_names_it_where_it_is_missing(tmp_path):
    for adapter, framework, extra in [
        ("langchain_twofold", "langchain_core", "langchain"),
        ("llama_index_twofold", "llama_index", "llama-index"),
        ("twofold.map", "plotly", "map"),
        ("twofold.map", "umap", "map"),
    ]:
        script = f"import sys; sys.modules[{framework!r}] = None\nimport {adapter}"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        assert done.returncode == 1
        assert f"pip install 'twofold[{extra}]'" in done.stderr


def test_few_names_at_the_root():
    import twofold

    assert len(twofold.__all__) <= 27
