"""What a folder of artifacts holds already, and whether new tasks go with it into one bundle."""

from collections.abc import Mapping
from pathlib import Path

from cad_edge.data.stream import Stream
from cad_edge.errors import ArtifactError
from cad_edge.store.artifact import Artifact, list_artifacts, read_record
from cad_edge_training.backbones import Backbone


def held_artifacts(out: Path, stream: Stream) -> dict[str, Artifact]:
    """Artifacts that ``out`` holds, by name; what would stop the writing is said before learning.

    Raises
    ------
    ArtifactError
        ``out`` cannot be a folder, or something else has the name of a task.
    """
    place = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not place.is_dir():
        raise ArtifactError(f"{place} is a file; give --out a folder")
    if place != out:
        return {}
    if (out / "bundle.json").exists():
        raise ArtifactError(f"{out} is a bundle; give --out a folder of its own for artifacts")
    held = {path.name: read_record(path) for path in list_artifacts(out)}
    for task in stream.tasks:
        if task.name not in held and (out / task.name).exists():
            raise ArtifactError(
                f"{out / task.name} is there but holds no artifact; move it away, or give --out "
                "another folder"
            )
    return held


def check_held(held: Mapping[str, Artifact], out: Path, backbone: Backbone, views: int) -> None:
    """Raise ArtifactError where ``out`` holds what does not fit into one bundle with new tasks."""
    for record in held.values():
        if record.backbone != backbone.identity:
            raise ArtifactError(
                f"{out / record.task} was learned on {record.backbone.id} "
                f"({record.backbone.sha256[:12]}), not on {backbone.identity.id} "
                f"({backbone.identity.sha256[:12]}); give --out another folder"
            )
        held_at = record.recognised_at
        if held_at != backbone.recipe:
            known = "was learned" if record.routing_recipe is None else "is recognised"
            raise ArtifactError(
                f"{out / record.task} {known} at {held_at.width}x{held_at.height} px, not at "
                f"{backbone.recipe.width}x{backbone.recipe.height} px, and one bundle recognises "
                f"its products at one size; give --size {held_at.width}, or --out another folder"
            )
        if record.views != views:
            raise ArtifactError(
                f"{out / record.task} was learned with views: {record.views}, not {views}, and one "
                "bundle has one number of views; give --out another folder"
            )
