"""AnomalyMoE, fitted: every closed form against worked values, and held-out parts without a say."""

import math

import numpy as np
import pytest
import torch

from cad_edge_training.methods.anomaly_moe.config import LEVELS, Config
from cad_edge_training.methods.anomaly_moe.discriminant import (
    NEVER,
    fit_discriminant,
    log_weight,
)
from cad_edge_training.methods.anomaly_moe.fitted import (
    describe_components,
    global_error,
    global_residual,
    patch_error,
    project,
    standardised_components,
)
from cad_edge_training.methods.anomaly_moe.fitted_pool import (
    FrozenFeatures,
    assign,
    expert_errors,
    fit_pool,
)
from cad_edge_training.methods.anomaly_moe.fitting import (
    fit_components,
    fit_global,
    fit_patch,
    fit_space,
)
from cad_edge_training.methods.anomaly_moe.gates import gates
from cad_edge_training.methods.anomaly_moe.model import judge
from cad_edge_training.methods.anomaly_moe.routing import logits_of
from cad_edge_training.methods.anomaly_moe.scales import (
    LevelScale,
    cell_scale,
    cross_scaled,
    highest,
    level_and_map,
)

GRID = (2, 3)


def config(**options) -> Config:
    return Config.model_validate(
        {
            "groups": ("1",),
            "start": "fitted",
            "steps": 0,
            "form": "gaussian",
            "routing": "per_level",
            "experts": 1,
            "channels": 4,
            "rank": 2,
            "components": 2,
            "component_rank": 1,
            **options,
        }
    )


def drawn(rng, *shape: int) -> torch.Tensor:
    return torch.from_numpy(rng.normal(1, 2, shape).astype(np.float32))


class TestPatch:
    def test_it_is_the_mahalanobis_distance(self, rng):
        patches = drawn(rng, 9, 6, 3)
        flat = patches.flatten(0, 1).double().numpy()
        found = patch_error(fit_patch(patches, config(shrinkage=1e-9)), patches[:1])[0]
        centred = patches[0].double().numpy() - flat.mean(0)
        squares = np.einsum("pd,de,pe->p", centred, np.linalg.inv(np.cov(flat.T)), centred)
        assert np.allclose(found, np.sqrt(squares / 3), rtol=1e-4)

    def test_units_of_channels_do_not_matter(self, rng):
        patches, units = drawn(rng, 9, 6, 3), torch.tensor([1.0, 1000.0, 0.01])
        plain = patch_error(fit_patch(patches, config()), patches)
        scaled = patch_error(fit_patch(patches * units, config()), patches * units)
        assert torch.allclose(plain, scaled, rtol=1e-3)


class TestGlobal:
    def test_as_many_directions_as_images_vary_in_reproduce_every_image(self, rng):
        """Six images in four directions about their mean; the rank falls to two below six."""
        images = (drawn(rng, 6, 4) @ drawn(rng, 4, 24)).reshape(6, 6, 4)
        weights = fit_global(images, config(rank=9))
        assert weights["basis"].shape == (24, 9)
        assert (weights["basis"].norm(dim=0) > 0.5).sum() == 4
        five = torch.cat([images[:4], images[:1], images[1:2]])  # three directions
        residual = global_residual(fit_global(five, config(rank=4)), five)
        assert residual.abs().max() <= 1e-5 * five.abs().max()

    def test_without_directions_it_is_the_deviation_from_the_mean_image(self, rng):
        images = drawn(rng, 5, 6, 4)
        found = global_error(fit_global(images, config(rank=0)), images)
        assert torch.allclose(found, ((images - images.mean(0)) ** 2).mean(2).sqrt(), atol=1e-5)

    def test_a_direction_of_a_worked_example(self):
        """Images +-(3, 4) and 0: one direction (.6, .8); what lies across stays."""
        images = torch.tensor([[3.0, 4.0], [-3, -4], [0, 0], [0, 0]]).reshape(4, 1, 2)
        weights = fit_global(images, config(rank=1))
        assert torch.allclose(weights["basis"][:, 0].abs(), torch.tensor([0.6, 0.8]), atol=1e-6)
        across = torch.tensor([[[-4.0, 3.0]]])
        assert torch.allclose(global_residual(weights, across), across, atol=1e-5)

    def test_basis_is_that_of_the_singular_values(self, rng):
        images = drawn(rng, 9, 6, 4)
        basis = fit_global(images, config(rank=2))["basis"].double()
        _, _, rows = np.linalg.svd((images - images.mean(0)).flatten(1).double().numpy())
        assert np.allclose(basis @ basis.T, rows[:2].T @ rows[:2], atol=1e-5)


