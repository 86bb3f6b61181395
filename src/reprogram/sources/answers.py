"""Answers that were paid for, on disk: none is paid for twice."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from reprogram.sources.ledger import Ledger
from reprogram.types import UserError

CHUNK = 500  # keys in one question to the database
PATIENCE = 60.0  # seconds that another process may keep it

SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (key BLOB PRIMARY KEY, output BLOB) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ledger (run TEXT PRIMARY KEY, queries INTEGER, unanswered INTEGER,
                                   recalled INTEGER);
"""


class Answers:
    """A cache of outputs by key, and the ledger of the run that paid for them, in one SQLite file.

    Answers and ledger are written in one transaction, so that what a kill leaves agrees.

    Arguments:
        path: The file; made if absent.
        run: Whose ledger it is: several runs may share a file.

    Raises:
        UserError: if the file cannot be written or is no such cache.

    Example:
        >>> import tempfile
        >>> answers = Answers(Path(tempfile.mkdtemp()) / "answers.sqlite", "run")
        >>> answers.put([b"a"], torch.tensor([[0.5, 2.0]]), Ledger())
        >>> answers.get([b"a", b"b"])
        {0: tensor([0.5000, 2.0000])}
    """

    def __init__(self, path: str | Path, run: str) -> None:
        self.path, self.run = Path(path), run
        with self._told():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.database = sqlite3.connect(self.path, timeout=PATIENCE, isolation_level=None)
            # What a killed process has written, the system still writes; only a power cut loses it.
            self.database.execute("PRAGMA synchronous=OFF")
            self.database.executescript(SCHEMA)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What goes wrong with the file, in one line."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise UserError(
                f"cache {self.path} cannot be used ({error}); name another file, or delete it"
            ) from None

    def load(self, ledger: Ledger) -> None:
        """Add to a ledger what this run has spent before."""
        with self._told():
            row = self.database.execute(
                "SELECT queries, unanswered, recalled FROM ledger WHERE run = ?", (self.run,)
            ).fetchone()
        if row is not None:
            ledger.queries += row[0]
            ledger.unanswered += row[1]
            ledger.recalled += row[2]

    def get(self, keys: Sequence[bytes]) -> dict[int, Tensor]:
        """Outputs that are known, by their place among the keys."""
        places: dict[bytes, list[int]] = {}
        for place, key in enumerate(keys):
            places.setdefault(key, []).append(place)
        found: dict[int, Tensor] = {}
        wanted = list(places)
        for start in range(0, len(wanted), CHUNK):
            chunk = wanted[start : start + CHUNK]
            marks = ",".join("?" * len(chunk))
            query = f"SELECT key, output FROM answers WHERE key IN ({marks})"
            with self._told():
                told = self.database.execute(query, chunk).fetchall()
            for key, packed in told:
                found |= dict.fromkeys(places[key], _unpack(packed))
        return found

    def put(self, keys: Sequence[bytes], output: Tensor, ledger: Ledger) -> None:
        """Keep outputs (rows, ...) under their keys, and the ledger with them."""
        rows = [(key, _pack(row)) for key, row in zip(keys, output.detach().cpu(), strict=True)]
        with self._told(), self.database:
            self.database.execute("BEGIN")
            self.database.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?)", rows)
            self.save(ledger)

    def save(self, ledger: Ledger) -> None:
        """Keep the ledger."""
        told = (self.run, ledger.queries, ledger.unanswered, ledger.recalled)
        with self._told():
            self.database.execute("INSERT OR REPLACE INTO ledger VALUES (?, ?, ?, ?)", told)

    def close(self) -> None:
        """Let go of the file."""
        self.database.close()


def _pack(row: Tensor) -> bytes:
    shape = np.array([row.ndim, *row.shape], dtype=np.int32)
    kind = b"d" if row.dtype == torch.float64 else b"f"
    value = row.double() if kind == b"d" else row.float()
    return zlib.compress(kind + shape.tobytes() + value.contiguous().numpy().tobytes(), 1)


def _unpack(packed: bytes) -> Tensor:
    raw = zlib.decompress(packed)
    ndim = int(np.frombuffer(raw, np.int32, 1, 1)[0])
    shape = np.frombuffer(raw, np.int32, ndim, 5)
    value = np.frombuffer(raw, np.float64 if raw[:1] == b"d" else np.float32, offset=5 + 4 * ndim)
    return torch.from_numpy(value.copy()).reshape(shape.tolist())
