"""Drawn experts behind the interface of fitted ones: units, constants and who is left out."""

import pytest
import torch
from torch.nn import functional

from cad_edge.errors import ArtifactError
from cad_edge_training.backbones import load_backbone
from cad_edge_training.methods.anomaly_moe.config import Config
from cad_edge_training.methods.anomaly_moe.discriminant import NEVER
from cad_edge_training.methods.anomaly_moe.drawn import global_expert, patch_expert
from cad_edge_training.methods.anomaly_moe.drawn.experts import draw_experts
from cad_edge_training.methods.anomaly_moe.drawn.layout import Layout
from cad_edge_training.methods.anomaly_moe.drawn.pool import (
    Components,
    Constants,
    DrawnPool,
    components_of,
    pixels_of,
)
from cad_edge_training.methods.anomaly_moe.drawn.router import draw_router
from cad_edge_training.methods.anomaly_moe.drawn.step import experts_of
from cad_edge_training.methods.anomaly_moe.drawn.training_data import DrawnExperts, TrainingRecord
from cad_edge_training.methods.anomaly_moe.drawn.units import fit_descriptors, fit_space
from cad_edge_training.methods.anomaly_moe.fitted_pool import FrozenFeatures
from cad_edge_training.methods.anomaly_moe.fitting import with_weights
from cad_edge_training.methods.anomaly_moe.gates import gates
from cad_edge_training.methods.anomaly_moe.pool import SIZE, experts_in, require_size
from cad_edge_training.methods.anomaly_moe.routing import logits_of

LAYOUT = Layout(channels=(2, 1), grid=(2, 2), pixels=(16, 16), descriptor=4, geometry=3)


def config(**options: object) -> Config:
    small = {"groups": ("1", "2"), "experts": 2, "width": 8, "heads": 2, "depth": 1}
    return Config.model_validate({**small, **options})


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class TestOperators:
    @pytest.mark.parametrize(("cells", "size"), [((3, 3), (7, 7)), ((31, 9), (14, 28))])
    def test_resizing_by_products_is_bilinear_interpolation(self, cells, size):
        maps = torch.randn(2, 3, *cells, generator=seeded())
        expected = functional.interpolate(maps, size=size, mode="bilinear", align_corners=False)
        torch.testing.assert_close(global_expert._resized(maps, size), expected)

    def test_positive_features_are_elu_plus_one_with_its_slope(self):
        values = torch.tensor([-60.0, -1.0, 0.0, 0.5, 7.0], requires_grad=True)
        found = patch_expert._positive(values)
        torch.testing.assert_close(found, functional.elu(values) + 1)
        (slope,) = torch.autograd.grad(found.sum(), values)
        torch.testing.assert_close(slope, values.detach().clamp(max=0).exp())


class TestUnits:
    def test_pixels_are_those_of_the_backbone(self):
        backbone = load_backbone("efficientnet-lite0", 64)
        images = torch.randint(0, 256, (2, 8, 6, 3), generator=seeded(), dtype=torch.uint8)
        space = fit_space(torch.randn(3, 4, 5, generator=seeded()), backbone)
        torch.testing.assert_close(pixels_of(space, images), backbone.normalise(images))

    def test_numbers_of_a_descriptor_that_hardly_vary_are_not_blown_up(self):
        descriptors = torch.tensor([[0.0, 5.0], [2.0, 5.0]])
        found = fit_descriptors(descriptors)
        assert found["mean"].tolist() == [1, 5]
        assert found["deviation"].tolist() == pytest.approx([1, 1e-3 * 0.5])

    def test_components_of_a_worked_example(self):
        """Two clusters: the left column of 2 x 2 cells and the right one; a third is empty."""
        space = {
            "centres": torch.tensor([[0.0, 0, 0], [9, 9, 9], [99, 99, 99]]),
            "geometry_mean": torch.tensor([[0.5, 0, -1], [0.5, 0, 0], [0.1, 0.2, 0.3]]),
            "geometry_gain": torch.tensor([[1.0, 1, 1], [2, 2, 2], [1, 1, 1]]),
        }
        cells = torch.tensor([[1.0, 0, 0], [8, 9, 9], [1, 0, 0], [8, 9, 9]])[None]
        found = components_of(space, cells, LAYOUT)
        assert found.members[0].tolist() == [[1, 0, 1, 0], [0, 1, 0, 1], [0, 0, 0, 0]]
        assert found.present[0].tolist() == [1, 1, 0]
        assert found.vectors[0].tolist() == [[1, 0, 0, 0, 0, 0], [8, 9, 9, 0, 0, 2], [0] * 6]


