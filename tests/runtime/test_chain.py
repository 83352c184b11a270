"""Chains: names of values, what is fetched, and batches."""

import numpy as np
import pytest

from cad_edge.data.image import ImageRecipe
from cad_edge.store.manifest import Engine, Stage
from cad_edge_runtime.chain import build_chain, image_source, plan_chain

pytestmark = pytest.mark.torchless
TRUNK, HEAD = "a" * 64, "b" * 64


def engine(tensors: str, size: int = 32, depth: bool = False) -> Engine:
    inputs = {"image": "frame/image", **({"depth": "frame/depth"} if depth else {})}
    stages = [
        Stage(graph=TRUNK, inputs=inputs),
        Stage(graph=HEAD, inputs={"x": "0//block.3/Relu", "bank": "tensor/bank"}),
    ]
    recipe = ImageRecipe(width=size, height=size)
    return Engine(recipe=recipe, stages=stages, tensors=tensors, layout="shared", precision="fp32")


class FakeSession:
    """Adds one to its first input and counts its runs."""

    def __init__(self, graph: str, outputs: set[str]) -> None:
        self.graph = graph
        self.outputs = frozenset(outputs)
        self.calls: list[tuple[str, ...]] = []

    def run(self, outputs, feed):
        self.calls.append(tuple(outputs))
        first = feed.get("image", feed.get("x"))
        return [first + np.float32(1) for _ in outputs]


@pytest.fixture
def sessions():
    return {
        TRUNK: FakeSession(TRUNK, {"/block.3/Relu", "statistics"}),
        HEAD: FakeSession(HEAD, {"score", "anomaly_map"}),
    }


def test_a_name_is_what_is_computed():
    one, other = (
        plan_chain(engine("1" * 64), ("score",), "a"),
        plan_chain(engine("2" * 64), ("score",), "b"),
    )
    assert one.stages[0].name == other.stages[0].name
    assert one.stages[1].name != other.stages[1].name
    larger = plan_chain(engine("1" * 64, size=64), ("score",), "c")
    assert not {stage.name for stage in larger.stages} & {stage.name for stage in one.stages}
    assert one.stages == plan_chain(engine("1" * 64), ("score",), "d").stages
    assert plan_chain(engine("1" * 64, depth=True), ("score",), "e").needs_depth


def test_only_what_is_used_is_fetched_and_once(sessions):
    plan = plan_chain(engine("1" * 64), ("score",), "a")
    chain = build_chain(plan, plan.wanted(), list(sessions.values()), {"bank": np.ones(1)}, "a")
    values = {image_source(plan.engine.recipe): np.zeros((3, 2), np.float32)}
    chain.run(values)
    chain.run(values)
    assert sessions[TRUNK].calls == [("/block.3/Relu",)]
    assert sessions[HEAD].calls == [("anomaly_map", "score")]
    assert (values[chain.results["score"]] == 2).all()


def test_stage_is_run_again_where_an_output_was_not_fetched(sessions):
    plan = plan_chain(engine("1" * 64), ("score",), "a")
    wanted = {**plan.wanted(), plan.stages[0].name: {"/block.3/Relu", "statistics"}}
    narrow, wide = (
        build_chain(plan, want, list(sessions.values()), {"bank": np.ones(1)}, "a")
        for want in (plan.wanted(), wanted)
    )
    values = {image_source(plan.engine.recipe): np.zeros((1, 2), np.float32)}
    narrow.run(values)
    wide.run(values)
    assert len(sessions[TRUNK].calls) == 2
    assert len(sessions[HEAD].calls) == 1


def test_rows_take_frames_out_of_a_batch(sessions):
    plan = plan_chain(engine("1" * 64), ("score",), "a")
    chain = build_chain(plan, plan.wanted(), list(sessions.values()), {"bank": np.ones(1)}, "a")
    name = f"{plan.stages[0].name}//block.3/Relu"
    values = {name: np.arange(4, dtype=np.float32)[:, None], "of another chain": np.zeros(4)}
    picked = chain.rows(values, [3, 1])
    assert picked.keys() == {name} and picked[name].ravel().tolist() == [3, 1]
