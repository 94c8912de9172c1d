"""The rules of the house that a program can check: no circles, plain names, plain messages."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = {"twofold": "core", "langchain_twofold": "adapters", "llama_index_twofold": "adapters"}
CLASSES = re.findall(
    r"\w+",
    """
Drafting Draft Looks Shape Trial Remedy Standing Missed Rules Found LegEvidence Question Questions
Asked Asking Tending Choices Intake EncoderContract Filling Generations Neighbours Held Piece Kind
Collection Bench Kept Lesson Folded Choice Served Examination HeldOut Course Record Marks Gathering
Maker Made Swept Unopened Guarded Setting
""",
)
FUNCTIONS = re.findall(
    r"\w+",
    """
luck beside spread named measured due upkeep released copied retitled directed comfortable settled
usable fresh remembers harmless carded brings made_of_passages known parts stretch absent of
""",
)
FIELDS = re.findall(
    r"\w+",
    """
like collapse pull blends most_passages most_lost fewest forgetting at_once mix kept card
""",
)
LOCALS = ["own", "said", "told", "gone", "worded", "near", "beside"]


def source_files():
    for package, folder in SOURCES.items():
        for path in sorted((ROOT / folder / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT / folder).with_suffix("").parts)
            yield name.removesuffix(".__init__"), path


MODULES = dict(source_files())
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}


def imported_modules(name):
    """The modules of ours that a module imports, also late and for type checking alone."""
    found = set()
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name in MODULES}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                found.add(submodule if submodule in MODULES else node.module)
    return {module for module in found if module in MODULES and module != name}


def circles(graph):
    """The strongly connected parts of a graph with more than one node (Tarjan, 1972)."""
    index, low, stack, found = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph[node]:
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            at = stack.index(node)
            part = stack[at:]
            del stack[at:]
            if len(part) > 1:
                found.append(sorted(part))

    for node in graph:
        if node not in index:
            visit(node)
    return found


def test_no_module_imports_itself_through_others():
    """A package's ``__init__`` is taken for what it re-exports, and so is left out."""
    packages = {name for name, path in MODULES.items() if path.name == "__init__.py"}
    graph = {}
    for name in MODULES:
        wanted, seen = imported_modules(name), set()
        while through := {module for module in wanted if module in packages} - seen:
            seen |= through
            wanted |= set().union(*(imported_modules(module) for module in through))
        graph[name] = sorted(wanted - packages - {name})
    graph = {name: modules for name, modules in graph.items() if name not in packages}
    assert len(graph) > 150
    assert circles(graph) == []


def test_no_package_imports_itself_through_others():
    def package(name):
        parts = name.split(".")
        return ".".join(parts[:2]) if parts[0] == "twofold" else parts[0]

    graph = {package(name): set() for name in MODULES}
    for name in MODULES:
        if name == "twofold":  # the root API takes from everywhere
            continue
        wanted = {package(module) for module in imported_modules(name)} - {"twofold"}
        graph[package(name)] |= wanted - {package(name)}
    assert circles({name: sorted(packages) for name, packages in graph.items()}) == []


@pytest.mark.parametrize("name", MODULES)
def test_names_are_those_of_the_field(name):
    bad = []
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.ClassDef) and node.name in CLASSES:
            bad.append(f"class {node.name}")
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            plain = node.name.lstrip("_")
            if plain in FUNCTIONS or plain.endswith("_named"):
                bad.append(f"def {node.name}")
            arguments = [*node.args.args, *node.args.kwonlyargs]
            bad += [f"{a.arg}=" for a in arguments if a.arg in (*FIELDS, *LOCALS)]
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            bad += [node.target.id] if node.target.id in FIELDS else []
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in LOCALS:
            bad.append(node.id)
        if isinstance(node, ast.For) and isinstance(node.target, ast.Name):
            bad += ["for each"] if node.target.id == "each" else []
    assert bad == []


def docstrings(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield text


def messages(tree):
    """The texts of all errors raised and warnings given."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            for part in ast.walk(node):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    yield part.value


@pytest.mark.parametrize("name", MODULES)
def test_prose_is_plain(name):
    """The redesign's rules for docstrings and messages that a program can check."""
    for text in docstrings(TREES[name]):
        assert not re.match(r"What\b", text), text[:80]
    for text in messages(TREES[name]):
        assert not re.search(r"\b(is|are) wanted\b", text), text[:80]
