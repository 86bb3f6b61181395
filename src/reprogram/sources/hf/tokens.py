"""The tokenizer that lies beside a model of the transformers library."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reprogram.sources.hf.files import first_line
from reprogram.types import UserError

# What decides which ids a text gets; the rest of the file frames, pads and cuts them.
DECIDING = ("normalizer", "pre_tokenizer", "model", "added_tokens")
# How such tokens are written where no file says so.
SPELLINGS = {
    "pad_token": ("[PAD]", "<pad>"),
    "unk_token": ("[UNK]", "<unk>"),
    "mask_token": ("[MASK]", "<mask>"),
    "cls_token": ("[CLS]", "<s>"),
    "sep_token": ("[SEP]", "</s>"),
}


class FileTokenizer:
    """A model's own tokenizer: whole texts to ids, never cut, never padded, without start and end.

    Words that look like special tokens, a ``[SEP]`` in somebody's text, are read as plain text: a
    text cannot steer the model. It satisfies :class:`~reprogram.types.Tokenizer`, whose attributes
    it has.

    Arguments:
        backend: Of the tokenizers library; changed in place.
        names: How its special tokens are written: ``pad_token``, ``unk_token``, ``mask_token``,
            ``cls_token``, ``sep_token``; absent ones are looked up under their usual spellings.
        filling: Id of the token that fills up, where no name says so.

    Example:
        >>> from tokenizers import Tokenizer, models, pre_tokenizers
        >>> words = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1, "cat": 2}, "[UNK]"))
        >>> words.pre_tokenizer = pre_tokenizers.Whitespace()
        >>> tokenizer = FileTokenizer(words)
        >>> tokenizer.encode(["cat dog cat", ""]), tokenizer.token(2), tokenizer.mask
        ([[2, 1, 2], []], 'cat', None)
    """

    def __init__(
        self, backend: Any, names: dict[str, str] | None = None, filling: int | None = None
    ) -> None:
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = True
        self.backend = backend
        self._fingerprint: str | None = None
        self.size = max(backend.get_vocab(with_added_tokens=True).values(), default=-1) + 1
        found = {kind: self._find(kind, names or {}) for kind in SPELLINGS}
        if found["pad_token"] is None:
            found["pad_token"] = filling
        self.pad = found["pad_token"] or 0  # the mask hides it, whatever it is
        unknown = found["unk_token"]
        # Where bytes are read nothing is unknown: the filling, which no text has, stands for it.
        self.unknown = self.pad if unknown is None else unknown
        self.mask = found["mask_token"]
        self.start, self.end = found["cls_token"], found["sep_token"]
        if backend.post_processor is not None:
            self.start, self.end = self._frame()

    def __deepcopy__(self, memo: dict[int, Any]) -> FileTokenizer:
        return self  # nothing of it ever changes

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text; half a surrogate pair is read as U+FFFD."""
        whole = [t.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for t in texts]
        return [e.ids for e in self.backend.encode_batch(whole, add_special_tokens=False)]

    def token(self, index: int) -> str:
        """How the token of that id is written; empty for an id that the file does not use."""
        return self.backend.id_to_token(index) or ""

    def fingerprint(self) -> str:
        """SHA-256 over vocabulary, normalisation, splitting and the ids of the special tokens."""
        if self._fingerprint is None:
            told = json.loads(self.backend.to_str())
            told = {key: told.get(key) for key in DECIDING}
            told["special"] = [self.pad, self.unknown, self.mask, self.start, self.end]
            text = json.dumps(told, sort_keys=True)
            self._fingerprint = hashlib.sha256(text.encode()).hexdigest()
        return self._fingerprint

    def _find(self, kind: str, names: dict[str, str]) -> int | None:
        spellings = [names[kind]] if names.get(kind) else SPELLINGS[kind]
        ids = [self.backend.token_to_id(spelling) for spelling in spellings]
        return next((i for i in ids if i is not None), None)

    def _frame(self) -> tuple[int | None, int | None]:
        """What the tokenizer itself writes before and behind a text."""
        bare = self.backend.encode("a", add_special_tokens=False).ids
        framed = self.backend.encode("a").ids
        for before in range(len(framed) - len(bare) + 1):
            behind = before + len(bare)
            if framed[before:behind] == bare:
                return (framed[0] if before else None,
                        framed[-1] if behind < len(framed) else None)  # fmt: skip
        return None, None


def read_tokenizer(
    base: str, folder: Path, settings: dict[str, Any], filling: int | None
) -> FileTokenizer | None:
    """The tokenizer of a folder; ``None`` where there are no files of one.

    Arguments:
        base: Name of the source, for an error.
        folder: Where ``tokenizer.json`` lies, or else ``vocab.txt`` or ``vocab.json`` and
            ``merges.txt``.
        settings: Of the files beside it, for how special tokens are written.
        filling: Id of the token that fills up, as the model's configuration has it.

    Raises:
        UserError: if the files cannot be read.
    """
    names = {kind: _written(settings.get(kind)) for kind in SPELLINGS}
    try:
        if (folder / "tokenizer.json").is_file():
            from tokenizers import Tokenizer

            backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
            return FileTokenizer(backend, names, filling)
        # Without a file of words the library makes a tokenizer that knows none, and says nothing.
        if (folder / "vocab.txt").is_file() or (folder / "merges.txt").is_file():
            from transformers import AutoTokenizer

            whole = AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
            names = {kind: _written(getattr(whole, kind, None)) for kind in SPELLINGS}
            return FileTokenizer(whole.backend_tokenizer, names, filling)
    except Exception as error:  # damaged or foreign files are refused in many ways
        raise UserError(f"source hf:{base}: its tokenizer cannot be read ({first_line(error)}); "
                        "copy or fetch its tokenizer.json again") from error  # fmt: skip
    return None


def _written(token: Any) -> str:
    """A token as a file has it: a text, or a record that holds it."""
    if isinstance(token, dict):
        token = token.get("content")
    return str(token) if token else ""