class TestComponents:
    def test_cells_areas_and_centres_of_a_worked_example(self):
        """Two clusters: the left column of 2 x 3 cells, and the rest."""
        cells = torch.tensor([[0.0, 9, 9, 0, 9, 9]]).reshape(1, 6, 1)
        weights = {"centres": torch.tensor([[0.0], [9.0]])}
        vectors, members = describe_components(weights, cells, GRID, geometry=True)
        assert members[0].tolist() == [[1, 0, 0, 1, 0, 0], [0, 1, 1, 0, 1, 1]]
        assert torch.allclose(vectors[0, 0], torch.tensor([0, 2 / 6, 0, -1]))
        assert torch.allclose(vectors[0, 1], torch.tensor([9, 4 / 6, 0, 0.5]))

    def test_equally_near_centres_give_a_cell_to_the_first(self):
        weights = {"centres": torch.tensor([[1.0], [1.0], [-1.0]])}
        _, members = describe_components(weights, torch.zeros(1, 6, 1), GRID, geometry=False)
        assert members[0, 0].tolist() == [1] * 6

    def test_a_missing_component_has_no_features_and_no_cells_but_an_area_of_zero(self):
        weights = {
            "centres": torch.tensor([[0.0], [50.0]]),
            "mean": torch.tensor([[0.0, 0.5, 0, 0], [50.0, 0.5, 0.3, 0.3]]),
            "gain": torch.tensor([[1.0, 10.0, 1, 1], [1.0, 10.0, 1, 1]]),
            "basis": torch.zeros(2, 4, 1),
        }
        described = describe_components(weights, torch.zeros(1, 6, 1), GRID, geometry=True)
        found = standardised_components(weights, described, geometry=True)
        assert found[0, 1].tolist() == [0, -5, 0, 0], "area alone: (0 - .5) * 10"
        said = expert_errors(
            "component", weights, torch.zeros(1, 6, 1), torch.zeros(1, 6, 1), GRID, True
        )
        assert said.members is not None and said.members[0, 1].sum() == 0
        assert said.errors.isfinite().all()

    def test_without_geometry_a_missing_component_says_nothing(self):
        weights = {
            "centres": torch.tensor([[0.0], [50.0]]),
            "mean": torch.tensor([[0.0], [50.0]]),
            "gain": torch.ones(2, 1),
            "basis": torch.zeros(2, 1, 1),
        }
        described = describe_components(weights, torch.zeros(1, 6, 1), GRID, geometry=False)
        assert standardised_components(weights, described, geometry=False)[0, 1].item() == 0

    def test_more_components_than_distinct_patches(self, rng):
        images = torch.zeros(6, 6, 4)
        images[:, 3:] = 1
        weights = fit_components(images, GRID, config(components=4), seed=0)
        assert weights["centres"].shape == (4, 4)
        said = expert_errors("component", weights, images, images, GRID, True)
        assert said.members is not None
        assert said.members.sum(2)[0].tolist() == [3, 3, 0, 0]
        assert said.errors.isfinite().all()


class TestScales:
    def test_cells_of_a_worked_example(self):
        """Variances 1 and 4, mean 2.5: .8 * 1 + .2 * 2.5 = 1.3 and .8 * 4 + .5 = 3.7."""
        shift, gain = cell_scale(torch.tensor([[1.0, 2.0], [3.0, 6.0]]))
        assert shift.tolist() == [2, 4]
        assert torch.allclose(gain, torch.tensor([1.3**-0.5, 3.7**-0.5]))

    def test_highest_cells(self):
        cells = torch.arange(196.0)[None]
        assert highest(cells, 0.01).item() == pytest.approx((195 + 194) / 2)
        assert highest(torch.rand(1, 256 * 256), 0.01).shape == (1,)
        assert math.ceil(0.01 * 256**2) == 656, (
            "the released 1 % of 256 x 256 are 655, rounded down"
        )

    def test_a_part_has_no_say_in_its_own_scale(self, rng):
        errors, parts = drawn(rng, 12, 3), torch.arange(12) % 3
        found = cross_scaled(errors, parts)
        shift, gain = cell_scale(errors[parts != 0])
        assert torch.allclose(found[0], (errors[0] - shift) * gain)
        errors[0] += 100
        again = cross_scaled(errors, parts)
        assert torch.allclose(again[0] - found[0], 100 * gain, rtol=1e-3)

    def test_component_errors_are_painted_on_their_cells(self):
        scale = LevelScale(
            torch.tensor([1.0, 2.0]), torch.tensor([2.0, 1.0]), torch.tensor(1.0), torch.tensor(3.0)
        )
        members = torch.tensor([[[1.0, 0, 1], [0, 1, 0]]])
        said, painted = level_and_map(scale, torch.tensor([[2.0, 5.0]]), members, 0.01)
        assert painted.tolist() == [[2, 3, 2]]
        assert said.item() == pytest.approx((3.5 - 1) * 3)


