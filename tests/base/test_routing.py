"""The selector against closed forms, brute-force refits and another implementation."""

import itertools
import math

import numpy as np
import pytest

from cad_edge.calibration import conformal_threshold
from cad_edge.recognition import REJECTION_MARGIN
from cad_edge.routing import (
    SAMPLES,
    SHRINKAGE,
    SMALLEST_RADIUS,
    SURE_RATE,
    RoutingStatistics,
    fit_discriminant,
    from_tensors,
    held_out_distances,
    recognition_radius,
    shared_covariance,
    summarise,
    sure_radius,
)

pytestmark = pytest.mark.torchless

WIDTH = 6
NAMES = ("brick", "grass", "gravel", "wood")


@pytest.fixture
def descriptors(rng) -> dict[str, np.ndarray]:
    """Descriptors (n, 6) per task: own means and counts, one covariance that is no identity."""
    mixing = rng.normal(size=(WIDTH, WIDTH))
    return {
        name: rng.normal(0, 4, WIDTH) + rng.normal(size=(20 + 7 * number, WIDTH)) @ mixing
        for number, name in enumerate(NAMES)
    }


@pytest.fixture
def tasks(descriptors) -> dict[str, RoutingStatistics]:
    return {name: summary(values) for name, values in descriptors.items()}


def summary(values: np.ndarray, groups: list[str] | None = None) -> RoutingStatistics:
    keys = values[:3].astype(np.float32)
    return summarise(values, keys, np.arange(4, dtype=np.float32), groups)


def pooled(descriptors: dict[str, np.ndarray]) -> np.ndarray:
    """Shrunk covariance straight from all descriptors at once, each centred on its task."""
    centred = np.concatenate([values - values.mean(axis=0) for values in descriptors.values()])
    covariance = centred.T @ centred / (len(centred) - len(descriptors))
    return (1 - SHRINKAGE) * covariance + SHRINKAGE * np.diag(np.diag(covariance))


