"""The library's own readers of text: their tokenizer, classifiers, and masked model."""

import string

import pytest
import torch
from torch import nn

from reprogram.lexicon import Tokenizer
from reprogram.sources.masked_lm import MaskedEncoder, MaskedNetwork, masked_source
from reprogram.sources.sentence import CNNEncoder, LSTMEncoder, gathered
from reprogram.sources.words import WordPieces, words
from reprogram.types import Tokens, UserError

SPECIAL = ["[pad]", "[unknown]", "[mask]", "[start]", "[end]"]
LETTERS = [*string.ascii_lowercase, *(f"##{c}" for c in string.ascii_lowercase)]


@pytest.fixture
def pieces():
    return WordPieces([*SPECIAL, *LETTERS, "##ing", "play", "n't", "do", "'s", "it", "!", "[", "]"])


def texts_of(*lengths, width=8, longest=None, seed=0):
    """Random embeddings of texts of these lengths, and noise behind each."""
    longest = longest or max(lengths)
    generator = torch.Generator().manual_seed(seed)
    mask = (torch.arange(longest) < torch.tensor(lengths)[:, None]).float()
    return Tokens(torch.randn(len(lengths), longest, width, generator=generator), mask)


# The tokenizer


def test_pieces_put_together_are_the_words(pieces):
    assert isinstance(pieces, Tokenizer)
    text = "Playing it's don't PLAY zebra!"
    ids = pieces.encode([text])[0]
    assert all(0 <= i < pieces.size for i in ids)
    told = " ".join(pieces.token(i) for i in ids).replace(" ##", "")
    assert told.split() == words(text) == ["playing", "it", "'s", "do", "n't", "play", "zebra", "!"]


@pytest.mark.parametrize(
    ("one", "other"),
    [("isn't", "is n't"), ("It's", "it 's"), ("naïve  CAFÉ", "naive cafe"), ("a.b", "a . b"),
     ("a\x1fb", "a b"), ("", " \t\n"), ("they've", "they 've")],
)  # fmt: skip
def test_spellings_that_read_the_same(one, other):
    assert words(one) == words(other)


def test_no_text_writes_a_special_token(pieces):
    ids = pieces.encode(["[mask] [pad] [start] [end] [unknown]"])[0]
    assert not {pieces.mask, pieces.pad, pieces.start, pieces.end} & set(ids)


@pytest.mark.parametrize("text", ["漢字 ?", "🙂x", "\ud800"])
def test_what_no_piece_holds_is_unknown_character_by_character(pieces, text):
    ids = pieces.encode([text])[0]
    assert pieces.unknown in ids
    assert len(ids) <= len(text)


def test_a_word_without_end_and_none_at_all(pieces):
    ids = pieces.encode(["acgt" * 5000, ""])
    assert [len(row) for row in ids] == [20000, 0]


def test_fingerprint_tells_vocabularies_apart(pieces):
    swapped = [*pieces.tokens[:-2], pieces.tokens[-1], pieces.tokens[-2]]
    assert WordPieces(pieces.tokens).fingerprint() == pieces.fingerprint()
    assert WordPieces(swapped).fingerprint() != pieces.fingerprint()


@pytest.mark.parametrize(
    ("tokens", "says"), [(["[pad]", "[unknown]", "a", "a"], "'a' twice"), (["[pad]"], "[unknown]")]
)
def test_tokens_that_make_no_vocabulary(tokens, says):
    with pytest.raises(UserError, match=rf"argument 'tokens'.*{says.replace('[', '.')}"):
        WordPieces(tokens)


# What the encoders compute

ENCODERS = {
    "lstm": lambda: LSTMEncoder(width=8, hidden=6),
    "both": lambda: LSTMEncoder(width=8, hidden=6, both=True),
    "cnn": lambda: CNNEncoder(width=8, filters=6),
    "masked": lambda: MaskedEncoder(width=8, length=32, layers=2, heads=2, dropout=0.0),
}


@pytest.fixture(params=ENCODERS)
def encoder(request):
    torch.manual_seed(0)
    return ENCODERS[request.param]().eval()


def answers(encoder, x):
    """(batch, size): of the masked model what is told of the first place."""
    return encoder(x._replace(position=torch.zeros(len(x.values), dtype=torch.long)))


def test_filling_changes_nothing(encoder):
    x = texts_of(5, 2, 1)
    expected = answers(encoder, x)
    noisy = Tokens(x.values + 9 * (1 - x.mask[..., None]), x.mask)
    torch.testing.assert_close(answers(encoder, noisy), expected)
    longer = Tokens(*(nn.functional.pad(v, (0, 0) * (v.ndim - 2) + (0, 7), value=3.0 * (v.ndim - 2))
                      for v in (x.values, x.mask)))  # fmt: skip
    torch.testing.assert_close(answers(encoder, longer), expected)
    alone = [answers(encoder, Tokens(x.values[i : i + 1, :n], x.mask[i : i + 1, :n]))
             for i, n in enumerate((5, 2, 1))]  # fmt: skip
    torch.testing.assert_close(torch.cat(alone), expected)


