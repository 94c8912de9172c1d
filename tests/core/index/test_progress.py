"""Progress moves by passage, not by batch, and ends at what is committed."""

from itertools import pairwise

import pytest

from tiny_models import finished_folder, transformer_folder
from twofold import Index


@pytest.mark.parametrize("backend", ["onnx", "torch"])
def test_progress_moves_while_a_batch_is_encoded(tmp_path, backend):
    model = f"{finished_folder(tmp_path / 'model', transformer_folder(tmp_path / 'plain'))}"
    passages = [{"id": str(n), "text": f"{n} " + "w " * (n % 40)} for n in range(300)]
    seen, committed = [], []

    def watch(done):
        seen.append(done)
        with Index.open(tmp_path / "i", read_only=True) as reader:
            committed.append(len(reader))

    with Index.open(tmp_path / "i", encoder=f"{model}?backend={backend}") as index:
        index.upsert(passages, progress=watch)
        assert index.upsert(passages, progress=committed.append).unchanged == 300
        assert seen == sorted(set(seen))
        assert len(seen) > 10
        assert seen[-1] == 300
        assert max(b - a for a, b in pairwise(seen)) < 150
        # At the ends of batches, all that was reported is committed.
        assert [(s, c) for s, c in zip(seen, committed, strict=False) if s in (256, 300)] == [
            (256, 256),
            (300, 300),
        ]
        again = []
        index.reencode(f"{model}?backend={backend}&pooling=cls", progress=again.append)
        assert again == sorted(set(again))
        assert len(again) > 10
        assert again[-1] == 300
