"""A corpus on disk: a BEIR folder, a file of JSON lines, or a folder of text and Markdown."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from twofold.corpus.folder import Splitting, passages_below, text_files
from twofold.corpus.jsonl import passages_in
from twofold.errors import CorpusError
from twofold.types import Passage

_BEIR = ("corpus.jsonl", "corpus.jsonl.gz")
_SUFFIXES = (".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz")


@dataclass(frozen=True, slots=True)
class Corpus:
    """Passages that can be read more than once; ``lines`` is a file, else ``folder`` is split."""

    lines: Path | None
    folder: Path | None
    splitting: Splitting

    @classmethod
    def at(cls, path: Path, splitting: Splitting | None = None) -> "Corpus":
        """Return the corpus at ``path``; raise CorpusError if there is none."""
        splitting = splitting if splitting is not None else Splitting()
        if path.is_dir():
            for name in _BEIR:
                if (path / name).is_file():
                    return cls(path / name, None, splitting)
            if text_files(path):
                return cls(None, path, splitting)
            raise CorpusError(
                f"{path} holds no corpus: neither {_BEIR[0]}[.gz] nor .txt or .md files"
            )
        if not path.exists():
            raise CorpusError(f"there is no corpus at {path}")
        if not path.name.endswith(_SUFFIXES):
            raise CorpusError(
                f"{path} is of no known kind: a BEIR folder, a .jsonl[.gz] file, or a folder of "
                ".txt and .md files is wanted"
            )
        return cls(path, None, splitting)

    def __iter__(self) -> Iterator[Passage]:
        if self.lines is not None:
            return passages_in(self.lines)
        assert self.folder is not None  # one of the two is set
        return passages_below(self.folder, self.splitting)
