"""Trains ``zoo:speech-commands``: the attention RNN on the Speech Commands test set, 12 classes.

    python zoo/train_speech_commands.py DATA [--work FOLDER] [--export FOLDER]

``DATA`` holds ``speech_commands_v2_test_full/``: a ``CLASS.ogg`` and a ``CLASS.names.txt`` for each
class. Run again after an interruption and it goes on from its last epoch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from loop import SEED, arguments, produce
from torch import Tensor, nn

from reprogram.sources.attention_rnn import AttentionRNN, front_end

CLASSES = (
    "yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go", "_silence_", "_unknown_",
)  # fmt: skip
RATE, BATCH = 16000, 64
TEST, VALIDATION = 0.15, 0.10  # of the speakers
SPLITS = ("train", "validation", "test")


def speaker(label: str, name: str) -> str:
    """Who speaks in a clip; the unknown words are named ``word_speaker_nohash_n``."""
    return name.split("_")[1 if label == "_unknown_" else 0]


def assign(names: dict[str, list[str]]) -> dict[tuple[str, str], str]:
    """The split of every (class, name), disjoint in speakers.

    Speakers are ranked by the SHA-256 of their id. Silence has no speaker: its clips, cut from a
    few long recordings, are split in blocks of their numbers, so that neighbours stay together.
    """
    voices = {speaker(c, name) for c in names if c != "_silence_" for name in names[c]}
    ranked = sorted(voices, key=lambda voice: hashlib.sha256(voice.encode()).hexdigest())
    cuts = sorted(names["_silence_"], key=lambda name: int(name.split(".")[0]))
    where: dict[str, str] = {}
    for group in (ranked, cuts):
        test, validation = round(len(group) * TEST), round(len(group) * (TEST + VALIDATION))
        for rank, key in enumerate(group):
            where[key] = "test" if rank < test else "validation" if rank < validation else "train"
    return {
        (c, name): where[name if c == "_silence_" else speaker(c, name)]
        for c in names
        for name in names[c]
    }


def listed(folder: Path) -> dict[str, list[str]]:
    """Names of the clips of each class, in their order in the class's file."""
    return {c: (folder / f"{c}.names.txt").read_text().split() for c in CLASSES}


