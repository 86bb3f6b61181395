"""The readers of text that ship with the library, the texts they learned from, their training."""

import json
import sys
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from test_text_sources import ids_of
from torch import nn

from reprogram.sources import load, zoo
from reprogram.sources.masked_lm import MaskedNetwork
from reprogram.sources.sentence import CNNEncoder, SentenceNetwork
from reprogram.sources.words import WordPieces
from reprogram.types import Tokens

SCRIPTS = Path(__file__).resolve().parents[1] / "zoo"
SENTENCES = ("text-bilstm", "text-cnn", "text-lstm")
NAMES = (*SENTENCES, "text-mlm")


@pytest.fixture
def scripts(monkeypatch):
    """Makes the training scripts importable."""
    monkeypatch.syspath_prepend(str(SCRIPTS))


@pytest.fixture(scope="module")
def splits(data_root):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS))
        from train_text import load as load_sentences

        return load_sentences(data_root / "text_sentconv")


@pytest.fixture
def sentences(splits, scripts):
    """Test sentences as a source's own tokens, and their classes."""
    from train_text import tensors

    def get(name):
        ids, labels = tensors(splits["test"], zoo.load(name).lexicon.tokenizer)
        return Tokens(ids, ids != 0), labels

    return get


# What ships with the library


@pytest.mark.parametrize("name", NAMES)
def test_loads_frozen_with_its_words_and_without_the_tokenizers_library(name, monkeypatch):
    for library in ("tokenizers", "transformers"):
        monkeypatch.setitem(sys.modules, library, None)
    source = zoo.load(name)
    assert source.uri == f"zoo:{name}"
    assert not any(p.requires_grad for p in source.parameters())
    tokenizer, table = source.lexicon.tokenizer, source.lexicon.embeddings
    assert tokenizer.size == len(table) == source.input.upper + 1
    ids = tokenizer.encode(["An utterly brilliant film!"])[0]
    assert tokenizer.unknown not in ids
    assert zoo.load(name).fingerprint() == source.fingerprint()
    x = Tokens(torch.tensor([ids]), torch.ones(1, len(ids)))
    inner = load(f"zoo:{name}#embeddings")
    torch.testing.assert_close(inner(Tokens(table[x.values], x.mask)), source(x))


@pytest.mark.parametrize("name", SENTENCES)
def test_features_enter_the_last_layer(name):
    source = zoo.load(name)
    x = ids_of(source, 12, 3)
    torch.testing.assert_close(source.chain[-1].out(source.features(x)), source(x))
    assert source(x).shape == (2, len(source.output.names))


@pytest.mark.parametrize("name", NAMES)
def test_control_is_finite_and_another(name):
    source = zoo.load(name)
    control = source.randomised(0)
    x = ids_of(source, 12, 3, position=torch.tensor([2, 1]))
    assert torch.isfinite(control(x)).all()
    assert not torch.allclose(control(x), source(x), atol=0.1)


@pytest.mark.parametrize("name", NAMES)
def test_card_and_settings_stand_beside_the_weights(name):
    folder = files("reprogram") / "zoo"
    card = (folder / f"{name}.md").read_text()
    for word in ("Architecture", "Data", "Split", "Training", "Accuracy", "Licence", "seed"):
        assert word in card
    told = json.loads((folder / f"{name}.json").read_text())["accuracy"]
    assert f"validation {told['validation']:.1%}" in card
    assert max(map(len, card.splitlines())) <= 100


def test_all_four_are_a_few_megabytes():
    folder = files("reprogram") / "zoo"
    ours = [file for file in folder.iterdir() if file.name.startswith("text-")]
    assert sum(len(file.read_bytes()) for file in ours) < 6e6


def test_command_line_lists_them(reprogram):
    told = reprogram("list", "sources").out
    assert all(f"zoo:{name}" in told or f"\n{name}" in told for name in NAMES)


# The texts


def test_held_out_texts_and_what_holds_them_are_left_out(scripts):
    from corpus import unseen

    held_out = ["emptying the rat traps .", "an idea long and slow and sweet and true to life"]
    texts = [
        (0, "something like emptying the rat-traps . or doing taxes ."),  # holds one
        (1, "an idea , so long and slow and sweet and true to life"),  # nearly one
        (1, "a film about rat traps"),
        (0, "A film about rat traps ."),  # met already
        (0, ". . ."),  # tells nothing
    ]
    assert unseen(texts, held_out) == [texts[2]]


def test_vocabulary_repeats_and_reads_what_it_learned_from(scripts):
    from corpus import pieces

    texts = ["the cat sat", "the cats sit there", "the other cat"]
    tokens = pieces(texts, 40, ("[mask]",), 2)
    assert tokens == pieces(texts, 40, ("[mask]",), 2)
    assert tokens[:5] == ["[pad]", "[unknown]", "[mask]", "the", "cat"]
    assert len(set(tokens)) == len(tokens) <= 40


def test_reviews_hold_no_test_sentence(scripts, splits, data_root):
    from corpus import letters, read

    learned = "|".join(letters(text) for rows in splits.values() for _, text in rows)
    for part in ("dev", "test"):
        for _, text in read(data_root / "text_sentconv" / f"stsa.binary.{part}", "utf-8")[::5]:
            key = letters(text)
            assert len(key) < 12 or key not in learned


# The training


