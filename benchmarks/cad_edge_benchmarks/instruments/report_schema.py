"""The report of `cad-edge benchmark`: one versioned JSON record; tables and plots are made of it.

Times are milliseconds and sizes bytes wherever a field's name does not say otherwise.
"""

from typing import Literal

from pydantic import Field

from cad_edge.schema import Record
from cad_edge_benchmarks.instruments.conditions import (
    BenchmarkSettings,
    BundleFacts,
    Environment,
    FrameFacts,
    ScenarioName,
)

KIND: Literal["cad-edge benchmark"] = "cad-edge benchmark"
FORMAT: Literal[1] = 1

CURVE = tuple(range(0, 101, 5))
"""Percentiles at which a distribution keeps its times."""

P99_SAMPLES = 1000
"""With fewer, the 99th percentile would rest on a handful of frames and is left out."""

STAGES = ("decode", "resize", "select", "detect", "post")
"""Parts of a frame, in order: file to pixels; check and resize; trunk and selector; engine of the
task; threshold, p-value and defects. Where the task is given, the trunk belongs to detect."""


class Distribution(Record):
    """Times of one thing, in milliseconds."""

    samples: int
    mean: float
    minimum: float
    p50: float
    p90: float
    p95: float
    p99: float | None = Field(description="null with fewer than 1,000 samples")
    maximum: float
    stretches: list[float] = Field(
        description="medians of ten equal stretches of the run, in order of time; the noise of a "
        "comparison is taken from them"
    )
    curve: list[float] = Field(description="times at the percentiles 0, 5, ... 100")


class StageTime(Record):
    """Time of one stage, in milliseconds."""

    p50: float
    p90: float


class Measurement(Record):
    """One thing that was timed."""

    name: str
    latency: Distribution
    frames_per_second: float
    stages: dict[str, StageTime] = Field(
        description="by stage, over the frames whose product was known if there were any"
    )
    verdicts: dict[str, int] = Field(description="frames by verdict; empty where there is none")


class NamedFigure(Record):
    """A number beside the distributions."""

    name: str
    value: float
    unit: str


class Spread(Record):
    """A number that was taken a few times."""

    median: float
    low: float
    high: float


class PowerUse(Record):
    """Electric power while a scenario ran."""

    source: str = Field(description="what reported it, and for what part of the machine")
    readings: int
    mean_watts: float
    peak_watts: float


class ScenarioResult(Record):
    """One scenario."""

    scenario: ScenarioName
    headline: str = Field(description="name of the measurement that stands for the scenario")
    measurements: list[Measurement] = Field(min_length=1)
    figures: list[NamedFigure]
    notes: list[str] = Field(description="sentences without which the figures would mislead")
    power: PowerUse | None = None
    reference_workload: Spread | None = Field(
        default=None,
        description="milliseconds of a fixed piece of work before and after, median and quartiles: "
        "how fast the machine itself was",
    )

    def measured(self, name: str) -> Measurement:
        """Return the measurement with this name."""
        return next(one for one in self.measurements if one.name == name)


class MemoryUse(Record):
    """Memory of a device process after a frame was judged with every task given, in bytes."""

    processes: int = Field(description="how many were started, one after another")
    rss: Spread
    pss: Spread
    uss: Spread
    peak_rss: Spread
    gpu: int | None = Field(description="GPU memory of the measuring process; null without one")


class ScalePoint(Record):
    """A bundle grown or cut to a number of tasks."""

    tasks: int
    selection: Distribution = Field(
        description="selector's own graph and the choice, without the trunk that engines share"
    )
    ratio: Spread = Field(
        description="routed frame against that of `compared_with` tasks: median and quartiles"
    )
    compared_with: int
    open_seconds: Spread
    rss: int
    uss: int
    disk: int


class Budget(Record):
    """A limit that was stated, and what was measured."""

    name: str
    limit: float
    measured: float
    unit: str

    @property
    def kept(self) -> bool:
        """Whether the limit is kept."""
        return self.measured <= self.limit


class Difference(Record):
    """One figure of this run against that of another."""

    name: str
    unit: str
    before: float
    after: float
    ratio: float = Field(description="after / before")
    machine: float = Field(description="reference workload after / before; 1 without one")
    low: float = Field(description="the ratio may as well be as small as this")
    high: float = Field(description="or as large as this")

    @property
    def is_noise(self) -> bool:
        """Whether they differ by no more than each varies in itself, and the machine with them."""
        return self.low <= 1 <= self.high


class Comparison(Record):
    """One run against another."""

    against: str
    made_at: str
    unlike: list[str] = Field(description="what differs besides the figures, as sentences")
    differences: list[Difference]
    missing: list[str] = Field(description="measurements that only one of the two has")


class BenchmarkReport(Record):
    """One run of `cad-edge benchmark`."""

    kind: Literal["cad-edge benchmark"] = KIND
    format: Literal[1] = FORMAT
    made_at: str = Field(description="UTC, ISO 8601")
    settings: BenchmarkSettings
    bundle: BundleFacts
    environment: Environment
    device: str = Field(description="what the graphs ran on: cpu, cuda, ...")
    provider: str = Field(description="execution provider that the sessions really got")
    frames: FrameFacts
    scenarios: list[ScenarioResult]
    scale: list[ScalePoint]
    skipped: dict[str, str] = Field(description="scenarios that this bundle cannot run, and why")
    memory: MemoryUse | None = Field(description="null where the kernel does not tell")
    budgets: list[Budget]
    comparison: Comparison | None

    def scenario(self, name: ScenarioName) -> ScenarioResult | None:
        """Return the result of a scenario, None if it was not run."""
        return next((one for one in self.scenarios if one.scenario == name), None)
