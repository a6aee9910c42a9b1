"""Gradient caching: a large batch in chunks gives the gradients of the whole, in less memory."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from cliplib import fitting, picturebook, train, trainer
from cliplib.config import QUICK, Profile
from cliplib.pair_encoder import PairEncoder, statistics_stay
from cliplib.trainer import Trainer

SIZES = {"train": 64, "val": 16, "test": 16, "unseen": 8}
WHOLE = replace(
    QUICK,
    image_encoder="test_vit",
    image_size=160,
    text_width=64,
    embed_dim=32,
    epochs=2,
    batch_size=32,
    head_dropout=0.3,
    image_part=0.5,
)


@pytest.fixture(scope="module", autouse=True)
def small_book(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A whole picture book of 104 pictures in a data folder of this module's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPLIB_DATA", str(tmp_path_factory.mktemp("data")))
        patch.setattr(picturebook, "SPLIT_SIZES", SIZES)
        yield


def begin(profile: Profile) -> Trainer:
    return train.begin(profile, progress=False)[0]


def in_double(begun: Trainer) -> Trainer:
    """The same in float64: the pictures, too, whenever they are asked for."""
    begun.model.double()
    sound = begun.train.images.batches
    begun.train.images.batches = lambda *a: (pictures.double() for pictures in sound(*a))
    return begun


def gradients(begun: Trainer) -> dict[str, Tensor]:
    """Of the loss of an epoch's first batch, with the same random numbers for everyone."""
    rows, words = begun.plan(0)[0]
    torch.manual_seed(7)
    chunks = begun.encoder.chunks(rows)
    pictures = begun.train.images.batches(chunks, begun.device)
    images, texts = begun.encoder(rows, words, pictures)
    loss = sum(trainer.contrastive_loss(images, part, begun.model.logit_scale) for part in texts)
    loss.backward()
    return {name: p.grad for name, p in begun.model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("chunk", [1, 8, 12])
def test_chunks_give_the_gradients_of_the_whole_batch(chunk: int) -> None:
    """Nothing random here: chunks draw their numbers in another order than a whole batch."""
    still = replace(WHOLE, head_dropout=0.0, image_part=1.0)
    expected = gradients(in_double(begin(still)))
    found = gradients(in_double(begin(replace(still, chunk_size=chunk))))
    assert expected.keys() == found.keys() and "log_logit_scale" in found
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-8, atol=1e-8)
    assert sum(gradient.abs().sum() for gradient in expected.values()) > 1


def test_both_passes_drop_and_vary_the_same() -> None:
    """What reaches the projections of random pictures behind dropout is equal, bit for bit."""
    begun = begin(replace(WHOLE, chunk_size=8))
    seen: list[Tensor] = []
    for projection in (begun.model.image_projection, begun.model.text_projection):
        projection.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
    gradients(begun)
    assert len(seen) == 16, "two passes of four chunks with two projections"
    chunks = [seen[at : at + 2] for at in range(0, 16, 2)]
    for one, other in zip(chunks[:4], chunks[:3:-1], strict=True):  # back from the last chunk
        assert all(torch.equal(*pair) for pair in zip(one, other, strict=True))
    assert (seen[0] == 0).float().mean() > 0.2, "dropout"
    assert not torch.equal(seen[0], seen[2])


def test_random_numbers_go_on_as_if_there_were_one_pass() -> None:
    begun = begin(replace(WHOLE, chunk_size=8))
    rows, words = begun.plan(0)[0]
    torch.manual_seed(7)
    pictures = begun.train.images.batches(begun.encoder.chunks(rows), begun.device)
    with torch.no_grad():
        begun.encoder(rows, words, pictures)
    once = torch.get_rng_state()
    gradients(begun)
    assert torch.equal(torch.get_rng_state(), once)


