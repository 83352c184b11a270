"""The conditions of a run, as records: machine, settings, bundle and frames."""

from typing import Literal

from pydantic import Field

from cad_edge.schema import Record, Sha256

ScenarioName = Literal[
    "single-stream",
    "backbone",
    "offline",
    "multi-stream",
    "switch",
    "hot-load",
    "cold-start",
    "scale",
]


class Gpu(Record):
    """A graphics processor, as its driver reports it."""

    name: str
    driver: str
    memory: int
    power_limit_watts: float | None


class Environment(Record):
    """What was measured on and with."""

    model: str | None = Field(description="board or computer, where the firmware says it")
    cpu: str
    cpu_identity: dict[str, str]
    instructions: list[str]
    cores: int = Field(description="that the process may use")
    memory_bytes: int
    gpus: list[Gpu]
    system: str
    release: str | None = Field(description="of the Jetson's board support package")
    python: str
    governor: str | None
    power_mode: str | None
    load: float = Field(description="programs that wanted a core when the benchmark began")
    versions: dict[str, str]


class BenchmarkSettings(Record):
    """What was asked for, with every default written out."""

    scenarios: list[ScenarioName]
    seconds: float = Field(description="least duration of a measurement")
    samples: int = Field(description="least number of frames of a measurement")
    threads: int = Field(description="of each graph")
    device: str = Field(description="as asked for")
    streams: int
    tasks: list[int] = Field(description="of the scenario scale")
    seed: int


class BundleFacts(Record):
    """What was measured."""

    manifest: Sha256
    version: int
    tasks: list[str]
    selector: str
    layouts: list[str]
    precisions: list[str]
    graphs: list[Sha256]
    recipe: tuple[int, int] = Field(description="width and height of the input")
    further_recipes: list[tuple[int, int]] = Field(
        default=[], description="of engines that take their image at another size than the selector"
    )
    disk: int = Field(description="bytes of what this version names")


class FrameFacts(Record):
    """What the bundle was shown."""

    source: Literal["images", "synthetic"]
    frames: int
    found: int = Field(description="images in the folder; of more than are used, every n-th is")
    sizes: list[str] = Field(description="width x height, most frequent first")
    note: str = Field(description="what synthetic frames mean for the figures; empty for images")
