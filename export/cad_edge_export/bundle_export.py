"""Exporting to a bundle in one call: what `cad-edge export` does, for programs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import get_args

from cad_edge.errors import OptionError
from cad_edge.routing import RoutingStatistics, from_tensors
from cad_edge.store.bundle import Bundle
from cad_edge.store.manifest import Certificate, GraphLayout, Manifest, Precision, SelectorKind
from cad_edge.store.signature import signer_of
from cad_edge.store.signatures import lost_expiry_notes, unsigned_note
from cad_edge_export.drift import drift_lines, stand_in_drift_lines
from cad_edge_export.exporter import export_folder
from cad_edge_export.missing_tasks import rgb_only_fallback_line
from cad_edge_export.plan import ExportPlan
from cad_edge_export.soundness import mistaken_lines
from cad_edge_export.stored_engine import read_tensors


@dataclass(frozen=True)
class ExportResult:
    """What a call of `export` did.

    Attributes
    ----------
    bundle
        Folder of the bundle, for `cad_edge_runtime.Detector.open`.
    version
        Number of the version in force.
    added
        Names of the tasks that this call added, in their order.
    certificates
        Of every task of the bundle by name: how closely its engine answers as torch did.
    notes
        Lines on what the new tasks changed of older ones, as the command prints them.

    Examples
    --------
    >>> from cad_edge_export import export
    >>> result = export("artifacts", bundle="bundle")
    >>> result.version, result.certificates["bracket"].flips
    (1, 0)
    """

    bundle: Path
    version: int
    added: tuple[str, ...]
    certificates: Mapping[str, Certificate]
    notes: tuple[str, ...]

    @property
    def flips(self) -> int:
        """How many verdicts on witness images differ from torch's, over all tasks."""
        return sum(found.flips for found in self.certificates.values())

    @property
    def largest_difference(self) -> float:
        """Largest difference of a score from torch's, as a fraction of its task's score range."""
        return max(found.score_max for found in self.certificates.values())


def export(
    artifacts: Path | str = "artifacts",
    bundle: Path | str = "bundle",
    layout: GraphLayout = "shared",
    precision: Precision = "fp32",
    calibration: Path | str | None = None,
    selector: SelectorKind | None = None,
    backbone: str | None = None,
    explanations: bool = True,
    merge_shared: bool = False,
    without_depth: Path | str | None = None,
    sign: Path | str | None = None,
    expires: datetime | None = None,
    *,
    progress: Callable[[str, int, int], None] | None = None,
) -> ExportResult:
    """Add to a bundle the learned tasks that it lacks: all of them in one step, or none.

    Parameters
    ----------
    artifacts
        Folder that `cad_edge_training.learn` wrote.
    bundle
        Folder of the bundle; made if it is not there.
    layout
        shared: one graph for all tasks; fused: one file per task.
    precision
        fp32, fp16, int8 (TensorRT's rules) or uint8 (eight bits for CPUs).
    calibration
        With eight bits: stream file, or folder of the products, with the good parts that they are
        measured on.
    selector
        How products are recognised; None: what the bundle has, else discriminant.
    backbone
        Where the backbone's weights are, e.g. ``clip:FOLDER``; None: where the artifact says.
    explanations
        Whether a task that asks a language model can be asked in words.
    merge_shared
        With ``layout="fused"``: whether shared experts lose their router and are merged, too.
    without_depth
        Folder of artifacts of the same products, learned from images alone, for frames that have no
        depth.
    sign
        PEM file of an Ed25519 private key that signs the version; None: it is unsigned.
    expires
        When the signature ends to be accepted, with its time zone; None: never.
    progress
        Called with (doing, done, total); None: silent.

    Returns
    -------
    ExportResult
        Version, names and certificates.

    Raises
    ------
    OptionError
        A value is not allowed, or two of them do not go together; the message names the option as
        the command line does.
    ArtifactError, BundleError
        An artifact or the bundle cannot be used.
    CertificateError
        An engine does not answer as torch did; the bundle stays as it was.
    TrustError
        The version that the bundle has is not signed, and ``sign`` would vouch for it.

    Examples
    --------
    >>> from cad_edge_export import export
    >>> result = export("artifacts", bundle="bundle")
    >>> result.version, result.added, result.flips
    (1, ('bracket',), 0)
    >>> export("artifacts", bundle="bundle").added
    ()
    """
    _require("--layout", layout, get_args(GraphLayout))
    _require("--precision", precision, get_args(Precision))
    if selector is not None:
        _require("--selector", selector, get_args(SelectorKind))
    measured = None if calibration is None else Path(calibration)
    signer = signer_of(None if sign is None else Path(sign), expires)
    plan = ExportPlan(layout, precision, selector, backbone, measured, explanations, merge_shared)
    store = Bundle(Path(bundle))
    base = store.pointer() if store.exists() else None
    signed = None if base is None or signer is None else store.statement()
    before = None if base is None else store.manifest(base)
    spare = None if without_depth is None else Path(without_depth)
    added = export_folder(Path(artifacts), store.path, plan, progress or _silent, spare, signer)
    after = store.manifest()
    notes = [*drift_lines(after, added), *stand_in_drift_lines(before, after)]
    if after.selector.kind == "discriminant":
        notes += mistaken_lines(_routing(after, store), added)
    if base is not None and base.signature is not None and store.pointer().signature is None:
        notes.append(unsigned_note(after.version))
    if before is None or after.version != before.version:
        notes += lost_expiry_notes(signed, signer, after.version)
    elif signer is not None:
        notes.append("nothing was signed, as nothing changed; `cad-edge sign` signs what is there")
    if spare is not None:
        notes.append(rgb_only_fallback_line(after))
    certificates = {name: entry.certificate for name, entry in after.tasks.items()}
    return ExportResult(store.path, after.version, tuple(added), certificates, tuple(notes))


def _routing(manifest: Manifest, store: Bundle) -> dict[str, RoutingStatistics]:
    return {
        name: from_tensors(read_tensors(entry.routing, store))
        for name, entry in manifest.tasks.items()
    }


def _require(option: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise OptionError(f"{option} {value}: give one of {', '.join(allowed)}")


def _silent(doing: str, done: int, total: int) -> None:
    """Show nothing."""
