"""What each of several processes runs in tests: a small training, or the command itself.

weights OUT CHUNK [SHARDS]: 20 steps in float64; each process's weights land in OUT.
shards OUT: the small book as shards, four of them for training.
command ARGUMENTS: `python -m cliplib.train` with a small profile and a small book.
dying ARGUMENTS: the same, but process 1 is gone after its third step.
notebook PORT ARGUMENTS: starts the command in two processes, as a cell of a notebook does.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

import torch
from tqdm.auto import tqdm

from cliplib import picturebook, processes, train, trainer
from cliplib.config import QUICK
from cliplib.data import ensure
from cliplib.shards import write_shards
from cliplib.storage import write_tensors

SIZES = {"train": 64, "val": 16, "test": 16, "unseen": 8}
TINY = replace(
    QUICK,
    image_encoder="test_vit",  # no statistics of a batch
    image_size=160,
    text_width=64,
    embed_dim=32,
    batch_size=16,
    epochs=5,
)


def weights(out: Path, chunk_size: int, data: str = "picturebook") -> None:
    torch.set_default_dtype(torch.float64)
    with processes.together():
        profile = replace(TINY, chunk_size=chunk_size, data=data)
        begun = train.begin(profile, progress=False)[0]
        sound = begun.train.images.batches
        begun.train.images.batches = lambda *a: (some.double() for some in sound(*a))
        while begun.epoch < TINY.epochs:
            begun.run_epoch(tqdm(disable=True))
        state = begun.model.state_dict() | {"loss": torch.tensor(begun.history[-1]["loss"])}
        write_tensors(out / f"{processes.rank()}-of-{processes.world()}.safetensors", state, {})


def command(arguments: list[str]) -> int:
    train.PROFILES["quick"] = replace(TINY, head_dropout=0.1)
    return train.main(arguments)


def dying(arguments: list[str]) -> int:
    sound = trainer.Trainer._step

    def step(self: trainer.Trainer, *given: object) -> dict[str, float]:
        if self.step == 3 and processes.rank() == 1:
            os._exit(3)
        return sound(self, *given)

    trainer.Trainer._step = step
    return command(arguments)


def notebook(arguments: list[str]) -> int:
    from accelerate import notebook_launcher

    port, *rest = arguments
    square = torch.ones(2000, 2000)
    square @ square  # as in a kernel that has computed before: its threads are there
    notebook_launcher(command, (rest,), num_processes=2, use_port=port)
    return 0


if __name__ == "__main__":
    picturebook.SPLIT_SIZES = SIZES
    mode, *rest = sys.argv[1:]
    if mode == "weights":
        weights(Path(rest[0]), int(rest[1]), *rest[2:])
    elif mode == "shards":
        write_shards(ensure("picturebook", progress=False), Path(rest[0]), pictures_a_shard=16)
    else:
        sys.exit({"command": command, "dying": dying, "notebook": notebook}[mode](rest))