class TestConstants:
    def test_directions_and_geometry_of_a_worked_example(self):
        """Directions (1, 0, 0) and (0, 1, 0) of lengths 2 and 5; the second component once."""
        vectors = torch.tensor(
            [
                [[2.0, 0, 0, 1, 0, 0], [0, 0, 4, 3, 3, 3]],
                [[0.0, 5, 0, 3, 0, 0], [0, 0, 0, 0, 0, 0]],
            ]
        )
        present = torch.tensor([[1.0, 1], [1, 0]])
        projected = torch.stack([torch.zeros(4, 3), torch.full((4, 3), 6.0)])
        found = Constants.of(projected, Components(vectors, present, torch.zeros(0)), LAYOUT)
        assert found.components.tolist() == [[0.5, 0.5, 0, 2, 0, 0], [0, 0, 1, 3, 3, 3]]
        assert found.whole.tolist() == [[3.0] * 3] * 4

    def test_an_expert_that_says_the_mean_explains_nothing(self):
        """Weights 0 and the mean as bias of the last layer: R^2 = 0 for whole and components."""
        options, layout = config(experts=1), LAYOUT
        drawn = draw_experts(options, layout, seeded())
        tensors = {name.replace(".", "/"): torch.zeros_like(one) for name, one in drawn.items()}
        patches = torch.randn(5, 1, 3, generator=seeded()).expand(5, 4, 3) + 2
        space = {
            "mean": torch.zeros(3),
            "deviation": torch.ones(3),
            "pixel_scale": torch.ones(3),
            "pixel_offset": torch.zeros(3),
            "centres": torch.tensor([[0.0, 0, 0]]),
            "geometry_mean": torch.tensor([[1.0, 0, 0]]),
            "geometry_gain": torch.ones(1, 3),
        }
        constants = Constants.of(patches, components_of(space, patches, layout), layout)
        last = max(name for name in tensors if "decoder" in name and name.endswith("bias"))
        tensors[last] = patches.mean((0, 1))
        tensors["component/0/layer/5/bias"] = constants.components[0]
        pool = DrawnPool(tensors | with_weights("space", space), layout, options, constants)
        seen = FrozenFeatures(
            patches, torch.zeros(5, 4), torch.zeros(5, 16, 16, 3, dtype=torch.uint8)
        )
        for level in ("component", "global"):
            error, constant = pool.expert_errors(level, 0, seen, pool.project(seen)).squares.mean(0)
            assert error > 0.01
            torch.testing.assert_close(error, constant, rtol=1e-4, atol=0)


class TestUnused:
    def test_an_expert_that_no_image_chose_is_dropped_and_never_chosen(self):
        options = config(routing="per_level")
        router = draw_router(options, LAYOUT, seeded())
        router["layer.1.bias"] = torch.tensor([0.0, 9, 0, 9, 9, 0])
        record = TrainingRecord(
            {},
            {},
            dict(
                zip(
                    ("patch.0", "patch.1", "component.0", "component.1", "global.0", "global.1"),
                    (5, 0, 3, 2, 0, 5),
                    strict=True,
                )
            ),
            0.0,
        )
        drawn = draw_experts(options, LAYOUT, seeded())
        found = experts_of(DrawnExperts(drawn, router, record))
        assert experts_in(found) == [
            ("component", 0),
            ("component", 1),
            ("global", 1),
            ("patch", 0),
        ]
        assert found["router/layer/1/bias"].tolist() == [0, NEVER, 0, 9, NEVER, 0]
        units = {"mean": torch.zeros(4), "deviation": torch.ones(4)}
        own = {name.removeprefix("router/"): one for name, one in found.items()} | units
        descriptors = torch.randn(9, 4, generator=seeded())
        chosen = gates(logits_of(own, descriptors), options)
        assert chosen[:, [1, 4]].abs().max() == 0 and chosen.isfinite().all()


def test_another_input_size_is_refused():
    backbone = load_backbone("efficientnet-lite0", 96)
    with pytest.raises(ArtifactError, match=r"at 64 x 64 pixels and cannot look at 96 x 96;"):
        require_size({SIZE: torch.tensor([64, 64]).numpy()}, backbone)
