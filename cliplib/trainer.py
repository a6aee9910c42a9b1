"""The training loop: steps, history, what they cost, checkpoints and resume."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Iterator
from functools import partial
from itertools import count, islice
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from cliplib.checkpoint import HISTORY, load_weights, save_run, trained_tensors
from cliplib.config import Profile
from cliplib.encoders import CaptionTokenizer, pick_device
from cliplib.loss import contrastive_loss, loss_floor
from cliplib.memory import ran_out_of_memory
from cliplib.meter import Meter, training_flops
from cliplib.model import CLIP, checkpoint_activations, put_into_training
from cliplib.optimizer import make_optimizer, rate_factor
from cliplib.pair_encoder import PairEncoder, Split
from cliplib.precision import MixedPrecision, pick_precision
from cliplib.processes import gather, rank, share_gradients, wait_for_all
from cliplib.retrieval import embed_images, recalls, to_device
from cliplib.storage import read_tensors, write_tensors, write_text
from cliplib.streaming import StreamedSplit

STATE = "training_state.safetensors"
STEPS_A_ROW = 10  # of the history


class NotANumber(RuntimeError):
    """The loss was not a finite number; the last good checkpoint stays."""


class OutOfMemory(RuntimeError):
    """A training step did not fit into the device's memory."""


def batch_accuracy(images: Tensor, texts: Tensor) -> float:
    """The share of right picks inside a batch, both directions together; not recall.

    Shapes: (B, E) twice.
    """
    cosines = images @ texts.T  # (B, B)
    right = torch.arange(len(cosines), device=cosines.device)  # (B,)
    return torch.cat([cosines.argmax(0) == right, cosines.argmax(1) == right]).float().mean().item()


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin so, under the rest of their names."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