def test_gradient_reaches_each_token_and_no_filling(encoder):
    x = texts_of(5, 3)
    values = x.values.clone().requires_grad_()
    answers(encoder, Tokens(values, x.mask)).pow(2).sum().backward()
    reached = values.grad.abs().sum(2) > 0
    assert torch.equal(reached, x.mask > 0)


def test_without_any_token_the_answer_is_finite(encoder):
    assert torch.isfinite(answers(encoder, texts_of(0, 3))).all()
    assert torch.isfinite(answers(encoder, texts_of(0, longest=4))).all()


@pytest.mark.parametrize("name", ["lstm", "both", "cnn"])
def test_tokens_anywhere_are_read_in_order(name):
    encoder = ENCODERS[name]().eval()
    x = texts_of(4, longest=4)
    places = torch.tensor([1, 2, 6, 8])
    values, mask = torch.full((1, 10, 8), torch.nan), torch.zeros(1, 10, dtype=torch.bool)
    values[:, places], mask[:, places] = x.values, True
    torch.testing.assert_close(encoder(Tokens(values, mask)), encoder(x))


def test_gathered_leaves_the_callers_tensors():
    x = texts_of(1, 3, longest=6)
    before = x.values.clone()
    values, real = gathered(x)
    assert values.shape == (2, 3, 8)
    assert torch.equal(real, x.mask[:, :3] > 0)
    assert torch.equal(x.values, before)


def test_two_directions_are_a_bidirectional_lstm_of_each_text_alone():
    encoder = LSTMEncoder(width=8, hidden=6, both=True)
    whole = nn.LSTM(8, 6, batch_first=True, bidirectional=True)
    state = {k: v for k, v in encoder.ahead.state_dict().items()}
    state |= {f"{k}_reverse": v for k, v in encoder.back.state_dict().items()}
    whole.load_state_dict(state)
    x = texts_of(5, 2, 4)
    for i, n in enumerate((5, 2, 4)):
        _, (last, _) = whole(x.values[i : i + 1, :n].tanh())  # (2, 1, hidden)
        torch.testing.assert_close(encoder(x)[i], last[:, 0].flatten())


def test_convolutions_by_hand():
    encoder = CNNEncoder(width=8, filters=6, windows=(2, 4))
    x = texts_of(5, 1)
    for row, n, told in zip(x.values, (5, 1), encoder(x), strict=True):
        padded = torch.cat((row[:n], torch.zeros(3, 8)))
        by_hand = []
        for layer, size in zip(encoder.convolutions, (2, 4), strict=True):
            windows = torch.stack([padded[i : i + size] for i in range(n)])  # (n, size, width)
            dots = torch.einsum("nsw,fws->nf", windows, layer.weight) + layer.bias
            by_hand.append(dots.relu().amax(0))
        torch.testing.assert_close(told, torch.cat(by_hand))


# The masked language model


@pytest.fixture
def masked(pieces):
    torch.manual_seed(0)
    network = MaskedNetwork(vocabulary=pieces.size, width=8, length=16, layers=2, heads=2)
    nn.init.normal_(network.bias)
    return masked_source(network, pieces, uri="zoo:tiny")


def ids_of(source, *lengths, position=None):
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, int(source.input.upper) + 1, (len(lengths), max(lengths)),
                        generator=generator)  # fmt: skip
    return Tokens(ids, torch.arange(max(lengths)) < torch.tensor(lengths)[:, None], position)


def test_one_place_is_that_place_of_all(masked):
    x, position = ids_of(masked, 9, 4), torch.tensor([7, 2])
    every = masked(x)
    assert every.shape == (2, 9, masked.output.shape[0])
    torch.testing.assert_close(masked(x._replace(position=position)), every[[0, 1], position])


def test_hidden_states_through_the_lexicon_are_the_scores(masked):
    x = ids_of(masked, 9, 4)
    hidden, words = masked.exit("hidden"), masked.lexicon
    assert hidden.uri == "zoo:tiny?exit=hidden"
    assert hidden.output.kind == "embedding"
    assert hidden(x).shape == (2, 9, *hidden.output.shape)
    torch.testing.assert_close(hidden(x) @ words.weight.T + words.bias, masked(x))
    inner = Tokens(words.embeddings[x.values], x.mask)
    torch.testing.assert_close(hidden.door("embeddings")(inner), hidden(x))


def test_training_asks_for_what_the_source_tells(pieces):
    torch.manual_seed(0)
    network = MaskedNetwork(vocabulary=pieces.size, width=8, length=16, layers=1, heads=2).eval()
    ids = torch.tensor([[3, 7, 9, 4], [3, 8, 4, 0]])
    asked = torch.tensor([[0, 1, 1, 0], [0, 1, 0, 0]])
    every = masked_source(network, pieces)(Tokens(ids, ids != 0))
    torch.testing.assert_close(network(torch.stack((ids, asked), 2)), every[asked > 0])


def test_places_tell_one_word_from_another(masked):
    x = Tokens(torch.tensor([[6, 7, 8], [8, 7, 6]]), torch.ones(2, 3), torch.tensor([1, 1]))
    one, other = masked(x)
    assert not torch.allclose(one, other, atol=1e-5)


def test_text_longer_than_the_source_reads(masked):
    with pytest.raises(UserError, match="17 tokens is longer than the 16"):
        masked(ids_of(masked, 17))
