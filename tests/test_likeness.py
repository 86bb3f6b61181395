"""Measures of generated images: closed forms, brute force, laws, and what is refused."""

import math

import pytest
import torch
from tiny import image_source
from torch import nn

from reprogram import likeness as module
from reprogram.likeness import Judge, density_coverage, frechet, likeness, precision_recall
from reprogram.sources import TorchSource, zoo
from reprogram.types import InputSpec, OutputSpec, UserError

WIDTH, CLASSES = 5, 3


def samples(count, *, seed=0, width=WIDTH):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def exact(count, mean, deviations):
    """Samples whose mean and covariance are exactly these: the covariance is diagonal."""
    x = samples(count, width=len(deviations)).double()
    x = x - x.mean(0)
    x = x @ torch.linalg.inv(torch.linalg.cholesky(x.T.cov())).T  # covariance: the identity
    return x * torch.tensor(deviations) + torch.tensor(mean)


class Reader(nn.Module):
    """Images (batch, 3, 4, 4) to scores: the class is the brightest channel."""

    def features(self, x):
        return x.mean((2, 3))

    def forward(self, x):
        return 20 * self.features(x)


def judge():
    spec = InputSpec("image", (CLASSES, 4, 4), 0, 1)
    return TorchSource(Reader(), OutputSpec("classes", (CLASSES,), tuple("abc")), input=spec)


def pictures(count=60, *, seed=0):
    """Images whose channel of their class is the brightest, and the classes."""
    classes = torch.arange(count) % CLASSES
    x = torch.rand(count, CLASSES, 4, 4, generator=torch.Generator().manual_seed(seed))
    return (x + 2 * nn.functional.one_hot(classes)[:, :, None, None]) / 3, classes


# Frechet distance


def test_frechet_of_diagonal_gaussians_is_the_closed_form():
    deviations = [1.0, 2.0, 0.5, 3.0], [2.0, 2.0, 0.1, 0.0]
    a = exact(50, [0.0, 1.0, 2.0, 3.0], deviations[0])
    b = exact(70, [1.0, 1.0, 0.0, 3.0], deviations[1])
    expected = 1 + 4 + sum((s - t) ** 2 for s, t in zip(*deviations, strict=True))
    assert frechet(a, b) == pytest.approx(expected, rel=1e-6)


def test_frechet_of_gaussians_that_do_not_commute():
    """tr (C_a C_b)^1/2 by the eigenvalues of the product, which rounding spares here."""
    a, b = samples(40), samples(40, seed=1) @ samples(WIDTH, seed=2)
    roots = torch.linalg.eigvals(a.T.double().cov() @ b.T.double().cov()).real.sqrt().sum()
    expected = (a.mean(0) - b.mean(0)).square().sum() + a.var(0).sum() + b.var(0).sum() - 2 * roots
    assert frechet(a, b) == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("count", [2, 4, 40])  # of fewer rows than columns, too
def test_frechet_is_symmetric_and_zero_at_itself(count):
    a, b = 30 * samples(count), samples(count + 3, seed=1) + 2
    assert frechet(a, b) == pytest.approx(frechet(b, a), rel=1e-9)
    assert frechet(a, b) > 0
    assert frechet(a, a.clone()) == pytest.approx(0, abs=1e-4)  # of variances about 900


def test_frechet_does_not_see_a_rotation_or_an_order():
    a, b = samples(40), samples(40, seed=1) * 2 + 1
    turn = torch.linalg.qr(samples(WIDTH, seed=2))[0]
    assert frechet(a @ turn, b @ turn) == pytest.approx(frechet(a, b), rel=1e-4)
    assert frechet(a.flip(0), b) == pytest.approx(frechet(a, b), rel=1e-6)


def test_frechet_falls_as_one_over_the_rows():
    few, many = (frechet(samples(n), samples(n, seed=1)) for n in (50, 5000))
    assert many < few / 30


# Neighbours


def brute_force(images, real, k):
    """Density, coverage, precision and recall, ball by ball."""

    def reach(x):
        return [sorted(math.dist(a, b) for b in x)[k] for a in x]

    def inside(x, centres):
        return [[math.dist(a, c) <= r for c, r in zip(centres, reach(centres), strict=True)]
                for a in x]  # fmt: skip

    among_real, among_images = inside(images, real), inside(real, images)
    return (
        sum(map(sum, among_real)) / k / len(images),
        sum(map(any, zip(*among_real, strict=True))) / len(real),
        sum(map(any, among_real)) / len(images),
        sum(map(any, among_images)) / len(real),
    )


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("block", [7, 500])
def test_neighbours_as_by_brute_force(k, block, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", block)
    images, real = samples(20, width=2) + 0.5, samples(33, seed=1, width=2)
    told = (
        *density_coverage(images, real, neighbours=k),
        *precision_recall(images, real, neighbours=k),
    )
    assert told == pytest.approx(brute_force(images.double().tolist(), real.double().tolist(), k))


def test_everything_of_itself_is_whole():
    """A ball holds its k neighbours and its centre: rounding may cost it the one on its edge."""
    x = samples(60)
    density, coverage = density_coverage(x, x)
    assert 1 <= density <= 1 + 1 / 5
    assert coverage == 1
    assert precision_recall(x, x) == (1.0, 1.0)


def test_equal_samples_far_from_the_origin_are_no_distance_apart():
    x = (1e3 + samples(10)).repeat(4, 1)
    assert density_coverage(x, x, neighbours=2)[1] == 1.0
    assert precision_recall(x, x, neighbours=2) == (1.0, 1.0)


def test_lost_modes_cost_recall_and_coverage_and_strangers_precision():
    modes = torch.tensor([[0.0] * WIDTH, [50.0] * WIDTH])
    real = samples(100) + modes[torch.arange(100) % 2]
    one, strange = samples(100, seed=1), samples(100, seed=2) - 50
    assert density_coverage(one, real)[1] < 0.55
    precision, recall = precision_recall(one, real)
    assert precision > 0.8
    assert recall < 0.55
    assert precision_recall(strange, real) == (0.0, 0.0)
    assert density_coverage(strange, real) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("function", "a", "b", "message"),
    [
        (frechet, samples(1), samples(9), r"'a' has the shape \(1, 5\).*2 rows"),
        (frechet, samples(9), samples(9, width=4), "'a' has width 5 and 'b' 4"),
        (frechet, samples(9), samples(9) / 0, "'b' holds numbers that are not finite"),
        (density_coverage, samples(9), samples(5), "'neighbours' is 5, but 'real' has 5 rows"),
        (precision_recall, samples(3), samples(9), "'neighbours' is 3, but 'images' has 3 rows"),
    ],
)  # fmt: skip
def test_samples_that_are_refused(function, a, b, message):
    with pytest.raises(UserError, match=message):
        function(a, b)


