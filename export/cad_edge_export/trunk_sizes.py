"""The backbone of an export at every input size that its tasks have."""

from collections.abc import Sequence

from cad_edge.data.image import ImageRecipe
from cad_edge.errors import ArtifactError, OptionError
from cad_edge.store.artifact import LearnedTask
from cad_edge.store.manifest import Manifest
from cad_edge_export.plan import ExportPlan
from cad_edge_training.backbones import Backbone, load_backbone


class TrunkSizes:
    """One backbone: the selector's, and the same at the sizes of engines that have another."""

    def __init__(self, routing: Backbone) -> None:
        self.routing = routing
        """At the size at which products are recognised."""
        self._found = {routing.recipe: routing}

    def at(self, recipe: ImageRecipe) -> Backbone:
        """Return the backbone that takes images of ``recipe``; all of them share their weights.

        Raises
        ------
        OptionError
            This backbone has one size.
        """
        if recipe not in self._found:
            self._found[recipe] = self.routing.at_size(recipe.width)
        return self._found[recipe]


def trunk_sizes(
    learned: Sequence[LearnedTask], before: Manifest | None, plan: ExportPlan
) -> TrunkSizes:
    """Load the backbone that all tasks have in common.

    Parameters
    ----------
    learned
        Tasks to export, at least one where ``before`` is None.
    before
        The bundle before this export.
    plan
        Says where the weights are, if the artifacts alone do not.

    Raises
    ------
    ArtifactError
        Tasks differ in backbone, in the size at which they are recognised, or in views; or the
        weights found are others.
    """
    wanted = before.backbone if before else learned[0].artifact.backbone
    for task in learned:
        found = task.artifact.backbone
        if found != wanted:
            raise ArtifactError(
                f"task {task.artifact.task} was learned on {found.id} ({found.sha256[:12]}), the "
                f"others on {wanted.id} ({wanted.sha256[:12]}); one bundle routes in one feature "
                "space, so export it to a bundle of its own"
            )
    side = _routing_side(learned, before)
    _check_views(learned, before)
    backbone = load_backbone(plan.backbone or wanted.id, side)
    if backbone.identity.sha256 != wanted.sha256:
        raise ArtifactError(
            f"the weights of {wanted.id} found here ({backbone.identity.sha256[:12]}) are not "
            f"those the tasks were learned on ({wanted.sha256[:12]}); give the "
            "right ones by --backbone"
        )
    return TrunkSizes(backbone)


def _routing_side(learned: Sequence[LearnedTask], before: Manifest | None) -> int:
    """Pixels of the images by which all products are recognised."""
    recipes = [one.artifact.recognised_at for one in learned]
    if before:
        recipes.append(before.selector.engine.recipe)
    sizes = sorted({(recipe.width, recipe.height) for recipe in recipes})
    if len(sizes) > 1:
        raise ArtifactError(
            f"the tasks were learned at different sizes ({sizes}), and one bundle routes at one "
            "size; export them to bundles of their own, or learn all with --size auto"
        )
    return sizes[0][0]


def _check_views(learned: Sequence[LearnedTask], before: Manifest | None) -> None:
    """Raise ArtifactError where the frames of one bundle would differ in their number of views."""
    found = {one.artifact.views for one in learned}
    if before:
        found.add(before.selector.engine.views)
    if len(found) > 1:
        raise ArtifactError(
            f"the tasks were learned with different numbers of views ({sorted(found)}); one bundle "
            "has frames of one number, so export them to bundles of their own"
        )


def check_one_size(new: Sequence[LearnedTask], plan: ExportPlan) -> None:
    """Raise OptionError where a task for an eight-bit bundle is recognised at another size.

    Rounding moves the descriptors of the entry, which is measured at the size of the task.
    """
    for task in new:
        artifact = task.artifact
        side, routed = artifact.recipe.width, artifact.recognised_at.width
        if plan.style is not None and side != routed:
            raise OptionError(
                f"{artifact.task} was learned at {side} px and is recognised at {routed} px, and "
                f"{plan.precision} is measured at one size; learn it with --size {routed}, or give "
                "--precision fp32 or fp16"
            )
