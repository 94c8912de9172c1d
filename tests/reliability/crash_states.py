"""Builds, from a log of file operations, the folders that a loss of power may leave."""

import os
import random
import shutil
from pathlib import Path

import xxhash

from reliability.shim import (
    CLOSE,
    EXCHANGE,
    MARK,
    MKDIR,
    OPEN,
    RMDIR,
    SYNC,
    TRUNCATE,
    UNLINK,
    WRITE,
)

SECTOR = 512


class File:
    """A file: its content, the content last synced, and the operations since."""

    def __init__(self):
        self.data = bytearray()
        self.synced = b""
        self.pending = []

    def apply(self, offset, data):
        """Write ``data``, or cut the file at ``offset`` if it is None."""
        _apply(self.data, offset, data)
        self.pending.append((offset, data))

    def sync(self):
        """Make the content durable."""
        self.synced = bytes(self.data)
        self.pending.clear()

    def zeroed(self):
        """Return the content with zeros for all that was not synced."""
        out = bytearray(self.synced)
        for offset, data in self.pending:
            _apply(out, offset, None if data is None else bytes(len(data)))
        return bytes(out)

    def drawn(self, rng):
        """Return the synced content with some of the later operations, some of them torn."""
        out = bytearray(self.synced)
        style = rng.randrange(3)
        last = rng.randint(0, len(self.pending))
        for place, (offset, data) in enumerate(self.pending):
            if (style == 0 and place >= last) or (style > 0 and rng.random() < 0.5):
                continue
            if data is None or style < 2:
                _apply(out, offset, data)
                continue
            for start in range(0, len(data), SECTOR):
                if rng.random() < 0.7:
                    _apply(out, offset + start, data[start : start + SECTOR])
        return bytes(out)


class Change:
    """A change of names in one folder or in two, which a journal makes durable as a whole.

    ``parts`` has pairs of a folder and its names: files or folders to set, None to remove.
    """

    def __init__(self, *parts):
        self.parts = parts
        for folder, names in parts:
            _change(folder.entries, names)
            folder.pending.append(self)

    def names_in(self, folder):
        """Return the names in one folder."""
        (names,) = (names for other, names in self.parts if other is folder)
        return names

    def sync(self):
        """Make the change durable, after the earlier ones of its folders."""
        for folder, _ in self.parts:
            while folder.pending[0] is not self:
                folder.pending[0].sync()
        for folder, names in self.parts:
            _change(folder.synced, names)
            folder.pending.remove(self)


class Folder:
    """A folder: its entries, those last synced, and the changes since."""

    def __init__(self):
        self.entries = {}
        self.synced = {}
        self.pending = []

    def sync(self):
        """Make the names durable."""
        while self.pending:
            self.pending[0].sync()
        assert self.synced == self.entries

    def drawn(self, rng, moved):
        """Return the synced names with the first of the later changes, or with any of them.

        ``moved`` has the changes of two folders that are durable.
        """
        out = dict(self.synced)
        last, ordered = rng.randint(0, len(self.pending)), rng.random() < 0.7
        for place, change in enumerate(self.pending):
            chosen = place < last if ordered else rng.random() < 0.5
            if len(change.parts) > 1:
                chosen = change in moved
            if chosen:
                _change(out, change.names_in(self))
        return out


def _apply(content, offset, data):
    if data is None:
        size = offset
        del content[size:]
        content.extend(bytes(size - len(content)))
        return
    content.extend(bytes(max(0, offset - len(content))))
    content[offset : offset + len(data)] = data


def _change(entries, names):
    for name, node in names.items():
        if node is None:
            entries.pop(name, None)
        else:
            entries[name] = node


