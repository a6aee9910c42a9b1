"""What a training step of ViT-B/16 and BERT costs on a GPU, setting by setting, and in open_clip.

Random weights, drawn pictures laid out as Flickr8k's photographs are, 32 tokens at most. Every line
is pictures a second, seconds a step and peak memory, measured one after the other in one process.
    python tests/benchmarks/gpu_training.py
What it lays is kept in the folder that CLIPLIB_BENCHMARK names, else in a temporary one. Without
a GPU tiny encoders take their places: that shows that it runs, and no more.
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

HOME = Path(os.environ.get("CLIPLIB_BENCHMARK") or tempfile.mkdtemp(prefix="cliplib-benchmark-"))
os.environ |= {"HF_HOME": str(HOME), "HF_HUB_OFFLINE": "1"}  # before imports that read them
sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

import numpy as np  # noqa: E402
import timm  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from hub_cache import IMAGE_REPOSITORY, full_size_towers, tiny_towers  # noqa: E402
from open_clip.loss import ClipLoss  # noqa: E402
from open_clip.model import CustomTextCLIP  # noqa: E402
from open_clip_train.train import train_one_epoch  # noqa: E402
from PIL import Image  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.utils.data import DataLoader, Dataset  # noqa: E402
from torchvision.transforms import v2  # noqa: E402
from tqdm.auto import tqdm  # noqa: E402

from cliplib.config import ORIGINAL, Profile  # noqa: E402
from cliplib.data import Pairs, ensure, load_pairs  # noqa: E402
from cliplib.encoders import pick_device  # noqa: E402
from cliplib.evaluate import prepare_split  # noqa: E402
from cliplib.meter import product_speed, training_flops  # noqa: E402
from cliplib.model import CLIP, build_clip  # noqa: E402
from cliplib.store import PictureStore, ahead  # noqa: E402
from cliplib.train import make_tokenizer, train  # noqa: E402
from cliplib.trainer import Split, Trainer  # noqa: E402

DEVICE = pick_device()
ON_A_GPU = DEVICE.type == "cuda"
STEPS = 40 if ON_A_GPU else 2
PAIRS = 128 if ON_A_GPU else 8
PHOTOGRAPHS = (
    {"train": 6000, "val": 1000, "test": 1000} if ON_A_GPU else {"train": 64, "val": 8, "test": 8}
)
SIZE = (500, 375)  # of most of Flickr8k's photographs


def say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


# ---- drawn pictures, laid out as photographs


def lay_photographs(folder: Path) -> Path:
    """JPEGs of a photograph's size, made of the picture book, with its captions and splits."""
    book = load_pairs(ensure("picturebook", progress=False), "train")
    rows = range(sum(PHOTOGRAPHS.values()))
    (folder / "Images").mkdir(parents=True)
    (folder / "splits").mkdir()
    targets = [folder / "Images" / f"{row:05}.jpg" for row in rows]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(enlarge, book.paths(), targets))
    lines = ["image,caption"]
    lines += [f'{row:05}.jpg,"{book.captions[i]}"' for row in rows for i in book.captions_of(row)]
    (folder / "captions.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    names = iter(f"{row:05}.jpg\n" for row in rows)
    for split, count in PHOTOGRAPHS.items():
        (folder / "splits" / f"{split}.txt").write_text("".join(next(names) for _ in range(count)))
    return folder


def enlarge(source: Path, target: Path) -> None:
    with Image.open(source) as picture:
        picture.convert("RGB").resize(SIZE, Image.Resampling.BICUBIC).save(target, quality=90)


def first(pairs: Pairs, count: int) -> Pairs:
    last = int(pairs.captions_of(count - 1)[-1]) + 1
    return replace(
        pairs, images=pairs.images[:count], captions=pairs.captions[:last],
        caption_image=pairs.caption_image[:last],
    )  # fmt: skip


# ---- ours


def measure(
    title: str, profile: Profile, model: CLIP, split: Split, steps: int = STEPS,
    prepare: Callable[[Trainer], object] = lambda trainer: None,
) -> None:  # fmt: skip
    """Some steps of the library's own trainer, after some that are not counted."""
    clear()
    try:
        count = profile.batch_size * min(steps, len(split.pairs.images) // profile.batch_size)
        some = replace(split, pairs=first(split.pairs, count))
        trainer = Trainer(profile, copy.deepcopy(model), some)
        prepare(trainer)
        started = time.perf_counter()
        trainer.rehearse(1)
        ready = time.perf_counter() - started
        prepare(trainer)
        told = trainer.rehearse()
        prepare(trainer)
        wait()
        started = time.perf_counter()
        trainer.run_epoch(tqdm(disable=True))
        wait()
        seconds = time.perf_counter() - started
        waited = trainer.meter.data_seconds / seconds
        tell("ours", title, count, profile.batch_size, seconds, first_step=round(ready, 2),
             rehearsed_ms=round(1000 * told, 2), waited=round(waited, 3))  # fmt: skip
    except Exception as error:
        say(what="ours", setting=title, failed=f"{type(error).__name__}: {error}"[:300])


def tell(what: str, title: str, count: int, batch: int, seconds: float, **more: float) -> None:
    gb = torch.cuda.max_memory_allocated() / 1e9 if ON_A_GPU else float("nan")
    say(what=what, setting=title, batch=batch, pictures_per_second=round(count / seconds, 1),
        step_ms=round(1000 * seconds * batch / count, 2), peak_gb=round(gb, 2), **more)  # fmt: skip


def clear() -> None:
    gc.collect()
    torch.compiler.reset()
    if ON_A_GPU:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def wait() -> None:
    if ON_A_GPU:
        torch.cuda.synchronize()


def compiled(trainer: Trainer) -> None:
    for network, lengths_vary in (
        (trainer.model.image_encoder.network, False), (trainer.model.text_encoder.network, True)
    ):  # fmt: skip
        if network._compiled_call_impl is None:
            network.compile(dynamic=lengths_vary)


def plain_attention(trainer: Trainer) -> None:
    for module in trainer.model.image_encoder.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False
    trainer.model.text_encoder.network.set_attn_implementation("eager")


def not_fused(trainer: Trainer) -> None:
    groups = trainer.optimizer.param_groups
    for group in groups:
        group["fused"] = False
    trainer.optimizer = torch.optim.AdamW(
        [{k: g[k] for k in ("params", "lr", "weight_decay")} for g in groups], betas=(0.9, 0.98)
    )


def contiguous(trainer: Trainer) -> None:
    trainer.model.to(memory_format=torch.contiguous_format)


class FloatStore:
    """Pictures normalised on the CPU and sent as float32: four times the bytes."""

    def __init__(self, store: PictureStore) -> None:
        self.store = store

    def batches(self, rows: Iterable[np.ndarray], device: torch.device) -> Iterator[Tensor]:
        for pictures in ahead(self.store.batch, rows):
            yield pictures.to(device)

    def batch(self, rows: np.ndarray) -> Tensor:
        return self.store.batch(rows)


# ---- open_clip


def as_open_clip(profile: Profile, folder: Path) -> CustomTextCLIP:
    return CustomTextCLIP(
        embed_dim=profile.embed_dim, output_dict=True,
        vision_cfg={"timm_model_name": profile.image_encoder if ON_A_GPU else "test_vit",
                    "timm_pool": "", "timm_proj": "linear",
                    "image_size": profile.image_size if ON_A_GPU else 160},
        text_cfg={"hf_model_name": str(folder), "hf_model_pretrained": False,
                  "hf_proj_type": "linear", "hf_pooler_type": "mean_pooler"},
    )  # fmt: skip


class Photographs(Dataset):
    """Pictures and token ids, as open_clip's own loader gives them."""

    def __init__(self, split: Split, count: int, size: int) -> None:
        self.pairs, self.texts = first(split.pairs, count), split.texts
        self.transform = v2.Compose([
            v2.Resize(int(size / 0.9), v2.InterpolationMode.BICUBIC), v2.CenterCrop(size),
            v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5], [0.5]),
        ])  # fmt: skip

    def __len__(self) -> int:
        return len(self.pairs.images)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        with Image.open(self.pairs.paths()[row]) as picture:
            return self.transform(picture.convert("RGB")), int(self.pairs.captions_of(row)[0])

    def collate(self, items: list[tuple[Tensor, int]]) -> tuple[Tensor, Tensor]:
        pictures, captions = zip(*items, strict=True)
        return torch.stack(pictures), self.texts.batch(np.array(captions))[0]