def test_statistics_learn_once_from_each_chunk() -> None:
    begun = begin(replace(WHOLE, image_encoder="test_resnet", image_size=64, chunk_size=16))
    norms = [m for m in begun.model.modules() if isinstance(m, nn.BatchNorm2d)]
    gradients(begun)
    assert norms and all(norm.num_batches_tracked == 2 for norm in norms)
    kept = [norm.running_mean.clone() for norm in norms]
    with statistics_stay(begun.model), torch.no_grad():
        begun.model.encode_image(torch.randn(4, 3, 64, 64))
    assert all(torch.equal(norm.running_mean, k) for norm, k in zip(norms, kept, strict=True))
    assert all(norm.num_batches_tracked == 2 and norm.momentum == 0.1 for norm in norms)


def test_a_training_in_chunks_runs_resumes_and_counts(tmp_path) -> None:
    profile = replace(WHOLE, chunk_size=12)
    whole = begin(profile)
    for _ in range(2):
        whole.run_epoch(tqdm(disable=True))
    assert (whole.step, whole.meter.pictures) == (4, 128)
    begun, _, tokenizer = train.begin(profile, progress=False)
    begun.run_epoch(tqdm(disable=True))
    begun.save(tmp_path, tokenizer)
    resumed = begin(profile)
    resumed.resume(tmp_path)
    resumed.run_epoch(tqdm(disable=True))
    for one, other in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_memory_is_that_of_a_chunk() -> None:
    """What the graph keeps when the loss is known: everything, or next to nothing."""

    def kept(profile: Profile) -> int:
        begun = begin(profile)
        rows, words = begun.plan(0)[0]
        pictures = begun.train.images.batches(begun.encoder.chunks(rows), begun.device)
        held: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        alive = []
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            given = (alive.append(weakref.ref(some)) or some for some in pictures)
            embeddings = begun.encoder(rows, words, given)
        assert embeddings and not any(some() is not None for some in alive[:-1])
        return sum(held.values())

    whole, chunked = kept(WHOLE), kept(replace(WHOLE, chunk_size=4))
    assert chunked < whole / 20, (chunked, whole)


def test_a_chunk_that_does_not_fit_is_halved_and_the_batch_stays(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sound = PairEncoder._encode

    def limited(self: PairEncoder, rows: np.ndarray, *rest: object) -> tuple[Tensor, Tensor]:
        if len(rows) > 5:
            raise torch.OutOfMemoryError("CUDA")
        return sound(self, rows, *rest)

    monkeypatch.setattr(PairEncoder, "_encode", limited)
    fitted = fitting.fit_to_memory(begin(replace(WHOLE, chunk_size=16)), progress=False)
    assert (fitted.profile.chunk_size, fitted.profile.batch_size) == (4, 32)
    assert "goes on with chunks of 4 instead of 8." in capsys.readouterr().out


def test_features_of_frozen_encoders_go_through_chunks_too() -> None:
    torch.manual_seed(0)
    rows, words = np.arange(6), np.arange(12).reshape(2, 6)
    begun = begin(replace(WHOLE, head_dropout=0.0))
    table = nn.Embedding(16, begun.model.image_encoder.width).weight.detach()
    texts = nn.Embedding(16, begun.model.text_encoder.width).weight.detach()

    class Table:
        def __init__(self, values: Tensor) -> None:
            self.values = values

        def batch(self, rows: np.ndarray) -> Tensor:
            return self.values[torch.as_tensor(rows)]

        def batches(self, asked: list[np.ndarray], device: torch.device) -> Iterator[Tensor]:
            return (self.batch(rows) for rows in asked)

    split = replace(begun.train, images=Table(table), texts=Table(texts))
    found = []
    for chunk in (0, 4):
        profile = replace(begun.profile, chunk_size=chunk)
        encoder = PairEncoder(profile, begun.model, split, begun.precision, begun.device)
        found.append(encoder(rows, words, split.images.batches(encoder.chunks(rows), begun.device)))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)
    assert found[0][1].shape == (2, 6, 32)