class Trainer:
    """Everything that a training step changes, and nothing else: so it can be saved and resumed."""

    def __init__(self, profile: Profile, model: CLIP, train: Split | StreamedSplit) -> None:
        self.profile = profile
        self.device = pick_device()
        self.model = model.to(self.device, memory_format=torch.channels_last)
        if profile.gradient_checkpointing:
            checkpoint_activations(self.model)
        self.train = train
        self.plan = partial(train.plan, profile)  # an epoch's batches
        self.steps_an_epoch = len(self.plan(0))
        self._begin_optimizing()
        self.epoch = 0  # the next one to run
        self.step = 0
        self.seconds = 0.0
        self.history: list[dict[str, float]] = []
        self.meter = Meter()
        self._window: list[dict[str, float]] = []
        self._coming: Iterator[Tensor] | None = None

    def _begin_optimizing(self) -> None:
        self.optimizer = make_optimizer(self.model, self.profile)
        self.full_rates = [group["lr"] for group in self.optimizer.param_groups]
        dtype = pick_precision(self.profile.precision, self.device)
        self.precision = MixedPrecision(dtype, self.device)
        self.encoder = PairEncoder(
            self.profile, self.model, self.train, self.precision, self.device
        )
        self.shared = share_gradients(self.encoder)

    def run_epoch(self, bar: tqdm) -> None:
        started = time.perf_counter()
        plan = self.plan(self.epoch)
        put_into_training(self.model, self.profile)
        coming, self._coming = self._coming or self._pictures(), None  # an epoch cut short drops it
        chunks = sum(len(self.encoder.chunks(rows)) for rows, _ in plan)
        pictures = self.meter.waiting(islice(coming, chunks))
        for rows, caption_rows in plan:
            self._window.append(self._step(rows, caption_rows, pictures))
            self.meter.steps += 1
            self.meter.pictures += len(rows)
            self._report(bar, len(rows))
        next(pictures, None)  # the meter counts a step's time when it is asked for more
        if self.epoch + 1 < self.profile.epochs:
            self._coming = coming
        self.epoch += 1
        self.seconds += time.perf_counter() - started

    def _pictures(self) -> Iterator[Tensor]:
        """This epoch's and all later ones': the next first batch is prepared during a last step."""
        # not self: a trainer that is let go must go
        epochs, chunks = map(self.plan, count(self.epoch)), self.encoder.chunks
        asked = (chunk for plan in epochs for rows, _ in plan for chunk in chunks(rows))
        return self.train.images.batches(asked, self.device)

    def rehearse(self, steps: int = 3) -> float:
        """Seconds that a step takes: some real ones at rate 0, after which all is as it was before.

        The first, in which much is set up, is not counted. Only before the first real step.
        Raises: OutOfMemory when a step does not fit.
        """
        plan = self.plan(0)[: steps + 1]
        buffers = [buffer.clone() for buffer in self.model.buffers()]
        rates, self.full_rates = self.full_rates, [0.0 for _ in self.full_rates]
        marks = []
        put_into_training(self.model, self.profile)
        try:
            with torch.random.fork_rng():
                asked = (chunk for rows, _ in plan for chunk in self.encoder.chunks(rows))
                pictures = self.train.images.batches(asked, self.device)
                for rows, caption_rows in plan:
                    self._step(rows, caption_rows, pictures)
                    marks.append(time.perf_counter())
        finally:
            self.full_rates = rates
            self.optimizer.zero_grad(set_to_none=True)
            self._begin_optimizing()  # forgets the averages of those steps
            self.step = 0
            for buffer, before in zip(self.model.buffers(), buffers, strict=True):
                buffer.copy_(before)  # of the normalisations
        return float(np.median(np.diff(marks))) if len(marks) > 1 else 0.0

    def seconds_left(self, step: float) -> float:
        """For the epochs that are left, when a step takes so many seconds; without validation."""
        return (self.profile.epochs - self.epoch) * self.steps_an_epoch * step

    def describe(self) -> dict[str, float | str]:
        """What training cost, for metrics.json; see `Meter.describe`."""
        rows, caption_rows = (part[..., :4] for part in self.plan(0)[0])  # four pairs are enough
        images = self.train.images.batch(rows).to(self.device)
        tokens = to_device(self.train.texts.batch(caption_rows.reshape(-1)), self.device)
        flops = training_flops(self.model.eval(), images, tokens) / len(rows)
        return self.meter.describe(flops, self.device, self.precision.dtype)

    def _too_large(self) -> str:
        profile = self.profile
        return (
            f"A step does not fit into the memory of {self.device}. Choose a smaller batch_size "
            f"(now {profile.batch_size}), chunk_size (now {profile.chunk_size or 'all pairs'}) or "
            f"image_size (now {profile.image_size}), one caption "
            f"a step (captions_per_step is {profile.captions_per_step}), or freeze an encoder "
            "(image_frozen=True)."
        )

    def _step(
        self, rows: np.ndarray, caption_rows: np.ndarray, pictures: Iterator[Tensor]
    ) -> dict[str, float]:
        try:
            return self._try_step(rows, caption_rows, pictures)
        except RuntimeError as error:
            if not ran_out_of_memory(error):
                raise
        raise OutOfMemory(self._too_large())  # outside, so that the step's tensors are let go

    def _try_step(
        self, rows: np.ndarray, caption_rows: np.ndarray, pictures: Iterator[Tensor]
    ) -> dict[str, float]:
        """One step; every set of captions (one or two a picture) makes a loss of its own."""
        image_embeddings, text_sets = self.shared(rows, caption_rows, pictures)  # (B, E) (C, B, E)
        scale = self.model.logit_scale
        losses = [contrastive_loss(image_embeddings, texts, scale) for texts in text_sets]
        loss = torch.stack(losses).mean()
        if not torch.isfinite(loss):
            raise NotANumber(
                f"The loss is {loss.item()} at step {self.step}: training stops here, and the last "
                "good checkpoint stays. Try lower learning rates."
            )
        self._set_rates()
        self.optimizer.zero_grad(set_to_none=True)
        self.precision.step(loss, self.optimizer, self.model, self.profile.clip_norm)
        self.model.clamp_logit_scale()
        self.step += 1
        captions = self.train.pairs.captions
        return {
            "loss": loss.item(),
            "floor": float(
                np.mean([loss_floor([captions[i] for i in rows]) for rows in caption_rows])
            ),
            "accuracy": batch_accuracy(image_embeddings.detach(), text_sets[0].detach()),
        }

    def _set_rates(self) -> None:
        steps = self.steps_an_epoch * self.profile.epochs
        factor = rate_factor(self.step, steps, self.profile.warmup)
        for group, full_rate in zip(self.optimizer.param_groups, self.full_rates, strict=True):
            group["lr"] = full_rate * factor

    def _report(self, bar: tqdm, pictures: int) -> None:
        bar.update(pictures)
        if self.step % STEPS_A_ROW and self.step % self.steps_an_epoch:
            return
        row: dict[str, float] = {"step": self.step, "epoch": self.step / self.steps_an_epoch}
        row |= {name: float(np.mean([w[name] for w in self._window])) for name in self._window[0]}
        row["log_b"] = math.log(self.profile.batch_size)
        row["logit_scale"] = self.model.logit_scale.item()
        row["learning_rate"] = self.optimizer.param_groups[0]["lr"]
        self.history.append(row)
        self._window.clear()
        bar.set_postfix(loss=f"{row['loss']:.3f}", refresh=False)

    def validate(self, split: Split) -> None:
        """Adds this epoch's validation recall to the history, by each picture's first caption."""
        started = time.perf_counter()
        first = [int(split.pairs.captions_of(row)[0]) for row in range(len(split.pairs.images))]
        tokens = to_device(split.texts.batch(np.array(first)), self.device)
        images = embed_images(self.model, split.images)  # (N, E)
        with torch.inference_mode():
            scores = self.model.encode_text(tokens) @ images.T  # (N, N)
        found = recalls(scores.cpu().numpy(), np.arange(len(first)))
        self.history[-1] |= {"val_t2i_r1": found["t2i_r1"], "val_t2i_r10": found["t2i_r10"]}
        self.seconds += time.perf_counter() - started

    def save(self, folder: Path, tokenizer: CaptionTokenizer) -> None:
        """A checkpoint from which `resume` goes on; weights last, for they make it count.

        Of several processes the first one writes it, with the random numbers of each.
        """
        random = gather(torch.get_rng_state()[None].to(self.device)).cpu()  # (processes, bytes)
        if not rank():
            self._write(folder, tokenizer, random)
        wait_for_all()

    def _write(self, folder: Path, tokenizer: CaptionTokenizer, random: Tensor) -> None:
        optimizer = self.optimizer.state_dict()
        tensors = {
            f"optimizer.{i}.{name}": tensor
            for i, state in optimizer["state"].items()
            for name, tensor in state.items()
        }
        trained = trained_tensors(self.model, self.profile)
        tensors |= {f"model.{name}": tensor for name, tensor in trained.items()}
        tensors |= {f"precision.{name}": t for name, t in self.precision.content().items()}
        tensors |= {f"random{i or ''}": state.clone() for i, state in enumerate(random)}
        if self.device.type == "cuda":
            tensors["random_cuda"] = torch.cuda.get_rng_state(self.device)
        about = {"epoch": str(self.epoch), "step": str(self.step), "seconds": str(self.seconds)}
        write_text(folder / HISTORY, pd.DataFrame(self.history).to_csv(index=False))
        write_tensors(folder / STATE, tensors, about)
        save_run(folder, self.model, self.profile, tokenizer)

    def resume(self, folder: Path) -> None:
        """Back to the last checkpoint: on a CPU the end is bit for bit the uninterrupted one."""
        tensors, about = read_tensors(folder / STATE)
        self._coming = None
        load_weights(self.model, self.profile, under("model.", tensors), str(folder / STATE))
        self.optimizer.load_state_dict(self._optimizer_content(tensors))
        self.precision.restore(under("precision.", tensors))
        own = f"random{rank() or ''}"
        if own in tensors:  # else more processes go on than there were
            torch.set_rng_state(tensors[own])
        if self.device.type == "cuda" and "random_cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random_cuda"], self.device)
        self.epoch, self.step = int(about["epoch"]), int(about["step"])
        self.seconds = float(about["seconds"])
        with open(folder / HISTORY, encoding="utf-8", newline="") as file:
            rows = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
        self.history = [
            {**row, "step": int(row["step"])} for row in rows if row["step"] <= self.step
        ]

    def _optimizer_content(self, tensors: dict[str, Tensor]) -> dict[str, object]:
        content = self.optimizer.state_dict()
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        for key, tensor in tensors.items():
            if key.startswith("optimizer."):
                _, index, name = key.split(".")
                like = parameters[int(index)]
                if tensor.shape == like.shape:  # laid out in memory as the weights: channels last
                    tensor = torch.empty_like(like, device="cpu").copy_(tensor)
                content["state"].setdefault(int(index), {})[name] = tensor
        return content
