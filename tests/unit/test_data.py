"""Toys have the shape that they promise; images come balanced, in range and without a network."""

import numpy as np
import pytest
import pytest_socket
import torch
from agree import seeded

from companion.data import images, toy
from companion.data.labelled import LONG_TAIL, four_classes, long_tailed

LAWS = [toy.eight_gaussians(), toy.two_gaussians(), toy.Checkerboard(), toy.TwoMoons(), four_classes()]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)
def test_laws_are_centred_points_in_the_plane_set_by_the_generator_alone(law):
    before = torch.get_rng_state()
    x = law.sample(4000, seeded())
    assert x.shape == (4000, 2)
    assert x.dtype == torch.float32
    assert (x.mean(0).abs() < 4.5 * x.std(0) / 4000**0.5).all()
    assert torch.equal(x, law.sample(4000, seeded()))
    assert not torch.equal(x, law.sample(4000, seeded(1)))
    assert torch.equal(torch.get_rng_state(), before)


def test_eight_gaussians_lie_evenly_on_their_circle():
    law = toy.eight_gaussians(radius=3.0, std=0.1)
    torch.testing.assert_close(law.means.norm(dim=1), torch.full((8,), 3.0))
    gaps = torch.cdist(law.means, law.means).fill_diagonal_(torch.inf).min(1).values
    torch.testing.assert_close(gaps, torch.full((8,), 6 * np.sin(np.pi / 8)))


def test_two_gaussians_are_as_far_apart_as_asked():
    law = toy.two_gaussians(distance=5.0, std=0.2)
    assert (law.means[1] - law.means[0]).tolist() == [5.0, 0.0]
    assert law.stds.tolist() == pytest.approx([0.2, 0.2])


def test_the_checkerboard_fills_its_dark_squares_evenly_and_leaves_the_light_ones_empty():
    cell = toy.Checkerboard().sample(16_000, seeded()).floor().long() + 2
    assert cell.min() >= 0
    assert cell.max() <= 3
    assert ((cell[:, 0] + cell[:, 1]) % 2 == 0).all()
    counts = torch.bincount(4 * cell[:, 0] + cell[:, 1], minlength=16)
    assert (counts > 0).sum() == 8
    assert counts[counts > 0].min() > 2000 - 4.5 * 2000**0.5


def test_without_noise_the_moons_are_two_half_circles():
    x = toy.TwoMoons(std=0.0).sample(1000, seeded()) / 1.5 + torch.tensor([0.5, 0.25])
    upper, lower = x.norm(dim=1), (x - torch.tensor([1.0, 0.5])).norm(dim=1)
    on_upper, on_lower = (upper - 1).abs() < 1e-5, (lower - 1).abs() < 1e-5
    assert (on_upper | on_lower).all()
    assert x[on_upper & ~on_lower, 1].min() > -1e-5
    assert x[on_lower & ~on_upper, 1].max() < 0.5 + 1e-5
    assert on_upper.float().mean().item() == pytest.approx(0.5, abs=0.07)


@pytest.mark.parametrize("separation", [1.0, 0.6, 3])
def test_four_classes_lie_on_a_circle_their_two_gaussians_side_by_side_along_it(separation):
    law = four_classes(separation, std=0.3)
    assert law.num_classes == 4
    assert law.stds.tolist() == pytest.approx([0.3] * 8)
    for label, outwards in enumerate([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]]):
        own, outwards = law.given(label), torch.tensor(outwards)
        assert own.weights.tolist() == pytest.approx([0.5, 0.5])
        torch.testing.assert_close(own.means.mean(0), 1.2 * separation * outwards)
        apart = own.means[1] - own.means[0]
        assert apart.norm().item() == pytest.approx(1.2 * separation)
        assert (apart @ outwards).item() == pytest.approx(0, abs=1e-6)


def test_classes_are_as_frequent_as_asked_and_equally_when_not():
    torch.testing.assert_close(four_classes().class_weights, torch.full((4,), 0.25))
    torch.testing.assert_close(four_classes(frequencies=(1, 2, 3, 4)).class_weights, torch.tensor([0.1, 0.2, 0.3, 0.4]))
    law = four_classes(frequencies=LONG_TAIL)
    assert sum(LONG_TAIL) == pytest.approx(1)
    assert law.class_weights.tolist() == pytest.approx(LONG_TAIL)
    for label in range(4):
        torch.testing.assert_close(law.given(label).means, four_classes().given(label).means)


