"""A stem that starts from the images."""

import torch
from torch.nn import functional as F

from ghostfit.nn.build import build
from ghostfit.nn.sharing import Supernet
from ghostfit.nn.whiten import whiten_stem, whitening_filters
from ghostfit.search.start import conv_start
from ghostfit.space import Space

ARCH = conv_start(10, (32, 32), width=0.5)


def images(num: int = 64, channels: int = 3) -> torch.Tensor:
    """Pictures in which neighbouring pixels are alike, as in photographs."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(num, channels, 8, 8, generator=generator)
    noise = 0.1 * torch.randn(num, channels, 32, 32, generator=generator)
    return F.interpolate(coarse, (32, 32), mode="bilinear") + noise


def test_filters_answer_with_equal_variance_and_without_correlation() -> None:
    filters = whitening_filters([images()], (5, 5))
    assert filters is not None and filters.shape == (75, 3, 5, 5)
    answers = F.conv2d(images(), filters, stride=5).transpose(0, 1).flatten(1)[:16]
    assert torch.allclose(torch.cov(answers), torch.eye(16), atol=0.02)


def test_batches_are_one_set_of_images() -> None:
    whole, parts = whitening_filters([images()], (3, 3)), whitening_filters(images().split(16), (3, 3))
    assert whole is not None and parts is not None
    assert torch.allclose(whole, parts, atol=1e-4)


def test_the_stem_has_each_filter_and_its_negative() -> None:
    network = build(ARCH)
    assert whiten_stem(network, [images()])
    weight = network.stem.conv.weight
    filters = whitening_filters([images()], (5, 5))
    assert filters is not None
    assert torch.equal(weight[0::2], -weight[1::2])
    assert torch.equal(weight[0::2], filters[: len(weight) // 2])


def test_narrow_stems_of_a_store_have_the_first_components() -> None:
    space = Space.around(ARCH, widths=(0.5, 1.0), ratios=(), sizes=(1.0,))
    supernet, network = Supernet(space), build(space.largest())
    before = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    assert whiten_stem(supernet, [images()]) and whiten_stem(network, [images()])
    stem = supernet.extract(space.smallest()).stem.conv.weight
    assert torch.equal(stem, network.stem.conv.weight[: len(stem)])
    changed = {name for name, tensor in supernet.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"stem/conv/weight"}


def test_slots_and_not_places_in_memory_say_which_component_a_channel_has() -> None:
    network, plain = build(ARCH), build(ARCH)
    network.stem.out_slots = tuple(reversed(network.stem.out_slots))
    assert whiten_stem(network, [images()]) and whiten_stem(plain, [images()])
    assert torch.equal(network.stem.conv.weight, plain.stem.conv.weight.flip(0))


def test_channels_beyond_the_components_keep_their_fresh_weights() -> None:
    network = build(conv_start(10, (32, 32), in_channels=1, width=2.0))
    before = network.stem.conv.weight.detach().clone()
    assert whiten_stem(network, [images(channels=1)])
    assert torch.equal(network.stem.conv.weight[50:], before[50:])
    assert not torch.equal(network.stem.conv.weight[:50], before[:50])


def test_images_without_any_difference_change_nothing() -> None:
    network = build(ARCH)
    before = network.stem.conv.weight.detach().clone()
    for alike in ([torch.ones(4, 3, 32, 32)], [torch.zeros(4, 3, 32, 32)], []):
        assert not whiten_stem(network, alike)
        assert torch.equal(network.stem.conv.weight, before)


def test_components_that_the_images_lack_are_not_blown_up() -> None:
    gray = images()[:, :1].expand(-1, 3, -1, -1)
    filters = whitening_filters([gray], (3, 3))
    assert filters is not None and filters.isfinite().all() and filters.abs().max() < 100