def mahalanobis(points: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    centred = points - mean
    return np.sqrt(np.einsum("nd,nd->n", centred @ np.linalg.inv(covariance), centred))


def test_summing_up_tasks_equals_learning_all_descriptors_jointly(descriptors, tasks):
    covariance = pooled(descriptors)
    np.testing.assert_allclose(shared_covariance(list(tasks.values())), covariance, rtol=1e-12)
    fitted = fit_discriminant(tasks)
    everything = np.concatenate(list(descriptors.values()))
    expected = np.stack(
        [
            mahalanobis(everything, descriptors[name].mean(axis=0), covariance)
            for name in fitted.tasks
        ],
        axis=1,
    )
    np.testing.assert_allclose(fitted.distances(everything), expected, rtol=1e-9)


def test_every_order_of_learning_gives_the_same_bits(tasks, rng):
    probe = rng.normal(size=(5, WIDTH))
    first = fit_discriminant(tasks)
    for order in itertools.permutations(tasks):
        other = fit_discriminant({name: tasks[name] for name in order})
        assert other.tasks == first.tasks == tuple(sorted(NAMES))
        assert other.radii == first.radii
        for ours, theirs in zip(vars(first).values(), vars(other).values(), strict=True):
            if isinstance(ours, np.ndarray):
                assert ours.tobytes() == theirs.tobytes()
        assert first.distances(probe).tobytes() == other.distances(probe).tobytes()


def test_decisions_are_those_of_linear_discriminant_analysis(descriptors, tasks, rng):
    discriminant_analysis = pytest.importorskip("sklearn.discriminant_analysis")
    covariance = shared_covariance(list(tasks.values()))

    class Shared:
        """Covariance estimator that gives ours, so that only the decisions are compared."""

        def fit(self, values):
            self.covariance_ = covariance
            return self

    labels = np.repeat(NAMES, [len(descriptors[name]) for name in NAMES])
    everything = np.concatenate([descriptors[name] for name in NAMES])
    theirs = discriminant_analysis.LinearDiscriminantAnalysis(
        solver="lsqr", priors=np.full(4, 0.25), covariance_estimator=Shared()
    ).fit(everything, labels)
    fitted = fit_discriminant(tasks)
    frames = rng.normal(0, 4, (500, WIDTH))
    squares = fitted.distances(frames) ** 2
    # Log posteriors and squared distances differ by a term per frame and a factor of -1/2.
    scores = theirs.decision_function(frames)
    np.testing.assert_allclose(
        (squares[:, :1] - squares) / 2, scores - scores[:, :1], rtol=1e-7, atol=1e-7
    )
    chosen = [fitted.tasks[index] for index in squares.argmin(axis=1)]
    assert chosen == list(theirs.predict(frames))


def test_distance_to_a_task_left_out_of_the_fit_is_its_refit(descriptors, tasks):
    """Take one descriptor away, refit mean and shared covariance, measure it: brute force.

    The shrinkage towards the diagonal does not follow a rank-one change, and the divisor keeps
    counting all descriptors; the refit here does the same.
    """
    covariance = shared_covariance(list(tasks.values()))
    matrix = np.linalg.cholesky(np.linalg.inv(covariance))
    freedom = sum(len(values) for values in descriptors.values()) - len(descriptors)
    for name, values in descriptors.items():
        got = held_out_distances(tasks[name], matrix, freedom)
        assert len(got) == len(tasks[name].samples) == len(values)
        for index in range(0, len(values), 5):
            rest = np.delete(values, index, axis=0)
            mean = rest.mean(axis=0)
            change = scatter(values) - scatter(rest)
            refit = covariance - (1 - SHRINKAGE) * change / freedom
            expected = mahalanobis(values[index : index + 1], mean, refit)
            np.testing.assert_allclose(got[index], expected[0], rtol=1e-5)


def scatter(values: np.ndarray) -> np.ndarray:
    centred = values - values.mean(axis=0)
    return centred.T @ centred


def test_left_out_distances_are_those_of_new_images(rng):
    """With more descriptors than numbers in one: held-out distances are neither kind nor harsh."""
    learned = {name: rng.normal(size=(24, WIDTH)) + 9 * number for number, name in enumerate("abc")}
    tasks = {name: summary(values) for name, values in learned.items()}
    fitted = fit_discriminant(tasks)
    held_out = np.concatenate([held_out_distances(tasks[n], fitted.matrix, 69) for n in tasks])
    new = fitted.distances(rng.normal(size=(20_000, WIDTH)))[:, 0]
    seen = fitted.distances(learned["a"])[:, 0]
    assert seen.mean() < new.mean()
    assert held_out.mean() == pytest.approx(new.mean(), rel=0.08)


@pytest.mark.parametrize(("count", "tasks"), [(10, 1), (20, 1), (4, 5), (10, 3)])
def test_radius_holds_new_parts_of_products_with_few_images(count, tasks, rng):
    """Fewer images than numbers in a descriptor: every image spans its own direction."""
    width = 128
    mixing = rng.normal(size=(width, width)) * np.exp(-np.arange(width) / 20)[:, None]
    means = rng.normal(0, 3, (tasks, width))
    learned = {
        f"task{number}": summary(mean + rng.normal(size=(count, width)) @ mixing)
        for number, mean in enumerate(means)
    }
    fitted = fit_discriminant(learned)
    new = fitted.distances(means[0] + rng.normal(size=(2000, width)) @ mixing)[:, 0]
    assert (new > REJECTION_MARGIN * fitted.radii[0]).mean() < 0.02


def test_radius_is_the_conformal_quantile_of_the_task_alone(tasks, descriptors, rng):
    values = rng.gamma(3.0, size=250)
    assert sure_radius(values) == conformal_threshold(sorted(values.tolist()), SURE_RATE)
    fitted = fit_discriminant(tasks)
    freedom = sum(len(one) for one in descriptors.values()) - len(descriptors)
    for column, name in enumerate(fitted.tasks):
        own = held_out_distances(tasks[name], fitted.matrix, freedom)
        assert fitted.radii[column] == sure_radius(own)
        assert fitted.radii[column] == recognition_radius(tasks[name], fitted.matrix, freedom)
        inside = fitted.distances(descriptors[name])[:, column] < fitted.radii[column]
        assert inside.mean() > 0.99
    strangers = fitted.distances(rng.normal(200, 1, (9, WIDTH)))
    assert (strangers > np.array(fitted.radii)).all()


def test_a_product_that_varies_more_has_a_larger_radius(rng):
    tasks = {
        name: summary(9 * place + spread * rng.normal(size=(40, WIDTH)))
        for place, (name, spread) in enumerate({"calm": 0.5, "lively": 3.0}.items())
    }
    calm, lively = fit_discriminant(tasks).radii
    assert lively > 3 * calm


def test_copies_of_one_picture_keep_a_radius(rng):
    tasks = {"copies": summary(np.ones((9, WIDTH))), "lively": summary(rng.normal(size=(9, WIDTH)))}
    assert fit_discriminant(tasks).radii[0] == SMALLEST_RADIUS


GROUPED = ("brick", "wood")


@pytest.fixture
def grouped(descriptors, rng) -> tuple[dict[str, np.ndarray], dict[str, list[str]]]:
    """Descriptors of which two tasks have groups of 1 to 9 images with offsets of their own."""
    values, groups = dict(descriptors), {}
    for name in GROUPED:
        count = len(values[name])
        members = rng.permutation(np.repeat(range(6), 9)[:count])
        members[0] = 99  # one image that is a group of its own
        offsets = rng.normal(0, 3, (100, WIDTH))
        values[name] = values[name] + offsets[members]
        groups[name] = [f"photograph {member}" for member in members]
    return values, groups


def test_distance_with_a_group_left_out_is_its_refit(grouped):
    """Brute force: the mean without the group, the scatter without what it adds between groups."""
    values, groups = grouped
    tasks = {name: summary(values[name], groups.get(name)) for name in values}
    covariance = shared_covariance(list(tasks.values()))
    matrix = np.linalg.cholesky(np.linalg.inv(covariance))
    freedom = sum(len(one) for one in values.values()) - len(values)
    for name in GROUPED:
        got = held_out_distances(tasks[name], matrix, freedom)
        members = np.array(groups[name])
        for index, member in enumerate(members):
            own, rest = values[name][members == member], values[name][members != member]
            between = scatter(values[name]) - scatter(rest) - scatter(own)
            refit = covariance - (1 - SHRINKAGE) * between / freedom
            expected = mahalanobis(values[name][index : index + 1], rest.mean(axis=0), refit)
            np.testing.assert_allclose(got[index], expected[0], rtol=1e-5)


def test_groups_of_one_image_are_no_groups(descriptors, tasks):
    matrix = fit_discriminant(tasks).matrix
    for name, values in descriptors.items():
        alone = summary(values, [f"{place:03d}" for place in range(len(values))])
        np.testing.assert_allclose(
            held_out_distances(alone, matrix, 99),
            held_out_distances(tasks[name], matrix, 99),
            rtol=1e-5,
        )


def test_one_image_left_out_is_a_factor_on_the_plain_distance(tasks):
    """The closed form for single images: n / (n - 1) sqrt(s / (1 - 0.9 n s / (n - 1) / f))."""
    task, matrix = tasks["wood"], fit_discriminant(tasks).matrix
    points = (task.samples.astype(np.float64) - task.mean) @ matrix
    squares, factor = (points * points).sum(axis=1), task.count / (task.count - 1)
    expected = factor * np.sqrt(squares / (1 - 0.9 * factor * squares / 99))
    np.testing.assert_allclose(held_out_distances(task, matrix, 99), expected, rtol=1e-12)


def test_windows_of_few_photographs_get_a_radius_that_holds_a_new_photograph(rng):
    """By single windows it would not: each has its neighbours among those that stay."""

    def windows(photographs: int) -> np.ndarray:
        offsets = rng.normal(0, 4, (photographs, 1, WIDTH))
        return (offsets + rng.normal(size=(photographs, 10, WIDTH))).reshape(-1, WIDTH)

    learned, names = windows(9), [f"photograph {place // 10}" for place in range(90)]
    new, inside = windows(200), {}
    for groups in (None, names):
        fitted = fit_discriminant({"road": summary(learned, groups)})
        inside[groups is None] = (fitted.distances(new)[:, 0] <= fitted.radii[0]).mean()
    assert inside[True] < inside[False] and inside[False] > 0.85


def test_groups_are_kept_whole_beside_the_samples(rng):
    values = rng.normal(size=(130, WIDTH))
    groups = [f"{place // 13}" for place in range(130)]
    task = summary(values, groups)
    assert len(task.samples) == len(task.group_means) == len(task.group_counts) == 44
    assert (task.group_counts == 13).all() and task.group_counts.dtype == np.int64
    np.testing.assert_allclose(task.group_means[-1], values[117:].mean(axis=0), rtol=1e-12)
    again = from_tensors(task.to_tensors())
    assert again.group_means.tobytes() == task.group_means.tobytes()
    assert again.group_counts.tobytes() == task.group_counts.tobytes()
    moved = task.moved(np.float64(2.0))
    np.testing.assert_allclose(moved.group_means, task.group_means + 2, rtol=1e-12)
    matrix = np.eye(WIDTH)
    np.testing.assert_allclose(
        held_out_distances(moved, matrix, 120), held_out_distances(task, matrix, 120), rtol=1e-5
    )


def test_tensors_without_groups_are_those_of_before(tasks):
    for task in tasks.values():
        assert list(task.to_tensors()) == [
            *("count", "mean", "scatter", "samples", "keys", "key_distances")
        ]
        assert from_tensors(task.to_tensors()).group_means is None


def test_packing_round_trip_is_bit_exact(tasks):
    for task in tasks.values():
        tensors = task.to_tensors()
        assert tensors["scatter"].shape == (WIDTH * (WIDTH + 1) // 2,)
        again = from_tensors(tensors)
        assert again.count == task.count
        for name in ("mean", "samples", "keys", "key_distances"):
            ours, theirs = getattr(task, name), getattr(again, name)
            assert ours.dtype == theirs.dtype and ours.tobytes() == theirs.tobytes()
        assert (again.scatter == again.scatter.T).all()
        upper = np.triu_indices(WIDTH)
        assert (again.scatter[upper] == task.scatter[upper]).all()


def test_unpacked_tasks_give_the_same_selector_bit_for_bit(tasks):
    packed = {name: from_tensors(task.to_tensors()) for name, task in tasks.items()}
    twice = {name: from_tensors(task.to_tensors()) for name, task in packed.items()}
    once, again = fit_discriminant(packed), fit_discriminant(twice)
    assert once.matrix.tobytes() == again.matrix.tobytes()
    assert once.keys.tobytes() == again.keys.tobytes() and once.radii == again.radii


@pytest.mark.parametrize(("count", "kept"), [(2, 2), (64, 64), (65, 33), (640, 64), (1000, 63)])
def test_samples_are_few_and_spread_over_all_descriptors(count, kept, rng):
    values = rng.normal(size=(count, WIDTH))
    samples = summary(values).samples
    assert len(samples) == kept <= SAMPLES and samples.dtype == np.float32
    np.testing.assert_array_equal(samples[0], values[0].astype(np.float32))
    step = -(-count // SAMPLES)
    np.testing.assert_array_equal(samples[-1], values[(kept - 1) * step].astype(np.float32))


def test_channel_that_never_varies_leaves_the_selector_finite(descriptors):
    for values in descriptors.values():
        values[:, 2] = 0.5
    tasks = {name: summary(values) for name, values in descriptors.items()}
    fitted = fit_discriminant(tasks)
    frames = descriptors["brick"].copy()
    assert np.isfinite(fitted.distances(frames)).all() and np.isfinite(fitted.radii).all()
    assert (fitted.distances(frames).argmin(axis=1) == 0).mean() > 0.9


def test_single_task_selects_itself_and_knows_strangers(descriptors, rng):
    fitted = fit_discriminant({"brick": summary(descriptors["brick"])})
    assert fitted.tasks == ("brick",) and np.isfinite(fitted.radii).all()
    assert (fitted.distances(descriptors["brick"]) < fitted.radii[0]).all()
    assert (fitted.distances(rng.normal(300, 1, (3, WIDTH))) > fitted.radii[0]).all()


def test_a_radius_of_few_images_is_that_of_their_tail(rng):
    """Ten distances 1..10: the upper half lies 3 above 5 on average, half of 11 places above it."""
    few = np.arange(1.0, 11.0)
    assert sure_radius(few) == pytest.approx(5 + 3 * math.log(5 / 11 / 0.01))
    many = rng.uniform(1, 2, 64)
    assert sure_radius(many) == many.max()
