"""How much faster a rule is on the cells that live and fire than on the whole grid.

    python benchmarks/automata.py

Prints, for each rule, the median process time of one step on one thread, forward and backward to
the state, both ways, and their ratio; with the share of cells that are computed. Repetitions
alternate, so that a busy machine weighs on both alike.
"""

import statistics
import time

import torch
from torch import nn
from torch.nn import functional

from reprogram.sources.automata import DigitCell, GrowingCell
from reprogram.sources.automata.growing import FILTERS

REPETITIONS = 15


def dense_digit(cell, state):
    """The same rule, computed everywhere, noise too."""
    fire = torch.rand(state[:, :1].shape) < cell.rate
    kernel = cell.perceive.weight.reshape(cell.width, 3, 3, cell.channels).permute(0, 3, 1, 2)
    x = functional.conv2d(state, kernel, cell.perceive.bias, padding=1).relu()
    x = functional.conv2d(x, cell.hidden.weight[..., None, None], cell.hidden.bias).relu()
    update = functional.conv2d(x, cell.out.weight[..., None, None], cell.out.bias)
    update = (update + cell.noise * torch.randn_like(update)) * (fire & cell.living(state))
    return torch.cat([state[:, :1], state[:, 1:] + update], 1)


def dense_growing(cell, state):
    """The same rule, computed everywhere."""
    fire = torch.rand(state[:, :1].shape) < cell.rate
    kernels = FILTERS[:, None].repeat(cell.channels, 1, 1, 1)
    seen = functional.conv2d(state, kernels, padding=1, groups=cell.channels)
    x = functional.conv2d(seen, cell.hidden.weight[..., None, None], cell.hidden.bias).relu()
    update = functional.conv2d(x, cell.out.weight[..., None, None], cell.out.bias)
    grown = state + update * fire
    before, after = (
        functional.max_pool2d(s[:, 3:4], 3, 1, 1) > cell.threshold for s in (state, grown)
    )
    return grown * (before & after)


def seconds(step, cell, state):
    """Process time of one step, forward and backward."""
    state = state.clone().requires_grad_()
    start = time.process_time()
    end = step(cell, state)
    middle = time.process_time()
    torch.autograd.grad(end.square().sum(), state)
    return middle - start, time.process_time() - middle


def compare(name, cell, dense, state):
    """One line for each direction: medians in milliseconds, ratio."""
    nn.init.normal_(cell.out.weight, std=0.01)
    cell.requires_grad_(False)
    ways = (dense, lambda cell, state: cell(state))
    for way in ways:
        seconds(way, cell, state)
    times = [[seconds(way, cell, state) for way in ways] for _ in range(REPETITIONS)]
    share = cell.living(state).float().mean().item() * cell.rate
    for direction, word in enumerate(("forward", "backward")):
        slow, fast = (
            1000 * statistics.median(pair[way][direction] for pair in times) for way in (0, 1)
        )
        print(f"{name:8s} {share:6.1%} {word:9s} {slow:7.2f} ms {fast:7.2f} ms {slow / fast:6.1f}")


def main():
    """Both rules, at the sizes of their training."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print("rule      share direction  whole grid  few cells   ratio")
    drawn = torch.zeros(16, 1, 28, 28)
    drawn[:, :, 5:23, 10:18] = 0.5  # as many cells as a digit has
    digit = DigitCell()
    compare("digit", digit, dense_digit, digit.initial(drawn))
    growing = GrowingCell()
    state = torch.zeros(8, 16, 72, 72)
    state[:, :, 22:50, 22:50] = 0.5  # as many as the lizard
    compare("growing", growing, dense_growing, state)


if __name__ == "__main__":
    main()