class Disk:
    """The folder of a log, which follows its operations one by one."""

    def __init__(self, root):
        """Start with an empty folder; the log's paths begin with ``root``."""
        self._root = str(root)
        self.top = Folder()
        self._handles = {}

    def _find(self, path):
        """Return the folder and the name of a path of the log."""
        parts = Path(os.path.relpath(path, self._root)).parts
        folder = self.top
        for part in parts[:-1]:
            folder = folder.entries[part]
        return folder, parts[-1] if parts else ""

    def follow(self, operation):
        """Apply an operation."""
        kind, node = operation.kind, self._handles.get(operation.handle)
        if kind == OPEN:
            self._open(operation)
        elif kind == WRITE:
            node.apply(operation.offset, operation.data)
        elif kind == TRUNCATE:
            node.apply(operation.offset, None)
        elif kind == SYNC:
            node.sync()
        elif kind == CLOSE:
            self._handles.pop(operation.handle, None)
        elif kind != MARK:
            self._change_names(operation)

    def _open(self, operation):
        folder, name = self._find(operation.first)
        if not name:
            self._handles[operation.handle] = folder
            return
        if name not in folder.entries:
            Change((folder, {name: File()}))
        node = folder.entries[name]
        self._handles[operation.handle] = node
        if operation.offset & os.O_TRUNC and node.data:
            node.apply(0, None)

    def _change_names(self, operation):
        folder, name = self._find(operation.first)
        if not name:
            return  # the folder of the log itself is made
        if operation.kind in (UNLINK, RMDIR):
            Change((folder, {name: None}))
        elif operation.kind == MKDIR:
            Change((folder, {name: Folder()}))
        else:
            other, target = self._find(operation.second)
            node = folder.entries[name]
            back = other.entries[target] if operation.kind == EXCHANGE else None
            if folder is other:
                Change((folder, {name: back, target: node}))
            else:
                Change((folder, {name: back}), (other, {target: node}))

    def moves(self):
        """Return the changes of two folders that are not durable, in a fixed order."""
        found, stack = [], [self.top]
        while stack:
            folder = stack.pop()
            found += [change for change in folder.pending if len(change.parts) > 1]
            stack += [node for node in folder.entries.values() if isinstance(node, Folder)]
        return found

    def state(self, entries, content):
        """Return a state, as a dict of names and contents (bytes) or folders (dict).

        ``entries`` and ``content`` return a folder's names and a file's content.
        """
        return _state(self.top, entries, content)


def _state(node, entries, content):
    return {
        name: content(child) if isinstance(child, File) else _state(child, entries, content)
        for name, child in entries(node).items()
    }


def current(node):
    """Return what the running system sees."""
    return bytes(node.data) if isinstance(node, File) else node.entries


def synced(node):
    """Return what was synced."""
    return node.synced


def zeroed(node):
    """Return a file's content with zeros for all that was not synced."""
    return node.zeroed()


def torn_contents(file, every):
    """Return a file without the end of its last write: cut in half, and at sectors.

    ``every`` is the number of sectors from one cut to the next.
    """
    offset, data = file.pending[-1]
    if data is None:
        return []
    before = bytearray(file.synced)
    for step in file.pending[:-1]:
        _apply(before, *step)
    cuts = {len(data) // 2, *range(SECTOR, len(data), SECTOR * every)} - {0, len(data)}
    out = []
    for cut in sorted(cuts):
        torn = bytearray(before)
        _apply(torn, offset, data[:cut])
        out.append(bytes(torn))
    return out


def iterate_states(disk, operation, rng, draws, every):
    """Yield the kinds and states of the disk after ``operation``, the last one."""
    yield "applied", disk.state(current, current)
    yield "synced", disk.state(synced, synced)
    yield "names", disk.state(current, synced)
    yield "contents", disk.state(synced, current)
    yield "zeroed", disk.state(current, zeroed)
    if operation.kind == WRITE:
        file = disk._handles[operation.handle]
        for content in torn_contents(file, every):
            changed = {id(file): content}
            yield "torn", disk.state(current, lambda node, c=changed: c.get(id(node), node.data))
    for _ in range(draws):
        memo, moved, seed = {}, set(), rng.randrange(1 << 30)
        for change in disk.moves():
            if rng.random() < 0.5:
                moved.add(change)

        def draw(node, seed=seed, memo=memo, moved=moved):
            if id(node) not in memo:
                drawing = random.Random(seed + len(memo))
                arguments = (drawing,) if isinstance(node, File) else (drawing, moved)
                memo[id(node)] = node.drawn(*arguments)
            return memo[id(node)]

        yield "drawn", disk.state(draw, draw)


def state_key(state, *others):
    """Return a hash of a state and of what else matters."""
    digest = xxhash.xxh3_128(repr(others).encode())
    _hash(state, digest)
    return digest.digest()


def _hash(state, digest):
    for name in sorted(state):
        content = state[name]
        digest.update(f"{name}\0{isinstance(content, dict)}\0".encode())
        if isinstance(content, dict):
            _hash(content, digest)
            digest.update(b"\0end\0")
        else:
            digest.update(xxhash.xxh3_128_digest(bytes(content)))


def write_state(state, folder):
    """Write a state to a folder, which is emptied first."""
    shutil.rmtree(folder, ignore_errors=True)
    _write(state, str(folder))


def _write(state, folder):
    os.mkdir(folder)  # noqa: PTH102  # thousands of them
    for name, content in state.items():
        path = f"{folder}/{name}"
        if isinstance(content, dict):
            _write(content, path)
        else:
            with open(path, "wb") as file:  # noqa: PTH123
                file.write(content)
