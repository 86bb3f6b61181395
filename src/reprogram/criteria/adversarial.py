"""A loss of images that is learned: what a discriminator takes for real."""

from __future__ import annotations

from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from reprogram.criteria.base import Criterion
from reprogram.criteria.discriminators import NETWORKS, Kind, SeparateHeads, SharedHeads
from reprogram.draws import forked_rng
from reprogram.types import SourceLike, TaskSpec, UserError

Heads = Literal["shared", "separate"]
HEADS: dict[str, type[nn.Module]] = {"shared": SharedHeads, "separate": SeparateHeads}
Images = tuple[Tensor, Tensor]  # (batch, channels, height, width) and their classes (batch,)


class Adversarial(Criterion):
    """``-D_y(image)``: how little a discriminator takes an image for a real one of its class.

    The discriminator is trained beside the program on the same batches, by the hinge loss
    ``R + F = E relu(1 - D_y(real)) + E relu(1 + D_y(fake))``. It learns from the images that the
    program has just made, in ``steps`` updates, each on its share of the batch: five of a batch of
    320 are the papers' five updates on 64 and one of the program on 320. Its learning rate falls
    along a line to zero. It is no part of the program, and a checkpoint keeps it.

    With ``unlabelled`` a generated image counts as an image without a label, of which a share pi is
    as good as real: after ``warm`` steps of the plain loss it is
    ``(1 + pi) R + relu(F - pi E relu(1 + D_y(real)))``, and pi rises along a line from one divided
    by the number of classes to ``unlabelled``, which in the paper is 1.

    With ``others`` a real image counts as generated to every other class's head, so that a class is
    more than "a real image": the papers do not, and an image of a wrong class then goes unpunished.

    With ``shift`` what the discriminator sees is moved by a few pixels, reals and fakes alike, so
    that it cannot learn few reals by heart. The papers do not.

    Valid for tasks that want images; the class of each is the largest in its row of ``weight``
    (batch, classes), and a row of zeros has no label and the loss 0.

    References:
        | Improved Input Reprogramming for GAN Conditioning (Dinh, Seo, Du, Shang, Lee, 2022),
          section 4.2: one discriminator with a head for each class, ``unlabelled=1``.
          https://arxiv.org/abs/2201.02692
        | Reprogramming GANs via Input Noise Design (Lee, Seo, Varshney, 2020, ECML PKDD):
          ``heads="separate"``
        | Differentiable Augmentation for Data-Efficient GAN Training (Zhao, Liu, Lin, Zhu, Han,
          2020): ``shift``. https://arxiv.org/abs/2006.10738
        | Generative Adversarial Text to Image Synthesis (Reed, Akata, Yan, Logeswaran, Schiele,
          Lee, 2016), section 4.2: ``others``, there a wrong text. https://arxiv.org/abs/1605.05396

    Arguments:
        heads: One discriminator with a head for each class (``"shared"``), or a discriminator for
            each (``"separate"``).
        unlabelled: Share of the generated images that at the end counts as real, in [0, 1]; 0 for
            none.
        others: Whether real images of other classes count as generated ones, too; for shared heads.
        warm: Steps of the plain loss before they do, >= 0.
        steps: Updates of the discriminator for each of the program's, >= 1.
        learning_rate: Of its Adam, > 0.
        betas: Of its Adam, each in [0, 1).
        width: Channels of the discriminator, >= 1.
        network: Residual blocks and a sum over places, as in the papers (``"residual"``), or
            convolutions and every place (``"plain"``), for a generator that cannot draw yet.
        shift: Most pixels by which an image is moved each way, >= 0.
        seed: Of its first weights, and of the shifts.

    Raises:
        UserError: if an argument is out of its range.

    Example:
        >>> from reprogram.sources import CallableSource
        >>> from reprogram.types import InputSpec, OutputSpec
        >>> source = CallableSource(
        ...     len, InputSpec("noise", (6,)), OutputSpec("image", (1, 8, 8)))
        >>> criterion = Adversarial(width=4)
        >>> criterion.bind(source, TaskSpec(
        ...     "toy", InputSpec("class", ()), ("a", "b"), target="image", shape=(1, 8, 8)))
        >>> fake, real = torch.rand(3, 1, 8, 8), torch.rand(3, 1, 8, 8)
        >>> weight = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
        >>> loss = criterion(fake, real, weight)
        >>> loss.shape, bool(loss[2] == 0)
        (torch.Size([3]), True)
    """

    discriminator: Any

    def __init__(
        self,
        *,
        heads: Heads = "shared",
        unlabelled: float = 0.0,
        others: bool = False,
        warm: int = 30,
        steps: int = 5,
        learning_rate: float = 2e-4,
        betas: tuple[float, float] = (0.0, 0.9),
        width: int = 32,
        network: Kind = "residual",
        shift: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if heads not in HEADS:
            raise UserError(f"argument 'heads' is {heads!r}; give {' or '.join(map(repr, HEADS))}")
        if network not in NETWORKS:
            known = " or ".join(map(repr, NETWORKS))
            raise UserError(f"argument 'network' is {network!r}; give {known}")
        if others and heads != "shared":
            raise UserError("argument 'others' is True, and separate heads see their own class "
                            "alone; give heads='shared'")  # fmt: skip
        whole = {"warm": (warm, 0), "steps": (steps, 1), "width": (width, 1), "shift": (shift, 0)}
        for name, (value, least) in whole.items():
            if value < least:
                raise UserError(f"argument {name!r} is {value}; give {least} or more")
        if not 0 <= unlabelled <= 1:
            raise UserError(f"argument 'unlabelled' is {unlabelled}; give a share in [0, 1]")
        if not 0 < learning_rate < float("inf"):
            raise UserError(f"argument 'learning_rate' is {learning_rate}; give a positive number")
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise UserError(f"argument 'betas' is {betas}; give two numbers in [0, 1)")
        self.heads, self.unlabelled, self.others = heads, unlabelled, others
        self.warm, self.steps = warm, steps
        self.learning_rate, self.betas, self.width = learning_rate, betas, width
        self.network, self.shift, self.seed = network, shift, seed

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Create the discriminator under the seed.

        Raises:
            UserError: if the task wants no images of classes.
        """
        del source
        if task.target != "image" or not task.classes:
            raise UserError(f"{type(self).__name__} reads images of classes; {task.name} asks for "
                            f"{task.target} of {len(task.classes)} classes")  # fmt: skip
        self.classes = len(task.classes)
        with forked_rng(self.seed, 0):
            sizes = {"width": self.width, "network": self.network}
            network = HEADS[self.heads](task.shape, self.classes, **sizes)
        # Quicker on a CPU, the same numbers.
        self.discriminator = network.to(memory_format=torch.channels_last)  # pyright: ignore
        self.discriminator.requires_grad_(False).eval()
        self.optimizer = torch.optim.Adam(
            self.discriminator.parameters(), lr=self.learning_rate, betas=self.betas
        )
        self.kept: tuple[Images, Images] | None = None  # fakes and reals of a step
        self.step = 0

    def train(self, mode: bool = True) -> Adversarial:
        """The discriminator itself is in training within its own updates only."""
        del mode
        return super().train(False)

    def forward(
        self,
        prediction: Float[Tensor, "batch channels height width"],
        target: Float[Tensor, "batch channels height width"],
        weight: Float[Tensor, "batch classes"],
    ) -> Float[Tensor, " batch"]:
        """One loss a sample, times its weight."""
        del target
        # One shift for all: each evaluation of a step must meet the same.
        seen = shifted(prediction, self.shift, self._generator(2 * self.step))
        return -self.discriminator(seen, weight.argmax(1)) * weight.sum(1)

    def observe(self, prediction: Tensor, target: Tensor, weight: Tensor) -> None:
        """Keep the labelled images of a step, for :meth:`advance`."""
        told = weight.sum(1) > 0
        y, fakes, reals = weight.argmax(1)[told], prediction.detach()[told], target[told]
        self.kept = ((fakes, y), (reals.to(fakes.dtype), y)) if len(y) else None

    def advance(self, step: int, steps: int) -> None:
        """The discriminator's updates on what was observed."""
        self.step = step + 1
        if self.kept is None:
            return
        (fakes, y), (reals, _) = self.kept
        self.kept = None
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * (1 - step / steps)
        pi, generator = self.share(step, steps), self._generator(2 * step + 1)
        self.discriminator.requires_grad_(True).train()
        for fake, real, own in zip(
            *(part.chunk(self.steps) for part in (fakes, reals, y)), strict=True
        ):
            fake, real = (scattered(part, self.shift, generator) for part in (fake, real))
            self.optimizer.zero_grad(set_to_none=True)
            self.hinge((fake, own), (real, own), pi).backward()
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.discriminator.requires_grad_(False).eval()

    def share(self, step: int, steps: int) -> float:
        """pi: which share of the generated images is as good as real."""
        if not self.unlabelled or step < self.warm:
            return 0.0
        first, last = min(1 / self.classes, self.unlabelled), self.unlabelled
        passed = min((step - self.warm) / max(steps - self.warm - 1, 1), 1.0)
        return first + passed * (last - first)

    def hinge(self, fakes: Images, reals: Images, pi: float = 0.0) -> Tensor:
        """The discriminator's loss, a scalar; plain for pi = 0.

        Arguments:
            fakes: Generated images and their wanted classes.
            reals: Real ones and theirs.
            pi: Share of the generated images that is as good as real, in [0, 1].
        """
        images, y = (torch.cat(pair) for pair in zip(fakes, reals, strict=True))
        if self.others:
            told = self.discriminator.network(images)  # (fakes + reals, classes)
            scores = told.gather(1, y[:, None])[:, 0]
            foreign = told[len(fakes[0]) :][~F.one_hot(reals[1], self.classes).bool()]
            mistaken = (1 + foreign).relu().mean()
        else:
            scores, mistaken = self.discriminator(images, y), 0.0
        fake, real = scores.split([len(fakes[0]), len(reals[0])])
        r, rg, f = (1 - real).relu().mean(), (1 + real).relu().mean(), (1 + fake).relu().mean()
        return (1 + pi) * r + (f - pi * rg).relu() + mistaken

    def get_extra_state(self) -> dict[str, Any]:
        """The discriminator's optimiser and the step, for a checkpoint."""
        return {"optimizer": self.optimizer.state_dict(), "step": self.step}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`get_extra_state`, after :meth:`bind`."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]

    def _generator(self, number: int) -> torch.Generator:
        """Of the shifts: the program's step and the updates have numbers of their own."""
        return torch.Generator().manual_seed(hash((self.seed, number)) % 2**63)


def shifted(x: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Images (batch, channels, height, width) moved together by up to so many pixels.

    Example:
        >>> shifted(torch.ones(1, 1, 2, 2), 1, torch.Generator().manual_seed(2))
        tensor([[[[0., 0.],
                  [0., 1.]]]])
    """
    if most == 0:
        return x
    down, right = torch.randint(2 * most + 1, (2,), generator=generator).tolist()
    height, width = x.shape[2:]
    return F.pad(x, (most,) * 4)[..., down : down + height, right : right + width]


def scattered(x: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """The same, each image by itself."""
    return torch.cat([shifted(image, most, generator) for image in x.split(1)]) if most else x