def load(folder: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """Waveforms (clips, 16000) and labels (clips,) of each split."""
    import soundfile

    names = listed(folder)
    splits = assign(names)
    clips: dict[str, list[np.ndarray]] = {split: [] for split in SPLITS}
    labels: dict[str, list[int]] = {split: [] for split in SPLITS}
    for index, label in enumerate(CLASSES):
        audio, _ = soundfile.read(folder / f"{label}.ogg", dtype="float32")
        for name, clip in zip(names[label], audio.reshape(-1, RATE), strict=True):
            clips[splits[label, name]].append(clip)
            labels[splits[label, name]].append(index)
    return {
        s: (torch.from_numpy(np.stack(clips[s])).clamp(-1, 1), torch.tensor(labels[s]))
        for s in SPLITS
    }


class Augment:
    """Augmented batches of standardised log-mel spectra with soft labels.

    Waveforms: speed and shift in one interpolation, recorded background, gain. Spectra: masks in
    time and in frequency, and mixtures of two clips.
    """

    def __init__(self, waveforms: Tensor, labels: Tensor, *, smoothing: float = 0.05) -> None:
        self.waveforms, self.labels = waveforms, labels
        self.noise = waveforms[labels == CLASSES.index("_silence_")]
        self.noise = self.noise[self.noise.square().mean(1) > 1e-8]
        self.front = front_end()
        self.smoothing = smoothing
        self.steps = len(labels) // BATCH

    def __call__(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        g = torch.Generator().manual_seed(SEED * 10_000 + epoch)
        order = torch.randperm(len(self.labels), generator=g)
        for rows in order[: self.steps * BATCH].split(BATCH):
            with torch.no_grad():
                x = self.front(self.sound(self.waveforms[rows], g))
            x = self.mask(x, g)
            y = nn.functional.one_hot(self.labels[rows], len(CLASSES)).float()
            y = y * (1 - self.smoothing) + self.smoothing / len(CLASSES)
            # Half of the batches are mixed, by Beta(0.4, 0.4) drawn as a ratio of two Gammas.
            if torch.rand((), generator=g) < 0.5:
                a, b = torch._standard_gamma(torch.full((2, BATCH), 0.4), generator=g) + 1e-9
                share = (a / (a + b))[:, None]
                other = torch.randperm(BATCH, generator=g)
                x = share[:, :, None] * x + (1 - share[:, :, None]) * x[other]
                y = share * y + (1 - share) * y[other]
            yield x, y

    def sound(self, x: Tensor, g: torch.Generator) -> Tensor:
        """(batch, 16000) -> the same, otherwise spoken."""
        count = len(x)

        def uniform(low: float, high: float) -> Tensor:  # (batch, 1)
            return low + (high - low) * torch.rand(count, 1, generator=g)

        centre = RATE / 2
        place = (torch.arange(RATE) - centre) * uniform(0.85, 1.15) + centre + uniform(-1600, 1600)
        first = place.floor().long()
        part = place - first
        inside = (first >= 0) & (first < RATE - 1)
        first = first.clamp(0, RATE - 2)
        x = (x.gather(1, first) * (1 - part) + x.gather(1, first + 1) * part) * inside
        noise = self.noise[torch.randint(len(self.noise), (count,), generator=g)]
        level = (
            x.square().mean(1, keepdim=True).sqrt() / noise.square().mean(1, keepdim=True).sqrt()
        )
        noise = noise * level * 10 ** (-uniform(0, 35) / 20) * (uniform(0, 1) < 0.7)
        return (x + noise) * 10 ** (uniform(-10, 6) / 20)

    def mask(self, x: Tensor, g: torch.Generator) -> Tensor:
        """(batch, frames, bands) -> the same, with stripes of zeros (the mean)."""
        for axis, widest in ((1, 20), (1, 20), (2, 10), (2, 10)):
            length = x.shape[axis]
            width = torch.rand(len(x), 1, generator=g) * widest
            begin = torch.rand(len(x), 1, generator=g) * (length - width)
            place = torch.arange(length)
            kept = (place < begin) | (place >= begin + width)
            x = x * (kept[:, :, None] if axis == 1 else kept[:, None, :])
        return x


CARD = """# speech-commands

Small network of spoken commands: one second of sound at 16 kHz to 12 classes.{status}

- **Architecture**: the attention RNN of Voice2Series (Yang, Tsai, Chen, 2021, arXiv 2106.09296;
  de Andrade et al., 2018, arXiv 1808.08929): log-mel spectrum (window 1024, hop 128, 80 bands,
  40 to 8000 Hz), standardised per clip, two convolutions, two bidirectional LSTMs, attention, three
  dense layers; {parameters:,} weights, kept in float16.
- **Classes**: {classes}.
- **Data**: the official Speech Commands v0.02 test set (Warden, 2018, arXiv 1804.03209), licence
  CC BY 4.0, {clips:,} clips, from lossy Ogg Vorbis copies; splits disjoint in speakers (ranked by
  the SHA-256 of their id); silence split in blocks of neighbouring cuts.
- **Split**: {train:,} training, {validation} validation, {test} test clips, of {voices[train]},
  {voices[validation]} and {voices[test]} speakers.
- **Training**: `zoo/train_speech_commands.py`, seed {seed}, {epochs} epochs of AdamW under one
  cosine cycle; random speed, shift, background, gain, masks and mixtures; moving average of the
  weights; epoch {epoch} chosen on validation; {minutes:.0f} minutes on a shared core.
- **Accuracy** of these rounded weights: validation {accuracy[validation]},
  test {accuracy[test]}.
- **Known limits**: English, short words, few speakers; `_unknown_` stands for 25 words only.
- **Licence**: Apache-2.0 for the weights; the recordings they were trained on are CC BY 4.0 and are
  not part of this project.
"""


def main() -> None:
    """Trains, measures once on test, exports."""
    options = arguments(__doc__, "speech-commands", epochs=110)
    folder = options.data / "speech_commands_v2_test_full"
    splits = load(folder)
    sizes = {s: len(splits[s][1]) for s in SPLITS}
    print("clips", sizes, flush=True)
    front = front_end()
    held_out = {
        s: (torch.cat([front(x) for x in splits[s][0].split(128)]), splits[s][1])
        for s in ("validation", "test")
    }
    names = listed(folder)
    heard = {(split, speaker(c, name)) for (c, name), split in assign(names).items()
             if c != "_silence_"}  # fmt: skip
    voices = {s: sum(split == s for split, _ in heard) for s in SPLITS}
    network = AttentionRNN(classes=len(CLASSES))
    batches = Augment(*splits["train"])
    produce(
        "speech-commands", network, batches, held_out, options,
        steps=batches.steps, rate=3e-3, decay=0.02,
        settings={"architecture": "AttentionRNN", "classes": list(CLASSES), "clips": sizes,
                  "speakers": voices},
        card=CARD,
        facts={
            "parameters": sum(p.numel() for p in network.parameters() if p.requires_grad),
            "classes": ", ".join(CLASSES), "clips": sum(sizes.values()), "voices": voices,
            **sizes,
        },
    )  # fmt: skip


if __name__ == "__main__":
    main()
