"""What is inside a model: heat maps whose parts are exact, the gap, composed queries, figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hub_cache import tiny_clip, tiny_siglip
from sklearn.decomposition import PCA
from torch import Tensor, nn

from cliplib import plots_inside
from cliplib.checkpoint import Run, load_run
from cliplib.config import shipped_checkpoint
from cliplib.drawing import draw
from cliplib.encoders import ImageEncoder
from cliplib.model import CLIP
from cliplib.picturebook import compose
from cliplib.regions import cell_sums, chance_hits, covered_map, hits, place_shares, word_map
from cliplib.search import embed_words
from cliplib.space import composed, modality_gap, moved_together, principal_map
from cliplib.theirs import load_theirs

MapOf = Callable[..., Tensor]


@pytest.fixture(autouse=True)
def figures_are_closed() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def run() -> Run:
    return load_run(shipped_checkpoint())


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def unit_rows(seed: int, *shape: int) -> Tensor:
    return F.normalize(drawn(seed, *shape), dim=-1)


class Flat(nn.Module):
    """An encoder without bends: (B, 3, H, W) to the three colours' sums over the left half and the
    right half, (B, 6)."""

    width = 6

    def forward(self, pictures: Tensor) -> Tensor:
        left, right = pictures.chunk(2, dim=3)
        return torch.cat([left.sum(dim=(2, 3)), right.sum(dim=(2, 3))], dim=1)


@pytest.fixture
def flat() -> CLIP:
    model = CLIP(Flat(), Flat(), 6)
    model.image_projection.weight.data = torch.eye(6)
    return model


# ---- shares of places


def test_the_mean_of_the_shares_is_the_models_cosine(run: Run) -> None:
    pictures, words = drawn(0, 3, 3, 64, 64), unit_rows(1, 128)
    with torch.no_grad():
        features = run.model.image_encoder.network.forward_features(pictures)  # (3, D, h, w)
        cosines = run.model.encode_image(pictures) @ words
    projection = run.model.image_projection.weight.detach()
    shares = torch.stack([place_shares(f, projection, words) for f in features])
    torch.testing.assert_close(shares.mean(dim=(1, 2)), cosines)


def test_a_places_share_is_its_own_dot_over_one_length() -> None:
    features = torch.tensor([[[4.0, 0.0]], [[0.0, 2.0]]])
    shares = place_shares(features, torch.eye(2), torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(shares, torch.tensor([[0.0, 2.0]]) / 5**0.5)


# ---- integrated gradients


@pytest.mark.parametrize("steps", [1, 3])
def test_where_slopes_do_not_change_the_parts_are_exact(steps: int) -> None:
    class Straight(CLIP):
        def encode_image(self, pictures: Tensor) -> Tensor:
            return self.image_projection(self.image_encoder(pictures))

    model = Straight(Flat(), Flat(), 6)
    model.image_projection.weight.data = torch.eye(6)
    pictures, words = drawn(2, 2, 3, 4, 4), drawn(3, 2, 6)
    found = word_map(model, pictures, words, cells=4, steps=steps)
    weights = torch.stack([words[:, :3]] * 2 + [words[:, 3:]] * 2, dim=2)  # (B, 3, W)
    torch.testing.assert_close(found, (pictures * weights[:, :, None]).sum(dim=1))


def test_all_parts_together_are_the_rise_from_grey(run: Run) -> None:
    pictures = scenes_of(run)
    words = embed_words(run, ["a red boat", "a blue house"])
    with torch.no_grad():
        rise = (run.model.encode_image(pictures) * words).sum(dim=1)
        rise -= (run.model.encode_image(0 * pictures) * words).sum(dim=1)
    off = {
        steps: (word_map(run.model, pictures, words, steps=steps).sum(dim=(1, 2)) - rise).abs()
        for steps in (1, 64)
    }
    assert (off[64] < 0.01).all() and (off[1] > 5 * off[64]).all()
    assert off[1].sum() > 30 * off[64].sum()


def scenes_of(run: Run) -> Tensor:
    """A red boat left and a blue house right, and the other way round."""
    both = [("red boat", "blue house"), ("blue house", "red boat")]
    pixels = np.stack([np.array(draw(compose(*things), 64)) for things in both])
    return run.transform.normalise(pixels)


@pytest.mark.parametrize("map_of", [word_map, covered_map])
def test_a_map_follows_the_word_to_its_side(map_of: MapOf, run: Run) -> None:
    words = embed_words(run, ["a red boat"]).expand(2, -1)
    left, right = (heat.split(4, dim=1) for heat in map_of(run.model, scenes_of(run), words))
    assert left[0].max() > left[1].max() and right[0].max() < right[1].max()


@pytest.mark.parametrize("map_of", [word_map, covered_map])
def test_many_pictures_at_once_are_as_each_alone(map_of: MapOf, run: Run) -> None:
    pictures, words = drawn(4, 19, 3, 16, 16), unit_rows(5, 19, 128)
    together = map_of(run.model, pictures, words, 4)
    assert together.shape == (19, 4, 4)
    for n in (0, 15, 16, 18):
        alone = map_of(run.model, pictures[n : n + 1], words[n : n + 1], 4)[0]
        torch.testing.assert_close(together[n], alone, atol=1e-4, rtol=1e-3)


def test_maps_leave_no_gradient_and_no_training_mode_behind(run: Run) -> None:
    run.model.train()
    word_map(run.model, drawn(6, 1, 3, 16, 16), unit_rows(7, 1, 128), 2, steps=1)
    assert not run.model.training
    assert all(p.grad is None for p in run.model.parameters())


def test_cells_are_sums_of_their_pixels() -> None:
    values = torch.arange(16.0).reshape(1, 4, 4)
    expected = torch.tensor(
        [[[0 + 1 + 4 + 5, 2 + 3 + 6 + 7], [8 + 9 + 12 + 13, 10 + 11 + 14 + 15]]]
    )
    torch.testing.assert_close(cell_sums(values, 2), expected.float())


# ---- covering


def test_covering_is_the_fall_of_the_cosine(flat: CLIP) -> None:
    """4 cells of 2 pixels: the square over cell (1, 1) lies on pixels 1 to 4 of 8, both ways."""
    picture, words = drawn(8, 1, 3, 8, 8), unit_rows(9, 1, 6)
    covered = picture.clone()
    covered[:, :, 1:5, 1:5] = 0
    with torch.no_grad():
        fall = ((flat.encode_image(picture) - flat.encode_image(covered)) * words).sum()
    torch.testing.assert_close(covered_map(flat, picture, words, 4)[0, 1, 1], fall)


def test_a_square_at_the_edge_covers_what_is_there(flat: CLIP) -> None:
    picture, words = drawn(10, 1, 3, 8, 8), unit_rows(11, 1, 6)
    covered = picture.clone()
    covered[:, :, :3, 5:] = 0
    with torch.no_grad():
        fall = ((flat.encode_image(picture) - flat.encode_image(covered)) * words).sum()
    torch.testing.assert_close(covered_map(flat, picture, words, 4)[0, 0, 3], fall)


@pytest.mark.parametrize("map_of", [word_map, covered_map])
def test_what_cannot_be_cut_or_paired_is_told(map_of: MapOf, flat: CLIP) -> None:
    with pytest.raises(ValueError, match="cells is 3, but a picture of 8 × 8"):
        map_of(flat, drawn(0, 1, 3, 8, 8), unit_rows(0, 1, 6), 3)
    with pytest.raises(ValueError, match="2 pictures and 1 rows of words"):
        map_of(flat, drawn(0, 2, 3, 8, 8), unit_rows(0, 1, 6), 4)


# ---- other models


def vision_transformer(folder: Path) -> CLIP:
    torch.manual_seed(0)
    return CLIP(ImageEncoder("test_vit", pretrained=False, size=64), Flat(), 16)


def web_trained_clip(folder: Path) -> CLIP:
    tiny_clip(folder)
    return load_theirs(str(folder)).model


def siglip(folder: Path) -> CLIP:
    tiny_siglip(folder)
    return load_theirs(str(folder)).model


@pytest.mark.parametrize("make", [vision_transformer, web_trained_clip, siglip])
def test_any_model_has_maps(make: Callable[[Path], CLIP], tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    model = make(tmp_path / "model").eval()
    side = 64 if make is vision_transformer else 32
    pictures = drawn(12, 2, 3, side, side)
    with torch.no_grad():
        images, grey = model.encode_image(pictures), model.encode_image(0 * pictures)
    words = images  # of a model that knows nothing: what it says of the picture itself
    rise = ((images - grey) * words).sum(dim=1)
    parts = word_map(model, pictures, words, cells=8, steps=256)
    torch.testing.assert_close(parts.sum(dim=(1, 2)), rise, atol=0.01, rtol=0.02)
    covered = pictures.clone()
    covered[:, :, : side * 3 // 16, : side * 3 // 16] = 0
    with torch.no_grad():
        fall = ((images - model.encode_image(covered)) * words).sum(dim=1)
    torch.testing.assert_close(covered_map(model, pictures, words)[:, 0, 0], fall)


# ---- is it where the thing is?


def test_the_middle_of_the_largest_cell_counts() -> None:
    maps = torch.zeros(3, 2, 4)
    maps[0, 1, 3] = maps[1, 1, 3] = 1.0  # middle at 0.875 across, 0.75 down
    maps[2] = -1
    maps[2, 0, 0] = -0.5  # middle at 0.125 across, 0.25 down
    boxes = [(0.8, 0.7, 0.9, 0.8), (0.7, 0.8, 0.8, 0.9), (0.1, 0.2, 0.2, 0.3)]
    assert hits(maps, boxes).tolist() == [True, False, True]


def test_chance_is_the_share_of_middles_in_the_box() -> None:
    assert chance_hits([(0, 0, 0.5, 0.5)], 8) == 0.25
    assert chance_hits([(0, 0, 0.5, 0.5), (0.0, 0.0, 1.0, 1.0)], 8) == 0.625
    assert chance_hits([(0.07, 0.07, 0.12, 0.12)], 8) == 0


def test_random_maps_hit_as_often_as_chance() -> None:
    boxes = [(0.1, 0.2, 0.6, 0.5)] * 4000
    found = hits(drawn(14, 4000, 8, 8), boxes).mean()
    assert found == pytest.approx(chance_hits(boxes, 8), abs=0.02)


def test_maps_without_boxes_are_told() -> None:
    with pytest.raises(ValueError, match="2 maps and 1 boxes"):
        hits(drawn(0, 2, 4, 4), [(0, 0, 1, 1)])


# ---- the space


def test_the_gap_leads_from_texts_to_images() -> None:
    images, texts = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[-1.0, 0.0]])
    torch.testing.assert_close(modality_gap(images, texts), torch.tensor([1.5, 0.5]))
    with pytest.raises(ValueError, match="Are both from one model"):
        modality_gap(images, torch.ones(1, 3))


def test_moved_together_by_the_whole_gap_the_middles_meet_before_they_are_made_unit() -> None:
    images, texts = torch.tensor([[0.6, 0.8]]), torch.tensor([[0.6, -0.8]])
    moved, other = moved_together(images, texts, modality_gap(images, texts), 1.0)
    torch.testing.assert_close(moved, torch.tensor([[1.0, 0.0]]))
    torch.testing.assert_close(other, moved)
    half, _ = moved_together(images, texts, modality_gap(images, texts), 0.5)
    torch.testing.assert_close(half, F.normalize(torch.tensor([[0.6, 0.4]])))
    torch.testing.assert_close(moved_together(images, texts, torch.zeros(2), 1.0)[1], texts)


def test_the_map_is_scikit_learns_principal_components() -> None:
    rows = drawn(15, 60, 5) * torch.tensor([3.0, 1.0, 2.0, 0.5, 0.1]) + 7
    theirs = PCA(2).fit(rows.numpy())
    mine, shares = principal_map(rows)
    expected = torch.tensor(theirs.transform(rows.numpy())).abs()
    torch.testing.assert_close(mine.abs(), expected, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(shares, torch.tensor(theirs.explained_variance_ratio_))


@pytest.mark.parametrize("seed", range(6))
def test_the_maps_signs_do_not_depend_on_the_computer(seed: int) -> None:
    rows = drawn(seed, 40, 4) * torch.tensor([1.0, 5.0, 2.0, 1.0])
    across, up = principal_map(rows)[0].T
    assert torch.corrcoef(torch.stack([across, rows[:, 1]]))[0, 1] > 0.9
    assert torch.corrcoef(torch.stack([up, rows[:, 2]]))[0, 1] > 0.9


def test_a_composed_query() -> None:
    picture, plus, minus = torch.eye(3)
    torch.testing.assert_close(
        composed(picture, plus, minus, 2.0), torch.tensor([1.0, 2.0, -2.0]) / 3
    )
    rows = composed(torch.eye(3), torch.eye(3).flip(0), torch.zeros(3, 3), 1.0)
    torch.testing.assert_close(rows[0], torch.tensor([1.0, 0.0, 1.0]) / 2**0.5)
    with pytest.raises(ValueError, match="above 0, not 0"):
        composed(picture, plus, minus, 0.0)


# ---- figures


def test_heat_maps_say_where_the_largest_cell_is() -> None:
    maps = np.zeros((2, 4, 4))
    maps[0, 0, 3], maps[1, 2, 1] = 0.4, -0.8
    maps[1, 3, 3] = 0.1
    told = plots_inside.heat_maps(
        np.zeros((2, 8, 8, 3), np.uint8), maps, ["a boat", "$5"], [(0.7, 0, 1, 0.3), (0, 0, 0.5, 1)]
    )
    assert told == (
        "'a boat': largest at 88% across, 12% down, in the true box. "
        "'$5': largest at 88% across, 88% down, not in the true box."
    )
    assert not plt.gcf().axes[1].title.get_parse_math()
    below = plt.gcf().axes[2]
    colours = below.images[1].get_array()  # (h, w, 4)
    assert colours[0, 3, 0] > colours[0, 3, 2]  # orange where it is above 0
    assert colours[0, 0, 3] == 0  # the picture is seen where the map is 0
    negative = plt.gcf().axes[3].images[1].get_array()[2, 1]
    assert negative[2] > negative[1] and negative[3] == pytest.approx(plots_inside.DARKEST)
    assert below.patches[0].get_bbox().bounds == pytest.approx((0.7, 0.005, 0.295, 0.295))


def test_heat_maps_that_lack_something_are_told() -> None:
    with pytest.raises(ValueError, match="1 pictures, 2 maps, 1 titles and 1 boxes"):
        plots_inside.heat_maps(np.zeros((1, 8, 8, 3), np.uint8), np.zeros((2, 4, 4)), ["a boat"])


def test_two_maps_tell_the_distance_of_the_middles() -> None:
    images, texts = np.array([[0.0, 0.0], [2.0, 0.0]]), np.array([[1.0, 3.0]])
    told = plots_inside.two_maps({"flat": images}, {"flat": texts}, [("a", "b")])
    assert told == "flat: the two middles lie 3.00 apart."
    axes = plt.gcf().axes[0]
    assert [line.get_marker() for line in axes.lines] == ["o", "x"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("a", "b")
    with pytest.raises(ValueError, match="each panel needs all three"):
        plots_inside.two_maps({"flat": images}, {"other": texts}, [("a", "b")])


def test_over_temperature_reads_both_ends() -> None:
    told = plots_inside.over_temperature([1, 0.01], {"gap": [0.1, 0.9]}, 0.03)
    assert told == "gap: 0.90 at 0.01, 0.10 at 1."
    assert plt.gcf().axes[0].lines[1].get_xdata()[0] == 0.03
    with pytest.raises(ValueError, match="needs 2 values"):
        plots_inside.over_temperature([1, 0.01], {"gap": [0.1]}, 0.03)


def test_logit_scale_names_the_best_that_was_tried() -> None:
    told = plots_inside.logit_scale([10, 1200], [14.3, 29.7], [1, 30, 100], [4.2, 0.5, 1.1])
    assert told == (
        "From 14.3 to 29.7 in 1,200 steps. Of the scales tried, 30 has the least loss on "
        "validation batches, 0.50."
    )
    with pytest.raises(ValueError, match="2 steps have 1 scales"):
        plots_inside.logit_scale([10, 1200], [14.3], [1], [4.2])
