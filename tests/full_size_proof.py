"""One training step of the original's full-size pair, saved and resumed: run by its test, alone.

Alone, so that the memory that it reports is its own. Prints JSON lines.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from torch import nn
from tqdm.auto import tqdm

from cliplib.config import Profile
from cliplib.encoders import ImageEncoder
from cliplib.features import weights_digest
from cliplib.memory import peak_memory
from cliplib.train import begin


def main(profile: Profile, run: Path) -> None:
    trainer, _, tokenizer = begin(profile, progress=False)
    towers = trainer.model.image_encoder, trainer.model.text_encoder
    classifier = ImageEncoder(profile.image_encoder, pretrained=True, output="logits")
    say(
        widths=[*(tower.width for tower in towers), classifier.width],
        parameters=[count(classifier), *map(count, towers)],
        transform=repr(towers[0].transform(profile.image_size, profile.image_crop)),
        revisions=[tower.folder.name for tower in towers],
    )
    del classifier, towers
    trainer.run_epoch(tqdm(disable=True))
    say(stage="step", steps=trainer.step)
    trainer.save(run, tokenizer)
    say(stage="save", bytes=sum(path.stat().st_size for path in run.iterdir()))
    trainer.run_epoch(tqdm(disable=True))
    uninterrupted = weights_digest(trainer.model)
    del trainer
    again, _, _ = begin(profile, progress=False)
    again.resume(run)
    again.run_epoch(tqdm(disable=True))
    say(stage="resume", steps=again.step, equal=weights_digest(again.model) == uninterrupted)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def say(**facts: object) -> None:
    print(json.dumps(facts | {"peak": peak_memory(torch.device("cpu"))}), flush=True)


if __name__ == "__main__":
    main(Profile(**json.loads(sys.argv[1])), Path(sys.argv[2]))
