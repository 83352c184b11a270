"""Learning products in one call: what `cad-edge train` does, for programs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from pydantic import ValidationError

from cad_edge.data.products import DEFAULT_RATE, read_products
from cad_edge.data.stream import Stream, StreamTask, read_stream
from cad_edge.errors import DatasetError, OptionError
from cad_edge.options import LARGEST_SEED, LARGEST_SIDE, SMALLEST_SIDE
from cad_edge.schema import first_problem
from cad_edge_training.backbones import DEFAULT_BACKBONE

if TYPE_CHECKING:
    from cad_edge_training.input_size import Size
    from cad_edge_training.learned import Progress

Products: TypeAlias = Stream | Path | str | Sequence[Path | str]


@dataclass(frozen=True)
class TrainingResult:
    """What a call of `learn` did.

    Attributes
    ----------
    out
        Folder of artifacts, for `cad_edge_export.export`.
    learned
        Names of the tasks that were learned, in their order.
    kept
        Names of the tasks that ``out`` held already; they stay as they are, byte for byte.
    notes
        Lines on what was chosen and what is odd about the images, as the command prints them.

    Examples
    --------
    >>> from cad_edge_training import learn
    >>> result = learn("images/bracket", out="further")
    >>> result.learned, result.kept
    (('bracket',), ())
    """

    out: Path
    learned: tuple[str, ...]
    kept: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def artifacts(self) -> dict[str, Path]:
        """Folder of the artifact of each task, those kept first."""
        return {name: self.out / name for name in (*self.kept, *self.learned)}


def learn(
    products: Products,
    out: Path | str = "artifacts",
    method: str | None = None,
    backbone: str = DEFAULT_BACKBONE,
    size: "Size" = None,
    budget_ms: float | None = None,
    settings: Mapping[str, str | int | float] | None = None,
    seed: int = 0,
    keep_outliers: bool = False,
    *,
    false_reject_rate: float | None = None,
    progress: "Callable[[str], Progress] | None" = None,
    say: Callable[[str], None] | None = None,
) -> TrainingResult:
    """Learn products one after another from images of good parts; those learned before stay.

    Parameters
    ----------
    products
        Folder of one product (``train/good`` within it) or of several, whose layouts are known by
        their folders; a sequence of products' folders in the order in which they are learned; a
        stream file (YAML or JSON), or a stream that has been read. A folder's name becomes the name
        of its task.
    out
        Folder of artifacts; tasks that it holds already are not learned again.
    method
        One of `method_names` in `cad_edge_training.methods`; None: what suits the backbone.
    backbone
        One of `cad_edge_training.backbones.backbone_names`, ID being a hub id or a folder.
    size
        Input side in pixels, 64 to 2048; ``"auto"``: chosen for each product; None: the backbone's.
    budget_ms
        With ``size="auto"``: longest time of the trunk for one frame, in milliseconds.
    settings
        Options of the method by name.
    seed
        Seed of all random choices, 0 to 2**32 - 1.
    keep_outliers
        Whether odd ones among the good parts have a say in thresholds; they are noted either way.
    false_reject_rate
        Share of good parts that may be rejected, in (0, 1), where folders are given; 0.05 without
        it. A stream states its own.
    progress
        Gives, for the name of a task, what is called with (doing, done, total); None: silent.
    say
        Told every note as it comes.

    Returns
    -------
    TrainingResult
        Names, paths and notes.

    Raises
    ------
    DatasetError, ImageError
        A folder, a stream file or an image cannot be used.
    OptionError
        An option does not exist or its value is not allowed; the message names the option as the
        command line does.
    ArtifactError
        ``out`` holds what does not fit. Tasks learned before an error are kept.

    Examples
    --------
    >>> from cad_edge_training import learn
    >>> result = learn("images/bracket", out="artifacts", size=64)
    >>> result.learned
    ('bracket',)
    >>> learn("images/bracket", out="artifacts", size=64).kept
    ('bracket',)
    """
    from cad_edge_training.methods import default_method
    from cad_edge_training.train import TrainingPlan, train

    _require(size, budget_ms, seed)
    stream = stream_of(products, false_reject_rate)
    options = {name: str(value) for name, value in (settings or {}).items()}
    chosen = method or default_method(backbone)
    plan = TrainingPlan(chosen, backbone, size, options, seed, keep_outliers, budget_ms)
    notes: list[str] = []

    def note(line: str) -> None:
        notes.append(line)
        if say is not None:
            say(line)

    learned = train(stream, Path(out), plan, progress or _silent, note, check=True)
    kept = tuple(task.name for task in stream.tasks if task.name not in learned)
    return TrainingResult(Path(out), tuple(learned), kept, tuple(notes))


def stream_of(products: Products, false_reject_rate: float | None = None) -> Stream:
    """Return the stream that ``products`` names; parameters and errors are those of `learn`."""
    rate = DEFAULT_RATE if false_reject_rate is None else false_reject_rate
    if not 0 < rate < 1:
        raise OptionError(f"false_reject_rate is {rate}; give a share between 0 and 1")
    if isinstance(products, str | Path):
        one = Path(products)
        if one.is_dir():
            return read_products(one, rate)
        products = read_stream(one)
    if not isinstance(products, Stream):
        return _stream_of_folders([Path(folder) for folder in products], rate)
    if false_reject_rate is not None:
        raise OptionError(
            "false_reject_rate goes with folders of products; a stream states its own, so leave "
            "it out"
        )
    return products


def _stream_of_folders(folders: Sequence[Path], rate: float) -> Stream:
    if not folders:
        raise DatasetError("no folder of a product was given; give at least one")
    names: dict[str, Path] = {}
    for folder in (folder.absolute() for folder in folders):
        if not folder.is_dir():
            raise DatasetError(f"{folder} is not a folder; give the folder of a product")
        other = names.setdefault(folder.name.casefold(), folder)
        if other is not folder:
            raise DatasetError(
                f"{other} and {folder} give two tasks the same name; give each product a folder "
                "name of its own, or list them in a stream file"
            )
    try:
        tasks = [StreamTask(name=folder.name, path=folder) for folder in names.values()]
    except ValidationError as problem:
        raise DatasetError(
            f"{', '.join(map(str, folders))}: {first_problem(problem)}; name the products in a "
            "stream file"
        ) from None
    return Stream(name="products", false_reject_rate=rate, tasks=tasks)


def _require(size: "Size", budget_ms: float | None, seed: int) -> None:
    """Raise OptionError for what the command line refuses by its types."""
    if size is not None and size != "auto" and not SMALLEST_SIDE <= size <= LARGEST_SIDE:
        raise OptionError(
            f"--size {size}: give auto or a number of pixels from {SMALLEST_SIDE} to {LARGEST_SIDE}"
        )
    if budget_ms is not None and not budget_ms > 0:
        raise OptionError(f"--budget-ms {budget_ms}: give a number of milliseconds above 0")
    if not 0 <= seed <= LARGEST_SEED:
        raise OptionError(f"--seed {seed}: give a number from 0 to {LARGEST_SEED}")


def _silent(task: str) -> "Progress":
    return lambda doing, done, total: None
