"""The code for systems without POSIX's modules runs, here on Linux with those blocked."""

import subprocess
import sys
from pathlib import Path

import pytest

from twofold.storage import sync_file, sync_folder, write_atomic
from twofold.storage.files import open_plain

SCRIPT = """
import os, sys, warnings
from pathlib import Path
from other_systems import pretend

pretend()
warnings.filterwarnings("error")
# That of filelock, which takes this system for one of POSIX:
warnings.filterwarnings("ignore", "only soft file lock is available")

from twofold import HashingEncoder, Index, Retriever
from twofold.storage import HAS_FOLDER_HANDLES

assert not HAS_FOLDER_HANDLES
assert sys.modules["fcntl"] is None
folder = Path(sys.argv[1])
texts = [{"id": f"{n}", "text": f"apple number{n} " + "word " * (n % 9)} for n in range(3000)]

with Index.open(folder / "i", encoder=HashingEncoder()) as index:
    index.upsert(texts)
    assert Retriever(index, k=1).retrieve("number7").ids == ["7"]
    with Index.open(folder / "i") as other:
        assert len(other) == 3000  # reading needs no lock
        assert other.upsert([{"id": "x", "text": "taken over"}]).added == 1
        assert other.delete(["x"]) == 1
    index.upsert([{"id": "7", "text": "pear"}, {"id": "new", "text": "plum"}])
    assert index.delete([f"{n}" for n in range(1000, 3000)]) == 2000
    assert Retriever(index, k=1).retrieve("pear").ids == ["7"]
    index.reindex("hnsw")
    files = {file.name for file in (folder / "i" / "segments").iterdir()}
    with index.view() as view:
        assert files <= view.snapshot.files  # others were deleted
    index.copy(folder / "copy")
    assert index.verify(deep=True).ok
with Index.open(folder / "i") as index:
    index.upsert([{"id": "again", "text": "plum"}])
    index.copy(folder / "copy", overwrite=True)
with Index.open(folder / "copy") as index:
    assert index.verify(deep=True).ok
    assert len(index) == 1002
    assert set(Retriever(index, k=2).retrieve("plum").ids) == {"new", "again"}
    for number in (1, 2):
        assert index.backup(folder / "a.tar").number == number
    index.export(folder / "exported")
with Index.from_backup(folder / "a.tar", folder / "restored", number=1) as index:
    assert index.verify(deep=True).ok
    assert len(index) == 1002
with Index.from_export(folder / "exported", folder / "imported") as index:
    assert len(index) == 1002
assert Index.repair(folder / "imported", folder / "saved").ok
names = "a.tar copy exported i imported restored saved".split()
assert sorted(path.name for path in folder.iterdir()) == names
print("done")
"""


def test_an_index_works_without_folder_handles_fcntl_and_forks(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "done\n"
    with pytest.raises(FileNotFoundError):
        open_plain(tmp_path / "copy" / "LOCK")  # filelock deletes its own


def test_no_module_imports_what_only_posix_has():
    blocked = "import sys\nfor name in ('fcntl', 'grp', 'pwd', 'resource', 'termios'):\n"
    blocked += "    sys.modules[name] = None\n"
    modules = "import twofold, twofold.cli, twofold.map, twofold.training, twofold.tuning\n"
    modules += "import langchain_twofold, llama_index_twofold\n"
    done = subprocess.run(
        [sys.executable, "-c", blocked + modules], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_sync_goes_through_one_function():
    root = Path(__file__).parent.parent.parent / "core" / "twofold"
    users = [path.name for path in root.rglob("*.py") if "os.fsync(" in path.read_text("utf-8")]
    assert users == ["files.py"]


def test_what_is_synced_is_there(tmp_path):
    write_atomic(tmp_path / "a", lambda file: file.write(b"data"))
    with (tmp_path / "a").open("r+b") as file:
        sync_file(file.fileno())
    sync_folder(tmp_path)
    assert (tmp_path / "a").read_bytes() == b"data"
