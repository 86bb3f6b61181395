"""Where a run of an automaton starts: a sample of the task as a state."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from reprogram.draws import forked_rng
from reprogram.types import Cells, SourceLike, TaskSpec, UserError

State = Float[Tensor, "batch channels height width"]
Room = Bool[Tensor, "batch 1 height width"]
PICTURE = 0.1  # alpha above which a cell belongs to a picture


@runtime_checkable
class Cell(Protocol):
    """What a program asks of an automaton's rule."""

    channels: int

    def living(self, state: Tensor) -> Tensor: ...
    def fresh(self, generator: torch.Generator) -> nn.Module: ...


def rule_of(part: nn.Module, source: SourceLike) -> Any:
    """The rule of an automaton.

    Raises:
        UserError: if the source has none, or does not take a state.
    """
    modules = source.modules() if isinstance(source, nn.Module) else ()
    for module in modules:
        if source.input.kind == "state" and isinstance(module, Cell):
            return module
    raise UserError(f"{type(part).__name__} runs inside an automaton; source "
                    f"{source.uri or 'given'} takes {source.input.kind!r} and has no rule: take "
                    "zoo:mnist-ca or zoo:growing-ca")  # fmt: skip


class Start(nn.Module):
    """Makes states of samples, and says what of a state is the sample itself.

    Attributes:
        fixed: Leading channels that hold the sample and that nothing may change.
        shape: Of a state (channels, height, width).
        key: Shape of what tells one sample from another.
    """

    fixed: int
    shape: tuple[int, int, int]
    key: tuple[int, ...]

    def state(self, x: Tensor) -> State:
        """A new state for each sample."""
        raise NotImplementedError

    def room(self, state: State) -> Room:
        """Where a program may place a cell of its own, given the new states."""
        raise NotImplementedError

    def carried(self, kept: State, new: State) -> State:
        """States that other samples came to, as states of these samples."""
        raise NotImplementedError

    def held(self, state: State, before: State) -> State:
        """The state with what is fixed as it was before."""
        if not self.fixed:
            return state
        return torch.cat([before[:, : self.fixed], state[:, self.fixed :]], 1)


class Drawn(Start):
    """An image written into the first channel; the others are zero.

    Arguments:
        rule: Of the automaton: makes states of images and says where cells live.
        shape: Of the images (1, height, width).
    """

    fixed = 1

    def __init__(self, rule: Any, shape: tuple[int, ...]) -> None:
        super().__init__()
        self._rule = (rule,)  # the source's, and no part of the program
        self.shape = (rule.channels, *shape[1:])  # pyright: ignore[reportAttributeAccessIssue]
        self.key = tuple(shape)

    def state(self, x: Tensor) -> State:
        """(batch, 1, height, width) -> (batch, channels, height, width)."""
        return self._rule[0].initial(x)

    def room(self, state: State) -> Room:
        """Everywhere: another digit may be written over this one."""
        return torch.ones_like(state[:, :1], dtype=torch.bool)

    def carried(self, kept: State, new: State) -> State:
        """Kept where the new image lives."""
        return self.held(kept * self._rule[0].living(new), new)


class Planted(Start):
    """One living cell in the middle (0), or what the untouched automaton has grown from it (1).

    Arguments:
        rule: Of the automaton: plants the seed.
        source: Runs it.
        size: Height and width of the grid.
        steps: For which the grown state has grown.
    """

    fixed = 0
    key = ()
    states: Tensor

    def __init__(self, rule: Any, source: Any, size: tuple[int, int], steps: int) -> None:
        super().__init__()
        self.shape = (rule.channels, *size)
        seed = rule.seed(*size)
        with torch.no_grad(), forked_rng(0, 0):
            seed = seed.to(next(source.parameters()).device)
            grown = source(Cells(seed, steps=steps)).cpu()
        self.register_buffer("states", torch.cat([seed.cpu(), grown]), persistent=False)

    def state(self, x: Tensor) -> State:
        """(batch,) of 0 and 1 -> (batch, channels, height, width)."""
        return self.states[x.long()]

    def room(self, state: State) -> Room:
        """Where the untouched automaton has a picture."""
        alpha = self.states[1:, 3:4] >= PICTURE
        return alpha.expand(len(state), -1, -1, -1)

    def carried(self, kept: State, new: State) -> State:
        """As they are: all runs lead to one picture."""
        del new
        return kept


def start_of(part: nn.Module, source: SourceLike, task: TaskSpec, grown: int) -> Start:
    """The start that a task's samples ask for.

    Raises:
        UserError: if the source is no automaton, or the task does not fit it.
    """
    rule, name = rule_of(part, source), type(part).__name__
    kind, uri = task.input.kind, source.uri or "given"
    if kind == "image" and hasattr(rule, "initial"):
        if len(task.input.shape) != 3 or task.input.shape[0] != 1:
            raise UserError(f"{name} writes one grey channel into a state of {rule.channels}; "
                            f"{task.name} has images of shape {task.input.shape}")  # fmt: skip
        return Drawn(rule, task.input.shape)
    if kind == "class" and hasattr(rule, "seed"):
        if len(task.shape) != 3 or task.shape[0] > rule.channels:
            raise UserError(f"{name} grows pictures of at most the state's {rule.channels} "
                            f"channels; {task.name} wants {task.shape or 'none'}")  # fmt: skip
        return Planted(rule, source, task.shape[1:], grown)  # pyright: ignore
    takes = [k for k, makes in (("image", "initial"), ("class", "seed")) if hasattr(rule, makes)]
    raise UserError(f"{name} starts automaton {uri} from {' or '.join(map(repr, takes))}; "
                    f"{task.name} is {kind!r}")  # fmt: skip
