"""Which directions CDAD protects: those that inputs really have, and which images show them."""

import pytest
import torch

from cad_edge.errors import CadEdgeError
from cad_edge_training.methods.cdad.bases import LayerBases
from cad_edge_training.methods.cdad.inputs import recorded_inputs
from cad_edge_training.methods.cdad.network import Network, sampling_of
from cad_edge_training.methods.cdad.protection import protect, sampled
from tests.training.small_cdad import drawn_data, options

CHANNELS, GRID = 8, (4, 4)
NONE = LayerBases({})


@pytest.fixture(scope="module")
def network() -> Network:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return Network(options(), CHANNELS, GRID).eval()


@pytest.fixture(scope="module")
def noise() -> torch.Tensor:
    with torch.random.fork_rng([]):
        torch.manual_seed(1)
        return torch.randn(1, CHANNELS, *GRID)


class Columns:
    """Keeps what layers see."""

    def __init__(self) -> None:
        self.by_name: dict[str, list[torch.Tensor]] = {}

    def add(self, name: str, columns: torch.Tensor) -> None:
        self.by_name.setdefault(name, []).append(columns.double())

    def matrix(self, name: str) -> torch.Tensor:
        return torch.cat(self.by_name[name], dim=1)


def columns_of(network, data, noise, config) -> Columns:
    """All inputs of all layers while the sampler restores the images that are recorded."""
    found = Columns()
    with torch.no_grad(), recorded_inputs(network.projected(), found, network.basis_of()):
        for image in sampled(data, config.sampled):
            network(image, noise, sampling_of(config))
    return found


def held(basis: torch.Tensor, columns: torch.Tensor) -> float:
    """Share of the energy of columns within a basis."""
    within = basis.double().T @ columns
    return float(within.square().sum() / columns.square().sum())


class TestSampled:
    @pytest.mark.parametrize(
        ("images", "share", "expected"),
        [
            (30, 0.1, [0, 3, 5, 8, 11, 13, 16, 18, 21, 24, 26, 29]),
            (5, 0.1, [0, 1, 2, 3, 4]),
            (14, 1.0, list(range(14))),
        ],
    )
    def test_images_are_spread_and_every_second_has_a_defect(self, images, share, expected):
        data = drawn_data(images=images)
        wanted = [
            data.defective.latents[place, number // 2 % 2]
            if number % 2
            else data.clean.latents[place]
            for number, place in enumerate(expected)
        ]
        found = list(sampled(data, share))
        assert len(found) == len(wanted)
        assert all(
            torch.equal(one.latents[0], other) for one, other in zip(found, wanted, strict=True)
        )

    def test_a_tenth_of_many(self):
        assert len(list(sampled(drawn_data(images=201), 0.1))) == 21


def test_a_basis_has_the_leading_left_singular_vectors_of_all_columns(network, noise):
    data, config = drawn_data(), options(energy=0.9)
    found = protect(network, data, noise, NONE, config)
    columns = columns_of(network, data, noise, config)
    assert set(found.by_name) == set(columns.by_name)
    for name, basis in found.by_name.items():
        vectors, values, _ = torch.linalg.svd(columns.matrix(name), full_matrices=False)
        energies = values.square() / values.square().sum()
        rank = 1 + int((energies.cumsum(0) < 0.9 - 1e-9).sum())
        assert basis.shape[1] == rank, name
        same = vectors[:, :rank].T @ basis.double()
        assert float(same.square().sum()) == pytest.approx(rank, abs=1e-3), name


def test_bases_are_of_all_layers_but_the_times(network, noise):
    found = protect(network, drawn_data(), noise, NONE, options())
    assert not any("time" in name for name in found.by_name)
    assert not any(name.endswith(".key") for name in found.by_name), "that of the query is theirs"
    assert {
        name.removesuffix("key") + "query" for name in network.projected() if ".key" in name
    } < (set(found.by_name))
    assert {"unet.conv_in", "unet.conv_out", "amn.local.convs.0"} < set(found.by_name)


def test_the_network_and_torchs_generator_are_left_alone(network, noise):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    torch.manual_seed(3)
    state = torch.get_rng_state()
    protect(network, drawn_data(), noise, NONE, options())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(one._forward_pre_hooks for one in network.modules())


@pytest.mark.parametrize("bases", ["gram", "isvd"])
def test_bases_grow_and_every_product_keeps_its_energy(network, noise, bases):
    config = options(bases=bases, energy=0.9)
    first, second = drawn_data(), drawn_data(images=8)
    second.clean.latents.mul_(torch.linspace(0.1, 6, CHANNELS)[:, None, None]).add_(3)
    before = protect(network, first, noise, NONE, config)
    after = protect(network, second, noise, before, config)
    rows = [columns_of(network, one, noise, config) for one in (first, second)]
    grew = 0
    for name, basis in after.by_name.items():
        old = before.by_name[name]
        grew += basis.shape[1] - old.shape[1]
        assert torch.equal(basis[:, : old.shape[1]], old), "old directions, bit for bit"
        torch.testing.assert_close(basis.T @ basis, torch.eye(basis.shape[1]), atol=1e-5, rtol=0)
        assert min(held(basis, one.matrix(name)) for one in rows) >= 0.9 - 1e-6, name
    assert grew > 0


def test_incremental_svd_and_second_moments_agree_on_what_is_needed(network, noise):
    found = {
        bases: protect(network, drawn_data(), noise, NONE, options(bases=bases, energy=0.99))
        for bases in ("gram", "isvd", "paper_isvd")
    }
    shares = {bases: one.share().overall for bases, one in found.items()}
    # What incremental SVD has cut off it needs more directions to make up for.
    assert shares["gram"] <= shares["isvd"] < shares["gram"] + 0.1
    assert shares["paper_isvd"] < shares["isvd"]


def test_inputs_that_are_not_finite_are_refused(network, noise):
    data = drawn_data()
    data.clean.latents[0, 0, 0, 0] = float("inf")
    for bases in ("gram", "isvd"):
        with pytest.raises(CadEdgeError, match=r"not finite, .*; learn it with a lower learning_r"):
            protect(network, data, noise, NONE, options(bases=bases))