@pytest.mark.parametrize("ratio", [0.6, 0.1, 1, 1.0])
def test_a_long_tail_keeps_a_share_of_each_class_that_falls_from_class_to_class(ratio):
    labels = torch.arange(400) % 4
    kept = long_tailed(labels, ratio, seeded())
    assert len(kept.unique()) == len(kept)
    counts = torch.bincount(labels[kept], minlength=4).tolist()
    assert counts == [max(1, round(100 * ratio**label)) for label in range(4)]
    assert counts[0] == 100
    assert counts[3] >= 1


def test_which_rows_are_kept_is_drawn():
    labels, before = torch.arange(400) % 4, torch.get_rng_state()
    first, again, other = (long_tailed(labels, 0.5, seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert set(first.tolist()) != set(other.tolist())
    seen = torch.cat([long_tailed(labels, 0.5, seeded(seed)) for seed in range(60)])
    assert len(seen.unique()) > 395
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(long_tailed(labels.int(), 0.5, seeded()), first)


def test_by_default_a_class_is_six_tenths_of_the_one_before_and_one_row_of_it_stays():
    labels = torch.arange(5000) % 10
    assert torch.equal(long_tailed(labels, generator=seeded()), long_tailed(labels, 0.6, seeded()))
    few = torch.arange(30) % 10
    assert torch.bincount(few[long_tailed(few, 0.1, seeded())]).tolist() == [3] + [1] * 9


@pytest.fixture
def no_network():
    pytest_socket.disable_socket()
    yield
    pytest_socket.enable_socket()


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("load", "split", "count", "size"),
    [
        (images.digits, "train", 1200, 8),
        (images.digits, "test", 597, 8),
        (images.fashion, "train", 5000, 32),
        (images.fashion, "test", 1000, 32),
    ],
)
def test_images_load_without_a_network_in_range_and_with_every_class(load, split, count, size):
    data = load(split)
    assert data.images.shape == (count, 1, size, size)
    assert data.images.dtype == torch.float32
    assert data.images.min() == -1
    assert data.images.max() == 1
    assert data.labels.dtype == torch.int64
    per_class = torch.bincount(data.labels)
    assert len(per_class) == 10
    assert per_class.min() > 0.7 * count / 10


@pytest.mark.parametrize(("split", "per_class"), [("train", 500), ("test", 100)])
def test_fashion_is_balanced_shuffled_and_padded_to_a_power_of_two(split, per_class):
    data = images.fashion(split)
    assert torch.bincount(data.labels).tolist() == [per_class] * 10
    assert (data.labels.diff() == 0).float().mean() < 0.2
    inside = torch.zeros(32, 32, dtype=torch.bool)
    inside[2:-2, 2:-2] = True
    assert (data.images[..., ~inside] == -1).all()
    assert data.images[..., inside].mean() > -0.9


def test_splits_share_no_image():
    for load in (images.digits, images.fashion):
        train, test = (load(split).images.flatten(1) for split in ("train", "test"))
        assert torch.cdist(test[:200], train, compute_mode="donot_use_mm_for_euclid_dist").min() > 0


def test_the_seed_chooses_which_digits_are_held_out():
    first, again, other = (images.digits("test", seed=seed).images for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_classes_can_be_told_apart_by_their_nearest_mean():
    """Labels belong to their images: nearest class mean is far above chance (10%) on held-out images."""
    for load in (images.digits, images.fashion):
        train, test = load("train"), load("test")
        means = torch.stack([train.images[train.labels == label].mean(0) for label in range(10)]).flatten(1)
        guess = torch.cdist(test.images.flatten(1), means).argmin(1)
        assert (guess == test.labels).float().mean() > 0.6


def test_stored_files_are_small_and_licensed():
    licences = (images.FILES / "LICENSES.md").read_text()
    stored = [file for file in images.FILES.iterdir() if file.suffix in (".npz", ".xz")]
    assert {file.suffix for file in stored} == {".npz", ".xz"}
    for file in stored:
        assert file.name.split(".")[0] in licences
        assert file.stat().st_size < 3e6
