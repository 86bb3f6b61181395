"""The tokenizer that lies beside a model behind hf:."""

import copy
import json

import pytest
from tiny_hf import VOCABULARY, save, save_tokenizer
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers

from reprogram.lexicon import Tokenizer
from reprogram.sources import load
from reprogram.sources.hf.tokens import FileTokenizer, read_tokenizer
from reprogram.types import UserError


class TestTokenizer:
    @pytest.fixture
    def tokenizer(self, tmp_path):
        save_tokenizer(tmp_path)
        return read_tokenizer("x", tmp_path, {}, None)

    def test_satisfies_the_protocol(self, tokenizer):
        assert isinstance(tokenizer, Tokenizer)
        assert tokenizer.size == len(VOCABULARY)
        special = tokenizer.pad, tokenizer.unknown, tokenizer.start, tokenizer.end, tokenizer.mask
        assert special == (0, 1, 2, 3, 4)
        assert [tokenizer.token(i) for i in range(tokenizer.size)] == VOCABULARY

    def test_encodes_whole_texts_without_frame(self, tokenizer):
        texts = ["The cat saw dogs.", "", "a quux", "a " * 50]
        expected = [[10, 6, 9, 7, 8, 11], [], [5, 1], [5] * 50]
        assert tokenizer.encode(texts) == expected
        assert tokenizer.encode([]) == []

    def test_a_text_cannot_write_special_tokens(self, tokenizer):
        (ids,) = tokenizer.encode(["[CLS] cat"])
        assert ids == [12, 14, 13, 6]

    def test_half_a_character(self, tokenizer):
        assert tokenizer.encode(["a \ud800 cat"]) == tokenizer.encode(["a \ufffd cat"])

    def test_fingerprint_is_of_what_decides(self, tmp_path, tokenizer):
        def changed(change):
            values = json.loads((tmp_path / "tokenizer.json").read_text())
            change(values)
            text = json.dumps(values)
            return FileTokenizer(Backend.from_str(text)).fingerprint()

        assert changed(lambda v: v.update(truncation=None, padding=None)) == tokenizer.fingerprint()
        for change in (
            lambda v: v["normalizer"].update(lowercase=False),
            lambda v: v["model"]["vocab"].update({"cat": 7, "dog": 6}),
            lambda v: v.update(pre_tokenizer={"type": "Whitespace"}),
            lambda v: v["post_processor"].update(sep=["a", 5]),
        ):
            assert changed(change) != tokenizer.fingerprint()

    def test_is_shared_by_copies(self, tokenizer):
        assert copy.deepcopy(tokenizer) is tokenizer

    def test_names_from_files_beat_spellings(self, tmp_path):
        save_tokenizer(tmp_path, mask_token={"content": "dog"}, pad_token="cat")
        settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
        tokenizer = read_tokenizer("x", tmp_path, settings, 3)
        assert (tokenizer.mask, tokenizer.pad) == (7, 6)

    def test_without_special_tokens(self):
        backend = Backend(models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")]))
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer = FileTokenizer(backend, filling=1)
        assert tokenizer.encode(["abba"]) == [[2, 1, 0]]
        assert (tokenizer.mask, tokenizer.start, tokenizer.end) == (None, None, None)
        assert tokenizer.pad == tokenizer.unknown == 1

    def test_from_a_list_of_words(self, tmp_path):
        save("bert", tmp_path)
        (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY))
        tokenizer = load(f"hf:{tmp_path}").lexicon.tokenizer
        assert tokenizer.encode(["The cats"]) == [[10, 6, 8]]
        assert (tokenizer.start, tokenizer.end, tokenizer.mask) == (2, 3, 4)

    def test_damaged(self, tmp_path):
        save("bert", tmp_path)
        (tmp_path / "tokenizer.json").write_text("{")
        with pytest.raises(UserError, match="its tokenizer cannot be read"):
            load(f"hf:{tmp_path}")

    def test_of_another_model(self, tmp_path):
        save("bert", tmp_path)
        words = {f"w{i}": i for i in range(41)}
        Backend(models.WordLevel(words, "w0")).save(str(tmp_path / "tokenizer.json"))
        with pytest.raises(UserError, match="41 tokens and the model embeds 40") as error:
            load(f"hf:{tmp_path}")
        assert "\n" not in str(error.value)
