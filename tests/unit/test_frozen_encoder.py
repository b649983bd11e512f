"""Encoders that learn only in part, or are normalised by their running statistics."""

import pytest
import torch
from spinegrade.models import slice_pyramid


@pytest.mark.parametrize("backbone", ["tf_efficientnet_lite0", "test_resnet", "test_convnext"])
@pytest.mark.parametrize(("stride", "learning_maps"), [(4, [8, 16, 32]), (16, [32])])
def test_what_is_frozen_is_what_the_map_is_made_by(backbone, stride, learning_maps):
    pyramid = slice_pyramid.build(backbone, frozen_to_stride=stride)
    maps = pyramid(torch.randn(2, 1, 64, 64))
    for place, found in zip(slice_pyramid.STRIDES, maps, strict=True):
        assert found.requires_grad == (place in learning_maps)


def test_all_learns_unless_it_is_said():
    pyramid = slice_pyramid.build("test_resnet")
    assert all(parameter.requires_grad for parameter in pyramid.parameters())
    assert pyramid.training


def test_frozen_statistics_do_not_move_and_are_what_normalises():
    torch.manual_seed(0)
    pyramid = slice_pyramid.build("test_resnet", frozen_statistics=True).train()
    before = {name: value.clone() for name, value in pyramid.named_buffers()}
    slices = torch.randn(3, 1, 64, 64)
    together = pyramid(slices)[0]
    assert all(torch.equal(value, before[name]) for name, value in pyramid.named_buffers())
    torch.testing.assert_close(together[:1], pyramid(slices[:1])[0])
    # With the statistics of each batch a slice would not be what it is alone.
    free = slice_pyramid.build("test_resnet").train()
    assert not torch.allclose(free(slices)[0][:1], free(slices[:1])[0], atol=1e-2)
