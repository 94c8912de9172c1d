"""Where things lie in an index's folder."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of one index."""

    folder: Path

    @property
    def catalog(self) -> Path:
        """Passages, settings and the lists of what belongs to a generation."""
        return self.folder / "catalog.sqlite"

    @property
    def head(self) -> Path:
        """The last committed generation."""
        return self.folder / "HEAD"

    @property
    def lock(self) -> Path:
        """The file that the writer locks."""
        return self.folder / "LOCK"

    @property
    def vectors(self) -> Path:
        """The folder of vector files."""
        return self.folder / "vectors"

    @property
    def segments(self) -> Path:
        """The folder of segment files."""
        return self.folder / "segments"

    @property
    def adapters(self) -> Path:
        """The folder of query adapters, there from the first one on."""
        return self.folder / "adapters"

    def adapter_file(self, name: str) -> Path:
        """Return the path of a query adapter."""
        return self.adapters / f"{name}.adapter"

    def vector_file(self, name: str) -> Path:
        """Return the path of a vector file."""
        return self.vectors / name

    def segment_file(self, name: str) -> Path:
        """Return the path of a segment file."""
        return self.segments / name

    def unused(self, used: set[str]) -> list[Path]:
        """Return the vector and segment files that are not among the used names."""
        return [
            path
            for folder in (self.vectors, self.segments)
            for path in sorted(folder.iterdir())
            if path.name not in used
        ]
