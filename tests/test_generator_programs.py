"""Programs of generators: noise for a wanted class, and the discriminator that they are up to."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from tiny import image_task
from tiny_generators import NOISE, drawing_source, drawing_spec, drawing_task, shown
from torch import Tensor, nn
from torch.nn import functional as F
from typechecker import unchecked

from reprogram import Program, optim, parts
from reprogram.criteria import Adversarial
from reprogram.criteria.adversarial import scattered, shifted
from reprogram.criteria.discriminators import NETWORKS, Discriminator, Plain, SeparateHeads
from reprogram.diagnose import conditional_gan, random_source, rejection
from reprogram.model import Reprogrammed
from reprogram.recipes import find, gan_noise, inrep
from reprogram.sources import CallableSource, TorchSource
from reprogram.train import Training, fit
from reprogram.transformations import ClassNoise, SharedNoise, Transformation
from reprogram.transformations.noise import largest
from reprogram.types import InputSpec, OutputSpec, TaskSpec, UserError

PARTS = {"class": lambda: ClassNoise(hidden=16), "shared": lambda: SharedNoise(embedding=2)}
SMALL: dict[str, Any] = {"shift": 1, "width": 4, "batch_size": 20, "epochs": 3}
WANTED = torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0])


@pytest.fixture(params=PARTS)
def part(request) -> Transformation:
    made = PARTS[request.param]()
    made.bind(drawing_source(), drawing_spec())
    return made


def criterion(**settings: Any) -> Adversarial:
    made = Adversarial(**{"width": 4, "learning_rate": 0.01, **settings})
    made.bind(drawing_source(), drawing_spec())
    return made


def batch(n: int = 20) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Fakes, which are dark, reals, weights and classes."""
    x, real, weight = drawing_task(n).train.batch(torch.arange(n))
    return 0.3 * torch.rand(real.shape), real, weight, x.long()


def test_noise_of_the_sources_size(part: Transformation) -> None:
    noise = part(part.prepare(WANTED))
    assert noise.shape == (5, NOISE)
    assert not torch.equal(noise, part(part.prepare(WANTED)))  # drawn anew


def test_nothing_is_wanted(part: Transformation) -> None:
    assert part(part.prepare(WANTED[:0])).shape == (0, NOISE)


def test_equal_generators_draw_equal_noise(part: Transformation) -> None:
    part.eval()
    torch.manual_seed(3)
    first = part(part.prepare(WANTED))
    torch.manual_seed(3)
    assert torch.equal(first, part(part.prepare(WANTED)))


def test_a_gradient_reaches_the_program_alone(part: Transformation) -> None:
    source, judge = drawing_source(), criterion()
    fake, real, weight, y = batch()
    del fake
    judge(source(part(part.prepare(y.float()))), real, weight).mean().backward()
    for name, parameter in part.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    for other in (*source.parameters(), *judge.parameters()):
        assert other.grad is None and not other.requires_grad


@pytest.mark.parametrize("training", [True, False])
def test_classes_share_nothing(training: bool) -> None:
    """The batched networks against one torch network for each class."""
    part = ClassNoise(hidden=7, layers=3, inner=4)
    part.bind(drawing_source(), drawing_spec())
    part.train(training)
    with torch.no_grad():
        for tensor in (part.scale, part.variances):
            tensor.uniform_(0.5, 2)
        for tensor in (part.shift, part.means, *part.biases):
            tensor.normal_()
    alone = [_network(part, label).train(training) for label in (0, 1)]
    y = part.prepare(WANTED)
    torch.manual_seed(0)
    u = torch.randn(len(y), 4)
    torch.manual_seed(0)
    together = part(y)
    for label, network in enumerate(alone):
        torch.testing.assert_close(together[y == label], network(u[y == label]))
        norms = [layer for layer in network if isinstance(layer, nn.BatchNorm1d)]
        for i, norm in enumerate(norms):
            torch.testing.assert_close(part.means[i, label], norm.running_mean)
            torch.testing.assert_close(part.variances[i, label], norm.running_var)