class Counted(list):
    """Batches that lie ready, with the two counts that open_clip's loop asks for."""

    num_batches: int
    num_samples: int


def measure_open_clip(
    title: str, profile: Profile, split: Split, folder: Path, compile_it: bool = False,
    workers: int = 0,
) -> None:  # fmt: skip
    """open_clip's own loop over its own model of the same encoders, with its own optimiser."""
    clear()
    torch.manual_seed(0)
    batch = profile.batch_size
    count = batch * min(STEPS, len(split.pairs.images) // batch)
    theirs = as_open_clip(profile, folder).to(DEVICE)
    if compile_it:
        theirs = torch.compile(theirs)
    small = [p for p in theirs.parameters() if p.ndim < 2]
    large = [p for p in theirs.parameters() if p.ndim >= 2]
    optimizer = torch.optim.AdamW(
        [{"params": small, "weight_decay": 0.0}, {"params": large, "weight_decay": 0.05}],
        lr=1e-5, betas=(0.9, 0.98), eps=1e-6,
    )  # fmt: skip
    args = SimpleNamespace(
        device=str(DEVICE), precision="amp_bf16" if ON_A_GPU else "fp32", distill=False,
        accum_freq=1, skip_scheduler=True, horovod=False, grad_clip_norm=profile.clip_norm,
        batch_size=batch, world_size=1, rank=0, local_rank=0, log_local=False, wandb=False,
        log_every_n_steps=100,
    )  # fmt: skip
    photographs = Photographs(split, count, profile.image_size if ON_A_GPU else 160)
    if workers:
        loader = DataLoader(
            photographs, batch, shuffle=True, num_workers=workers, pin_memory=ON_A_GPU,
            drop_last=True, collate_fn=photographs.collate, persistent_workers=True,
        )  # fmt: skip
        loader.num_batches, loader.num_samples = len(loader), count
    else:
        rng = np.random.default_rng(0)
        images = torch.randn(batch, 3, *[photographs.transform.transforms[1].size[0]] * 2)
        images = images.pin_memory() if ON_A_GPU else images
        loader = Counted(
            (images, split.texts.batch(rng.choice(len(split.pairs.captions), batch))[0])
            for _ in range(count // batch)
        )
        loader.num_batches, loader.num_samples = len(loader), count
    data = {"train": SimpleNamespace(set_epoch=lambda epoch: None, dataloader=loader)}
    for epoch in range(2):  # the first warms up
        wait()
        started = time.perf_counter()
        train_one_epoch(theirs, data, ClipLoss(), epoch, optimizer, None, None, None, args)
        wait()
        seconds = time.perf_counter() - started
    tell("open_clip", title, count, batch, seconds)


def main() -> None:
    chosen = read_arguments()
    logging.disable(logging.INFO)
    profile, photographs, device = ORIGINAL, HOME / "flickr8k", "CPU"
    if not photographs.exists():
        lay_photographs(photographs)
        say(laid="photographs")
        lay_towers = full_size_towers if ON_A_GPU else tiny_towers
        lay_towers(HOME)
        say(laid="encoders")
    if ON_A_GPU:
        device = torch.cuda.get_device_name()
    else:
        profile = replace(ORIGINAL, image_encoder=f"hf-hub:{IMAGE_REPOSITORY}")
    profile = replace(
        profile, data=str(photographs), head_epochs=0, batch_size=PAIRS, captions_per_step=1,
        max_tokens=32, image_part=1.0,
    )  # fmt: skip
    tokenizer = make_tokenizer(profile, load_pairs(photographs, "train").captions)
    model = build_clip(profile)
    split = prepare_split(profile, model, tokenizer, photographs, "train", progress=False)
    rows = np.arange(4)
    four = split.images.batch(rows), split.texts.batch(rows)
    lengths = [split.texts.batch(np.arange(i, i + PAIRS))[0].shape[1] for i in range(0, 32, 8)]
    say(device=device, torch=torch.__version__, timm=timm.__version__,
        transformers=transformers.__version__, cores=os.cpu_count(), tokens=lengths,
        gflop_a_pair=round(training_flops(model.eval(), *four) / 4e9, 1))  # fmt: skip
    started = time.perf_counter()
    split.images.uint8(np.arange(len(split.images)))
    say(decoded_per_second=round(len(split.images) / (time.perf_counter() - started)))
    formats = (torch.float32, torch.float16, torch.bfloat16) if ON_A_GPU else (torch.float32,)
    for dtype in formats:
        say(product=str(dtype), tflops=round(product_speed(DEVICE, dtype) / 1e12, 1))
    run(chosen.what, profile, model, split)
    if "whole" in chosen.what:
        os.environ["CLIPLIB_FLICKR8K"] = str(photographs)
        whole = replace(ORIGINAL, image_encoder=profile.image_encoder)
        whole = whole if ON_A_GPU else replace(whole, batch_size=8, epochs=1, head_epochs=1)
        started = time.perf_counter()
        found = train(whole, HOME / "run")
        say(**found, wall_seconds=round(time.perf_counter() - started))


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "what", nargs="*", default=["peers", "settings", "sizes", "whole", "compiled"]
    )
    return parser.parse_args()


def run(what: list[str], profile: Profile, model: CLIP, split: Split) -> None:
    folder = model.text_encoder.folder
    half = replace(profile, precision="bfloat16" if ON_A_GPU else "float32")
    if "peers" in what:
        for _ in range(2):  # twice each, in turn: what differs between the two is noise
            measure("bfloat16", half, model, split)
            measure_open_clip("bfloat16, batches lie ready", half, split, folder)
        measure_open_clip("bfloat16, its loader", half, split, folder, workers=os.cpu_count() or 1)
        large = replace(half, batch_size=4 * PAIRS)
        measure("bfloat16", large, model, split)
        measure_open_clip("bfloat16, batches lie ready", large, split, folder)
    if "settings" in what:
        measure("float32", replace(half, precision="float32"), model, split, max(2, STEPS // 4))
        torch.set_float32_matmul_precision("high")
        measure("float32, products in TF32", replace(half, precision="float32"), model, split)
        torch.set_float32_matmul_precision("highest")
        if ON_A_GPU:
            measure("float16", replace(half, precision="float16"), model, split)
        for title, prepare in (
            ("bfloat16", lambda trainer: None),
            ("attention written out", plain_attention),
            ("AdamW not fused", not_fused),
            ("not channels last", contiguous),
        ):
            measure(title, half, model, split, prepare=prepare)
        measure("activations computed again", replace(half, gradient_checkpointing=True), model,
                split)  # fmt: skip
        measure("sent as float32", half, model, replace(split, images=FloatStore(split.images)))
        measure("parts and mirrors", replace(half, image_part=0.5), model, split)
        measure("two captions", replace(half, captions_per_step=2), model, split)
        measure("128 tokens", half, model, replace(split, texts=Padded(split.texts, 128)))
        for frozen in (4, 8):
            measure(f"first {frozen} layers frozen", replace(half, image_layers_frozen=frozen),
                    model, split)  # fmt: skip
    if "compiled" in what:
        measure("compiled", half, model, split, prepare=compiled)
        measure_open_clip("bfloat16, compiled", half, split, folder, compile_it=True)
    if "sizes" in what:
        for batch in (32, 256, 512, 1024) if ON_A_GPU else (16, 32):
            larger = replace(half, batch_size=batch)
            again = replace(larger, gradient_checkpointing=True)
            measure("bfloat16", larger, model, split)
            measure("bfloat16, activations computed again", again, model, split)


class Padded:
    """Captions all padded to one length."""

    def __init__(self, texts: object, length: int) -> None:
        self.texts, self.length = texts, length

    def batch(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        ids, mask = self.texts.batch(rows)
        more = (0, self.length - ids.shape[1])
        return torch.nn.functional.pad(ids, more), torch.nn.functional.pad(mask, more)


if __name__ == "__main__":
    main()