class TestRouter:
    def test_weights_are_explained_over_unexplained_variance(self):
        assert log_weight(0.5) == pytest.approx(0)
        assert log_weight(0.75) == pytest.approx(math.log(3))
        assert log_weight(-1.0) == pytest.approx(math.log(1e-6), rel=1e-5)
        assert log_weight(1.0) == pytest.approx(math.log(99), rel=1e-5)

    def test_discriminant_of_a_worked_example(self):
        """Means 0 and 4, variance 1 + 10 %: the boundary lies at 2, and e^(x/1.1) beyond it."""
        one = torch.tensor([[-1.0], [1.0], [3.0], [5.0]])
        router = fit_discriminant(one, torch.tensor([0, 0, 1, 1]), 3)
        scores = torch.tensor([[2.0], [3.0]]) @ router["matrix"] + router["bias"]
        assert scores[0, 1] - scores[0, 0] == pytest.approx(0, abs=1e-6)
        assert scores[1, 1] - scores[1, 0] == pytest.approx(4 / 1.1, rel=1e-5)
        assert router["bias"][2] == NEVER

    def test_gates_of_one_expert_a_level_are_the_shares_of_its_weight(self):
        router = {}
        for level, weight in zip(LEVELS, (1.0, 0.5, 2.5), strict=True):
            router[f"{level}/matrix"] = torch.zeros(2, 1)
            router[f"{level}/bias"] = torch.zeros(1)
            router[f"{level}/log_weight"] = torch.tensor([math.log(weight)])
        found = gates(logits_of(router, torch.zeros(1, 2)), config())
        assert torch.allclose(found, torch.tensor([[0.25, 0.125, 0.625]]))

    def test_two_variants_get_an_expert_each(self, rng):
        """Images of two patterns: a single direction for both would explain neither."""
        pattern = drawn(rng, 2, 6, 4) * 10
        which = torch.arange(40) % 2
        noise = drawn(rng, 40, 1, 1)
        patches = pattern[which] * (1 + 0.1 * noise) + 0.01 * drawn(rng, 40, 6, 4)
        seen = FrozenFeatures(patches, which[:, None].float() + 0.01 * drawn(rng, 40, 1))
        found = assign(seen, torch.zeros(40, dtype=torch.int64), 2, GRID, config(experts=2), 0)
        for level in LEVELS:
            assert len(set(zip(found[level].tolist(), which.tolist(), strict=True))) == 2, level


class TestJudge:
    def test_an_expert_with_gate_zero_says_nothing_even_nan(self, rng):
        options = config(experts=2)
        patches = drawn(rng, 24, 6, 4)
        seen = FrozenFeatures(patches, drawn(rng, 24, 2))
        chosen = dict.fromkeys(LEVELS, torch.arange(24) % 2)
        pool = fit_pool(seen, chosen, 2, GRID, options, 0)
        cells = {"patch": 6, "component": 2, "global": 6}
        scales = {
            (level, number): LevelScale(
                torch.zeros(cells[level]),
                torch.ones(cells[level]),
                torch.tensor(0.0),
                torch.tensor(1.0),
            )
            for level in LEVELS
            for number in (0, 1)
        }
        gate = torch.tensor([[0.5, 0, 0.25, 0, 0.25, 0]]).expand(24, -1)
        before = judge(pool, seen, scales, gate, options)
        for name, value in pool.tensors.items():
            if name.split("/")[1] == "1":
                pool.tensors[name] = torch.full_like(value, torch.nan)
        after = judge(pool, seen, scales, gate, options)
        assert torch.equal(before.score, after.score) and before.score.isfinite().all()
        assert torch.equal(before.level_maps, after.level_maps)
        assert torch.allclose(before.levels.sum(1), before.score)

    def test_principal_channels_keep_what_varies(self, rng):
        """Two of four channels vary, alike in every unit: two directions keep all of it."""
        patches = torch.zeros(8, 6, 4)
        patches[..., 1], patches[..., 3] = drawn(rng, 8, 6), 100 * drawn(rng, 8, 6)
        space = fit_space(patches, config(channels=2))
        kept = project(space, patches).flatten(0, 1)
        assert kept.var(0, unbiased=False).sum().item() == pytest.approx(2, rel=0.05)