def test_batches_of_sentences_repeat(scripts):
    from train_text import Batches

    ids = torch.randint(2, 50, (130, 9), generator=torch.Generator().manual_seed(0))
    ids[:, 6:] = 0
    batches = Batches(ids.clone(), torch.arange(130) % 4, unknown=1)
    (x, y), (again, _) = next(iter(batches(2))), next(iter(batches(2)))
    assert torch.equal(x, again)
    assert not torch.equal(x, next(iter(batches(3)))[0])
    assert torch.equal(x == 0, torch.arange(9).expand(64, 9) >= 6)
    assert 0 < (x == 1).float().mean() < 0.3
    assert torch.equal(batches.ids, ids)
    torch.testing.assert_close(y.sum(1), torch.ones(64))


def test_batches_of_hidden_tokens(scripts):
    from train_text_mlm import Batches

    special = ["[pad]", "[unknown]", "[mask]", "[start]", "[end]"]
    pieces = WordPieces([*special, *"abcdefghij"])

    generator = torch.Generator().manual_seed(0)
    rows = [torch.randint(5, pieces.size, (int(n),), generator=generator).tolist()
            for n in torch.randint(0, 200, (150,), generator=generator)]  # fmt: skip
    batches = Batches(rows, pieces)
    drawn = [*batches(1)]
    assert len(drawn) == batches.steps
    assert torch.equal(drawn[0][0], next(iter(batches(1)))[0])
    for x, labels in drawn:
        ids, asked = x.unbind(2)
        assert ids.shape[1] <= 128
        assert len(labels) == asked.sum()
        assert (labels >= 5).all()
        assert (ids[:, 0] == pieces.start).all()
        assert not asked[ids == 0].any()
        assert (ids[asked > 0] == pieces.mask).float().mean() > 0.6
    kept = sorted(i for batch in batches.gathered(1) for row in batch for i in row if i > 4)
    assert len(kept) <= sum(map(len, rows))


@pytest.mark.parametrize("name", SENTENCES)
def test_accuracy_on_the_card_holds_and_the_control_has_none(name, sentences):
    x, labels = sentences(name)
    told = json.loads((files("reprogram") / "zoo" / f"{name}.json").read_text())["accuracy"]["test"]
    assert told > 0.68
    assert accuracy(zoo.load(name), x, labels) == pytest.approx(told, abs=2e-3)
    some = Tokens(x.values[::5], x.mask[::5])
    assert accuracy(zoo.load(name).randomised(0, some), some, labels[::5]) < 0.45


def accuracy(source, x, labels):
    order = x.mask.sum(1).argsort()  # texts of one length together need little filling
    told = [source(Tokens(x.values[rows], x.mask[rows])).argmax(1) for rows in order.split(64)]
    return (torch.cat(told) == labels[order]).float().mean().item()


@pytest.mark.slow
def test_masked_accuracy_on_the_card_holds_and_beats_frequency(scripts, data_root):
    from loop import evaluate
    from train_text_mlm import Batches, split, unigram
    from train_text_mlm import load as load_texts

    source = zoo.load("text-mlm")
    told = json.loads((files("reprogram") / "zoo" / "text-mlm.json").read_text())
    texts = split(load_texts(data_root))
    assert {name: len(rows) for name, rows in texts.items()} == told["texts"]
    tokenizer = source.lexicon.tokenizer
    rows = {name: tokenizer.encode(texts[name]) for name in ("train", "validation")}
    x, labels = Batches(rows["train"], tokenizer).measured(rows["validation"])
    shape = {key: told[key] for key in ("width", "length", "layers", "heads")}
    network = MaskedNetwork(vocabulary=tokenizer.size, **shape)
    network.embed, network.encoder = source.chain[0], source.chain[1]
    network.bias = source.chain[2].bias
    found, loss = evaluate(network, x, labels)
    assert found == pytest.approx(told["accuracy"]["validation"], abs=2e-3)
    blind, frequency = unigram(rows["train"], labels)
    assert found > 2 * blind
    assert torch.tensor(loss).exp() < frequency / 2


def test_a_classifier_learns_from_its_batches(scripts):
    """Two words that mean two classes: a few steps suffice."""
    torch.manual_seed(0)
    network = SentenceNetwork(CNNEncoder(width=8, filters=8), vocabulary=20, width=8, classes=2)
    ids = torch.randint(5, 20, (64, 6))
    labels = torch.arange(64) % 2
    ids[torch.arange(64), torch.randint(0, 6, (64,))] = 2 + labels
    optimizer = torch.optim.Adam(network.parameters(), 0.02)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(ids), labels).backward()
        optimizer.step()
    assert (network.eval()(ids).argmax(1) == labels).float().mean() > 0.95


def test_training_resumed_for_fewer_epochs_ends_its_cycle_with_them(scripts, tmp_path):
    from loop import train

    x, labels = torch.eye(8), torch.arange(8) % 2

    def run(epochs, until=99):
        def batches(epoch):
            if epoch == until:
                raise KeyboardInterrupt
            yield from ((x, labels),) * 5

        torch.manual_seed(0)
        numbers = {"steps": 5, "rate": 0.1, "decay": 0.0, "folder": tmp_path, "bfloat16": False}
        train(nn.Linear(8, 2), batches, (x, labels), epochs=epochs, **numbers)

    with pytest.raises(KeyboardInterrupt):
        run(10, until=2)
    run(3)
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    assert state["epoch"] == 3
    assert state["optimizer"]["param_groups"][0]["lr"] < 0.01  # a cycle of 10 is at its height