# All of it, by a judge


def test_real_images_are_like_themselves():
    x, classes = pictures()
    before = x.clone()
    told = likeness(x, x, classes, classes, judge())
    assert list(told) == ["wanted", "fid", "intra_fid", "coverage", "recall", "precision"]
    assert all(isinstance(value, float) for value in told.values())
    assert told["wanted"] == told["coverage"] == told["recall"] == told["precision"] == 1
    assert told["fid"] == pytest.approx(0, abs=1e-6)
    assert told["intra_fid"] == pytest.approx(0, abs=1e-6)
    assert torch.equal(x, before)


def test_classes_exchanged_show_within_the_classes_alone():
    x, classes = pictures()
    told = likeness(x, x, (classes + 1) % CLASSES, classes, judge())
    assert told["wanted"] == 0
    assert told["fid"] == pytest.approx(0, abs=1e-6)
    assert told["intra_fid"] > 0.1


def test_share_of_wanted_and_means_over_classes():
    x, classes = pictures()
    other, _ = pictures(seed=1)
    wanted = classes.clone()
    wanted[:6] = (wanted[:6] + 1) % CLASSES
    told = likeness(other, x, wanted, classes, judge())
    assert told["wanted"] == pytest.approx(1 - 6 / 60)
    within = [frechet(other[wanted == c].mean((2, 3)), x[classes == c].mean((2, 3)))
              for c in range(CLASSES)]  # fmt: skip
    assert told["intra_fid"] == pytest.approx(sum(within) / CLASSES)


def test_judges_of_every_kind_say_the_same():
    (x, classes), (real, known) = pictures(seed=1), pictures()
    source, reader = judge(), Reader()
    told = likeness(x, real, classes, known, source)
    for other in ((reader, reader.features), Judge(reader, reader.features, (CLASSES, 4, 4))):
        assert likeness(x, real, classes, known, other) == told
    # bytes are read as pixels, and twice the size as the same picture
    coarse, fine = (255 * x).byte(), x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert likeness(coarse, real, classes, known, source)["fid"] == pytest.approx(
        told["fid"], rel=0.1
    )
    assert likeness(fine, real, classes, known, source)["wanted"] == told["wanted"]


def test_grey_images_reach_a_judge_of_colours_and_the_other_way():
    grey = torch.rand(12, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    shape = (3, 4, 4)
    met = []
    eyes = Judge(lambda x: met.append(x) or Reader()(x), Reader().features, shape)
    classes = torch.arange(12) % CLASSES
    likeness(grey, grey, classes, classes, eyes)
    assert met[0].shape == (12, *shape)
    assert torch.equal(met[0][:, 0], met[0][:, 2])
    flat = lambda x: x.flatten(1)  # noqa: E731
    one = Judge(lambda x: met.append(x) or flat(x), flat, (1, 4, 4))
    colours, _ = pictures(12)
    likeness(colours, grey, classes, classes, one)
    torch.testing.assert_close(met[-2], colours.mean(1, keepdim=True))


def test_judge_that_ships_and_the_one_that_took_no_part(data_root, monkeypatch):
    monkeypatch.setenv("REPROGRAM_DATA", str(data_root))
    x = torch.rand(20, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    classes = torch.arange(20) % 2
    for name in ("digits", "mnist-lenet"):
        assert likeness(x, x, classes, classes, zoo.load(name))["fid"] < 1e-3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes_wanted": torch.zeros(60).long()}, "class 1 has 0 generated images"),
        ({"real_classes": torch.arange(60) % 2}, "class 2 has 0 real images"),
        ({"classes_wanted": torch.zeros(3).long()}, "'images' has 60 rows, but their classes 3"),
        ({"images": torch.rand(60, 2, 4, 4)}, "'images' has 2 channels and the judge takes 3"),
        ({"judge": image_source()}, "'judge' shows no features"),
        ({"images": torch.full((60, 3, 4, 4), torch.nan)}, "not finite"),
    ],
)
def test_images_that_are_refused(change, message):
    x, classes = pictures()
    given = {"images": x, "real": x, "classes_wanted": classes, "real_classes": classes,
             "judge": judge()} | change  # fmt: skip
    with pytest.raises(UserError, match=message):
        likeness(**given)


def test_class_that_the_judge_does_not_know():
    x, classes = pictures()
    classes = classes + 1
    with pytest.raises(UserError, match="class 3 is wanted, but the judge tells 3"):
        likeness(x, x, classes, classes, judge())
