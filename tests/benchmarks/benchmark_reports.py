"""A made-up report of `cad-edge benchmark`, to be changed by tests."""

from cad_edge_benchmarks.instruments.conditions import (
    BenchmarkSettings,
    BundleFacts,
    Environment,
    FrameFacts,
)
from cad_edge_benchmarks.instruments.report_schema import BenchmarkReport, MemoryUse, Spread


def memory_of_about(size):
    """Every size ``size`` bytes, a hundredth less and more at the ends."""
    spread = Spread(median=size, low=size * 0.99, high=size * 1.01)
    return MemoryUse(processes=3, rss=spread, pss=spread, uss=spread, peak_rss=spread, gpu=None)


def a_report(scenarios=(), memory=None, scale=(), frames=None):
    return BenchmarkReport(
        made_at="2026-01-02T03:04:05+00:00",
        settings=BenchmarkSettings(
            scenarios=["single-stream"],
            seconds=3.0,
            samples=100,
            threads=2,
            device="auto",
            streams=2,
            tasks=[1, 10],
            seed=0,
        ),
        bundle=BundleFacts(
            manifest="a" * 64,
            version=1,
            tasks=["nut", "bolt"],
            selector="discriminant",
            layouts=["shared"],
            precisions=["fp32"],
            graphs=["b" * 64, "c" * 64],
            recipe=(224, 224),
            disk=5_000_000,
        ),
        environment=Environment(
            model=None,
            cpu="Tester 9",
            cpu_identity={},
            instructions=["avx2"],
            cores=2,
            memory_bytes=8_000_000_000,
            gpus=[],
            system="Linux x86_64",
            release=None,
            python="3.11.7",
            governor="performance",
            power_mode=None,
            load=0.0,
            versions={"numpy": "2.4"},
        ),
        device="cpu",
        provider="CPUExecutionProvider",
        frames=frames or FrameFacts(source="images", frames=4, found=4, sizes=["224x224"], note=""),
        scenarios=list(scenarios),
        scale=list(scale),
        skipped={},
        memory=memory,
        budgets=[],
        comparison=None,
    )