def _network(part: ClassNoise, label: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i, (weight, bias) in enumerate(zip(part.weights, part.biases, strict=True)):
        layers.append(nn.Linear(weight.shape[1], weight.shape[2]))
        layers[-1].weight.data = weight[label].T.detach().clone()
        layers[-1].bias.data = bias[label, 0].detach().clone()
        if i + 1 < part.layers:
            norm = nn.BatchNorm1d(part.hidden)
            norm.weight.data, norm.bias.data = part.scale[i, label].data, part.shift[i, label].data
            norm.running_mean = part.means[i, label].clone()
            norm.running_var = part.variances[i, label].clone()
            layers += [norm, nn.LeakyReLU(0.1)]
    return nn.Sequential(*layers)


def test_a_lone_sample_is_normalised_by_what_ran_before() -> None:
    part = ClassNoise(hidden=7)
    part.bind(drawing_source(), drawing_spec())
    alone = part.prepare(torch.tensor([1.0]))
    torch.manual_seed(0)
    trained = part(alone)
    torch.manual_seed(0)
    torch.testing.assert_close(trained, part.eval()(alone))
    assert part.means.abs().sum() == 0


@pytest.mark.parametrize("bound", [0.5, 0.97, 1.0])
def test_matrices_are_bounded(bound: float) -> None:
    part = SharedNoise(embedding=2, bound=bound)
    part.bind(drawing_source(), drawing_spec())
    with torch.no_grad():
        for layer in part.layers:
            layer.weight.mul_(10 * torch.rand(()))  # pyright: ignore
    for (first, _), (second, _) in part._pairs():
        for matrix in (first, second):
            assert torch.linalg.svdvals(matrix)[0] <= bound + 1e-4


def test_the_gradient_of_the_largest_singular_value() -> None:
    weight = torch.randn(4, 3, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(largest, weight)


def test_the_shared_network_has_an_inverse() -> None:
    part = SharedNoise(embedding=2)
    part.bind(drawing_source(), drawing_spec())
    y = part.prepare(WANTED)
    torch.manual_seed(0)
    u = torch.randn(len(y), NOISE - 2)
    torch.manual_seed(0)
    found = part.inverse(part(y))
    torch.testing.assert_close(found, torch.cat([u, part.table[y]], 1), atol=1e-4, rtol=1e-4)


def test_a_row_of_zeros_has_no_loss() -> None:
    judge = criterion()
    fake, real, weight, _ = batch()
    weight[3] = 0
    losses = judge(fake, real, weight)
    assert losses.shape == (20,)
    assert losses[3] == 0
    judge.observe(fake, real, weight)
    assert judge.kept is not None and len(judge.kept[0][0]) == 19
    judge.observe(fake, real, torch.zeros_like(weight))
    before = [p.clone() for p in judge.parameters()]
    judge.advance(0, 1)  # nothing to learn from
    assert all(map(torch.equal, before, judge.parameters()))


@pytest.mark.parametrize("heads", ["shared", "separate"])
@pytest.mark.parametrize("unlabelled", [0.0, 1.0])
def test_the_discriminator_learns(heads: Any, unlabelled: float) -> None:
    judge = criterion(heads=heads, unlabelled=unlabelled, warm=5)
    fake, real, weight, y = batch()
    before = float(judge.hinge((fake, y), (real, y)))
    for step in range(15):
        judge.observe(fake, real, weight)
        judge.advance(step, 60)
    assert float(judge.hinge((fake, y), (real, y))) < 0.5 * before
    assert judge(real, real, weight).mean() < judge(fake, real, weight).mean()


def test_images_are_moved_by_a_few_pixels() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.zeros(40, 1, 8, 8)
    x[:, :, 4, 4] = 1
    places = scattered(x, 2, generator)[:, 0].nonzero()[:, 1:]
    assert len(places) == 40 and set(places.flatten().tolist()) == {2, 3, 4, 5, 6}
    assert len(shifted(x, 2, generator)[:, 0].nonzero()[:, 1:].unique(dim=0)) == 1
    assert torch.equal(scattered(x, 0, generator), x)


def test_evaluations_of_a_step_meet_the_same_shift() -> None:
    judge = criterion(shift=2)
    fake, real, weight, _ = batch()
    first = judge(fake, real, weight)
    assert torch.equal(first, judge(fake, real, weight))
    judge.observe(fake, real, weight)
    judge.advance(0, 9)
    other = criterion(shift=2)
    other.load_state_dict(judge.state_dict())
    assert torch.equal(judge(fake, real, weight), other(fake, real, weight))


def test_separate_discriminators_share_nothing() -> None:
    network = SeparateHeads((1, 8, 8), 2, width=4).eval()
    x, y = torch.rand(6, 1, 8, 8), torch.tensor([1, 0, 1, 1, 0, 1])
    scores = network(x, y)
    for label in (0, 1):
        torch.testing.assert_close(scores[y == label], network.networks[label](x[y == label])[:, 0])


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize(
    "shape",
    [
        (1, 4, 4),
        (1, 8, 8),
        (1, 28, 28),
        (3, 32, 32),
        (3, 13, 30),
        (1, 17, 9),
        (1, 9, 36),
        (1, 4, 16),
    ],
)
def test_discriminators_of_any_size(shape: tuple[int, int, int], kind: str) -> None:
    network = NETWORKS[kind](shape, 3, width=2)
    assert network(torch.rand(2, *shape)).shape == (2, 3)


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_discriminator_holds_every_layer(kind: str) -> None:
    network = NETWORKS[kind]((1, 16, 16), 3, width=4)
    for _ in range(30):  # of the power method
        network(torch.rand(2, 1, 16, 16))
    layers = [m for m in network.eval().modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert len(layers) > 2
    for layer in layers:
        largest = float(torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2))
        assert largest == pytest.approx(1, abs=0.1)


def test_the_share_of_good_images_rises() -> None:
    judge = criterion(unlabelled=1.0, warm=4)
    shares = [judge.share(step, 10) for step in range(12)]
    assert shares[:5] == [0, 0, 0, 0, 0.5]
    assert shares == sorted(shares) and shares[9] == shares[11] == 1.0
    assert criterion().share(9, 10) == 0
    assert criterion(unlabelled=0.3, warm=4).share(9, 10) == 0.3


def test_the_loss_of_unlabelled_images() -> None:
    judge = criterion()
    fake, real, _, y = batch()
    judge.discriminator = nn.Identity()
    judge.discriminator.forward = lambda x, y: x.mean((1, 2, 3)) + y  # pyright: ignore
    d_real, d_fake = real.mean((1, 2, 3)) + y, fake.mean((1, 2, 3)) + y
    r, rg = F.relu(1 - d_real).mean(), F.relu(1 + d_real).mean()
    f = F.relu(1 + d_fake).mean()
    torch.testing.assert_close(judge.hinge((fake, y), (real, y)), r + f)
    wanted = 1.4 * r + F.relu(f - 0.4 * rg)
    torch.testing.assert_close(judge.hinge((fake, y), (real, y), 0.4), wanted)


def test_real_images_of_other_classes_count_as_generated() -> None:
    plain, judge = criterion(), criterion(others=True)
    fake, real, _, y = batch()
    told = judge.discriminator.network(real)  # (20, classes)
    foreign = [
        float((1 + told[i, c]).relu()) for i in range(len(y)) for c in range(told.shape[1])
        if c != y[i]
    ]  # fmt: skip
    without = plain.hinge((fake, y), (real, y), 0.3)
    found = judge.hinge((fake, y), (real, y), 0.3)
    torch.testing.assert_close(found, without + sum(foreign) / len(foreign))


RECIPES = {"gan-noise": gan_noise, "inrep": lambda *a, **k: inrep(*a, embedding=2, **k)}


@pytest.mark.parametrize("name", ["gan-noise", "inrep"])
def test_remembers_every_parameter(name: str) -> None:
    source, task = drawing_source(), drawing_task()
    training = find(name)(source, task, width=4, seed=5)
    again = find(name)(source, task, **json.loads(json.dumps(training.parameters)))
    assert again.parameters == training.parameters
    assert parts.describe(again.transformation) == parts.describe(training.transformation)
    assert training.transformation.seed == training.criterion.seed == 5  # pyright: ignore
    assert not training.keep_best
    scheduler = training.optimizer.scheduler  # pyright: ignore
    assert scheduler is optim.linear


@pytest.mark.parametrize("name", RECIPES)
def test_a_resumed_run_is_the_unbroken_one(name: str, tmp_path) -> None:
    def training() -> Training:
        return RECIPES[name](drawing_source(), drawing_task(), **SMALL)

    whole = fit(training(), drawing_task())

    def stop(progress: Any) -> None:
        if progress.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(training(), drawing_task(), tmp_path / "run", progress=stop, checkpoint_seconds=0)
    resumed = fit(training(), drawing_task(), tmp_path / "run", resume=True)
    for key, tensor in whole.tensors().items():
        assert torch.equal(tensor, resumed.tensors()[key]), key
    assert whole.metrics["test"] == resumed.metrics["test"]


@pytest.mark.parametrize("name", RECIPES)
def test_a_saved_program_draws_the_same(name: str, tmp_path) -> None:
    program = fit(RECIPES[name](drawing_source(), drawing_task(), **SMALL), drawing_task())
    assert program.metrics["source_unchanged"]
    assert not any("discriminator" in key for key in program.tensors())
    program.save(tmp_path / "run")
    loaded = Program.load(tmp_path / "run", drawing_source())
    first, second = (_drawn(p.model, WANTED) for p in (program, loaded))
    assert torch.equal(first, second)


@torch.no_grad()
def _drawn(model: Reprogrammed, wanted: Tensor) -> Tensor:
    model.eval()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return model(wanted)


LEARNED = {
    "gan-noise": {"hidden": 16, "width": 4, "learning_rate": 0.01, "epochs": 60},
    "inrep": {"width": 8, "learning_rate": 0.03, "updates": 3, "epochs": 100},
}


@pytest.mark.parametrize("name", RECIPES)
def test_draws_what_is_wanted(name: str) -> None:
    same = {"shift": 0, "updates": 2, "batch_size": 40, "discriminator_lr": 0.01}
    task = drawing_task(test=0)
    program = fit(RECIPES[name](drawing_source(), task, **{**same, **LEARNED[name]}), task)
    wanted = torch.arange(200.0) % 2
    right = shown(_drawn(program.model, wanted)) == wanted.long()
    assert right.float().mean() > 0.95


def test_a_random_source_is_a_control() -> None:
    told = random_source(gan_noise, drawing_source(), drawing_task(), **{**SMALL, "epochs": 1})
    assert 0 < told["mse"] < 1


def test_rejection_draws_what_is_wanted() -> None:
    """Its images are of the wanted pictures, though not those that are asked for."""
    task = drawing_task()
    told = rejection(drawing_source(), task)
    assert told["mse"] < 0.1
    assert 0 < told["kept"] <= 1


def test_a_gan_is_no_control_of_classes() -> None:
    with pytest.raises(UserError, match="corners asks for classes"):
        conditional_gan(image_task())


def test_a_conditional_gan_is_trained_from_scratch() -> None:
    told = conditional_gan(drawing_task(), steps=2, batch_size=20, width=4, channels=8)
    assert 0 < told["mse"] < 1


def image_source() -> TorchSource:
    spec = InputSpec("image", (1, 8, 8), 0, 1)
    return TorchSource(nn.Identity(), OutputSpec("image", (1, 8, 8)), input=spec)


BOUNDED = CallableSource(len, InputSpec("noise", (6,), -1, 1), OutputSpec("image", (1, 8, 8)))
SCORES = TaskSpec("digits", InputSpec("class", ()), ("a", "b"))
WRONG = {
    "class 'standing' has 0 of 20": lambda: ClassNoise().bind(
        drawing_source(), drawing_spec((20, 0))
    ),
    "takes 'image'": lambda: SharedNoise().bind(image_source(), drawing_spec()),
    "takes -1 to 1": lambda: SharedNoise().bind(BOUNDED, drawing_spec()),
    "'embedding' is 6, and the source takes 6": (
        lambda: SharedNoise(embedding=6).bind(drawing_source(), drawing_spec())
    ),
    "'embedding' is 0": lambda: SharedNoise(embedding=0),
    "'bound' is 1.5": lambda: SharedNoise(bound=1.5),
    "'bound' is 1,": lambda: SharedNoise(bound=1).inverse(torch.zeros(1, 6)),
    "'layers' is 0": lambda: ClassNoise(layers=0),
    "'heads' is 'both'": lambda: Adversarial(heads="both"),  # pyright: ignore
    "'network' is 'deep'": lambda: Adversarial(network="deep"),  # pyright: ignore
    "'others' is True": lambda: Adversarial(heads="separate", others=True),
    "'unlabelled' is 1.1": lambda: Adversarial(unlabelled=1.1),
    "'steps' is 0": lambda: Adversarial(steps=0),
    "'learning_rate' is 0": lambda: Adversarial(learning_rate=0),
    "'betas' is": lambda: Adversarial(betas=(0.5, 1.0)),
    "digits asks for classes": lambda: Adversarial().bind(drawing_source(), SCORES),
    "at least 4 x 4": lambda: Discriminator((1, 3, 8), 2),
    r"these are \(1, 8, 3\)": lambda: Plain((1, 8, 3), 2),
    r"4 times the other; these are \(1, 4, 64\)": lambda: Discriminator((1, 4, 64), 2),
}


@pytest.mark.parametrize("told", WRONG)
def test_mistakes_are_told_in_a_line(told: str) -> None:
    with pytest.raises(UserError, match=told) as error, unchecked():
        WRONG[told]()
    assert "\n" not in str(error.value)


def test_a_class_that_is_not_there(part: Transformation) -> None:
    with pytest.raises(UserError, match="class 2 is wanted, and the program has 2"):
        part.prepare(torch.tensor([0.0, 2.0]))
