"""Surnames by nationality."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from reprogram.files import find_file
from reprogram.tasks.base import Task
from reprogram.tasks.build import Samples, make_task
from reprogram.types import UserError

URL = (
    "https://raw.githubusercontent.com/spro/practical-pytorch/"
    "c520c52e68e945d88fff563dba1c028b6ec0197b/data/names/"
)
SHA256 = {
    "Arabic": "6f424a8dbe51cbbbabab7a57d38b617210125e4e3991f3c657cb79b8f104bafc",
    "Chinese": "09ba8f1f7e38dbc99372d461b26ad4433b811fc6bfa6a3ecca6fe11a9a777465",
    "Czech": "e17ab0ec47616a72c39cb85c783f70c3663ab64488721e5d8378f146d2226be7",
    "Dutch": "924f32b635170eae561f84538632138fc07d4c8bbd70ba3fb980de1ecc4d2af3",
    "English": "9cca037066d3d5989e24bc01801416162de506b5e28e15b7c092a47905d29bf2",
    "French": "81e65b36c60ed5b89a17422f6edcadbb89546f38ad69e960e64e7ba682012a95",
    "German": "7449cd590b97a733e18d613a4155decd77ec35dc5f8aadd7a82204dce4f051db",
    "Greek": "3555b5186de7f401e6d991b088e9e644ca3099116477818c25ab5793801389e6",
    "Irish": "cf8c7013256252a88d2503127b87282a11f21b2ff6db1bded68834c19a1ec058",
    "Italian": "f88414c27d0606a11a678b4859277828c2565d6cc4d9ee932deef6e94f3b35e4",
    "Japanese": "e0e717e114fec3e7eade4d9dabe0067c475f43147e36a22b47902ee76ad9e67f",
    "Korean": "cd54221ccb362a6cba4c78828838cf3268a0e59744767a37cf6ec4b74036b136",
    "Polish": "45bab898af2f60ed3a728bbf6980e28821011a7caa53227553b5785903a40826",
    "Portuguese": "50a8735f41f4f73757c8ce5b16cb0275cd86b2b214bcbc8c9805f508cb131c53",
    "Russian": "0cfe53ac18041e8f63666aa77313e0a3ff378facb132abee052d8ebdc8c3d62c",
    "Scottish": "78d0252711d87d948ea86fe34826c51d2d794a8e52d15b5d6f7b6244d45d62dd",
    "Spanish": "1bcb462ed3316756a85781d68232bddae04498fdddd5d9219c53fd1fbdeba7a7",
    "Vietnamese": "f3f9e4164ab47601178a6e45b216464a64122f49d05541f24bf18a757253281d",
}
FIVE = ("Dutch", "Korean", "Polish", "Portuguese", "Scottish")


def load_names(*, classes: int = 18, seed: int = 0) -> Task:
    """Surnames of 18 nationalities, or of five: plain texts of up to 20 characters.

    Each name stands once in each nationality: the files repeat 2,038 of their 20,050 lines. One
    that belongs to several (as 99 of 100 Scottish names do) is kept under each, for dropping it
    would empty classes; its rows are on one side of every cut, and no classifier can get all of
    them right. Split 64/16/20, stratified and seeded.

    Which five nationalities the paper took is not said; Dutch, Korean, Polish, Portuguese and
    Scottish are the only five with its 704 lines of 6.45 bytes on average.

    Arguments:
        classes: 18 or 5.
        seed: Of the cuts.

    References:
        Neekhara, Hussain, Dubnov & Koushanfar, Adversarial Reprogramming of Text Classification
        Neural Networks, 2019 (arXiv:1809.01829).

    Raises:
        UserError: if ``classes`` is another number, or a file is not here and cannot be downloaded.
    """
    if classes not in (18, 5):
        raise UserError(f"argument 'classes' is {classes}; the names are of 18 nationalities, "
                        "or of 5")  # fmt: skip
    lines = {n: read_names(n) for n in (FIVE if classes == 5 else SHA256)}
    kept = {n: list(dict.fromkeys(map(str.strip, names))) for n, names in lines.items()}
    pairs = [(name, nationality) for nationality, names in kept.items() for name in names]
    samples = Samples(
        [name for name, _ in pairs],
        [nationality for _, nationality in pairs],
        [f"names:{nationality}[{i}]" for nationality, names in kept.items()
         for i in range(len(names))],
    )  # fmt: skip
    task = make_task("names", "text", samples, seed=seed)
    repeated = sum(map(len, lines.values())) - len(pairs)
    shared = sum(count > 1 for count in Counter(name for name, _ in pairs).values())
    notes = (
        f"data: {repeated} repeated names dropped",
        f"data: {shared} names of several nationalities kept under each, on one side of every cut",
    )
    return replace(task, notes=(*notes, *task.notes))


def read_names(nationality: str) -> list[str]:
    """The lines of a nationality's file as they stand: repeated ones, and blanks behind ten names,
    too."""
    file = f"{nationality}.txt"
    path = find_file(f"names/{file}", url=URL + file, sha256=SHA256[nationality])
    lines = path.read_text(encoding="utf-8").split("\n")
    return [line for line in lines if line.strip()]
