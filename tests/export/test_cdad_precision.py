"""CDAD in half precision, and in eight bits as all methods with shared weights have them."""

from pathlib import Path

import onnx
import pytest

from cad_edge.errors import OptionError
from cad_edge.store.bundle import Bundle
from cad_edge.store.manifest import Precision
from cad_edge_export.exporter import export_artifacts
from cad_edge_export.graph_files import GRAPH
from cad_edge_export.plan import ExportPlan
from tests.export.cdad_samples import OPTIONS
from tests.training.small_products import learn, quiet, stream_of

NAME = "waves"
"""Its witness images are far enough from the threshold that halves turn no verdict."""


@pytest.mark.parametrize(("layout", "steps"), [("shared", 2), ("shared", 6), ("fused", 2)])
def test_halves_answer_within_their_tolerance(products, layout, steps, tmp_path):
    options = OPTIONS | {"steps": str(steps)}
    learn(stream_of(products, (NAME,)), tmp_path / "learned", options, method="cdad")
    plan, place = ExportPlan(layout, "fp16"), tmp_path / "line"
    assert export_artifacts([tmp_path / "learned" / NAME], place, plan, quiet) == [NAME]
    found = Bundle(place).manifest().tasks[NAME].certificate
    assert found.flips == 0 and 0 < found.score_max < 3e-2
    assert found.map_max is not None and 0 < found.map_max < 3e-2


@pytest.fixture(scope="module")
def wide(products, tmp_path_factory) -> Path:
    """A condition as wide as the default's; narrower products stay in float."""
    out = tmp_path_factory.mktemp("wide")
    options = OPTIONS | {"width": "64"}
    learn(stream_of(products, (NAME,)), out, options, method="cdad")
    return out / NAME


def eight_bits(products: Path, precision: Precision) -> ExportPlan:
    return ExportPlan(precision=precision, calibration=products / f"{NAME}.json")


def test_uint8_rounds_the_products_of_the_condition(wide, products, tmp_path, exact_products):
    bundle = Bundle(tmp_path / "line")
    export_artifacts([wide], bundle.path, eight_bits(products, "uint8"), quiet)
    entry = bundle.manifest().tasks[NAME]
    head = bundle.read_object(entry.engine.stages[1].graph)
    kinds = [node.op_type for node in onnx.load_from_string(head[GRAPH]).graph.node]
    assert kinds.count("MatMulInteger") == 8
    evidence = entry.certificate.quantisation
    assert evidence is not None and evidence.kept_in_float == []
    assert evidence.flips_normal + evidence.flips_defective <= 1


def test_int8_is_refused_in_words(wide, products, tmp_path):
    with pytest.raises(OptionError, match=r"cdad is not exported in int8, .* give --precision"):
        export_artifacts([wide], tmp_path / "line", eight_bits(products, "int8"), quiet)
    assert not Bundle(tmp_path / "line").exists()
