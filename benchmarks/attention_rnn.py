"""How much faster the frozen attention RNN is than its modules, forward and backward to the input.

    python benchmarks/attention_rnn.py

Prints, for each batch size, the median process time of both on one thread and their ratio: of the
convolutions, of one LSTM, of the whole network. Repetitions alternate, so that a busy machine
weighs on both alike.
"""

import statistics
import time

import torch

from reprogram.sources import attention_rnn
from reprogram.sources.attention_rnn import AttentionRNN
from reprogram.sources.frozen_lstm import frozen_lstm

BATCHES = (28, 32, 48, 64, 112)
REPETITIONS = 15


class ModulePath(AttentionRNN):
    """The same network, calling its modules as if they were trained."""

    def _convolved(self, x):
        x = self.norm1(self.conv1(x[:, None]).relu())
        return self.norm2(self.conv2(x).relu())[:, 0]

    def features(self, x):
        frozen = attention_rnn.lstm_outputs
        attention_rnn.lstm_outputs = lambda lstm, x: lstm(x)[0]
        try:
            return super().features(x)
        finally:
            attention_rnn.lstm_outputs = frozen


def seconds(function, x):
    """Process time of one forward and backward pass."""
    start = time.process_time()
    torch.autograd.grad(function(x).square().sum(), x)
    return time.process_time() - start


def compare(name, module, frozen, x):
    """One line: medians in milliseconds, ratio."""
    for function in (module, frozen):
        seconds(function, x)
    pairs = [(seconds(module, x), seconds(frozen, x)) for _ in range(REPETITIONS)]
    slow, fast = (1000 * statistics.median(times) for times in zip(*pairs, strict=True))
    print(f"{len(x):5d}  {name:12s} {slow:7.1f} ms {fast:7.1f} ms {slow / fast:6.2f}")


def main():
    """All batch sizes, all parts."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    frozen = AttentionRNN(classes=36).eval().requires_grad_(False)
    module = ModulePath(classes=36).eval().requires_grad_(False)
    module.load_state_dict(frozen.state_dict())
    print("batch  part           modules     frozen  ratio")
    for batch in BATCHES:
        x = torch.randn(batch, 125, 80, requires_grad=True)
        compare("convolutions", module._convolved, frozen._convolved, x)
        compare("lstm", lambda x: frozen.lstm1(x)[0], lambda x: frozen_lstm(frozen.lstm1, x), x)
        compare("network", module, frozen, x)


if __name__ == "__main__":
    main()
