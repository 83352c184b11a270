"""What every method folder and its fusion must have: the registry is the folder listing."""

import inspect
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")

import cad_edge_export
import cad_edge_export.fusions
import cad_edge_training
import cad_edge_training.methods
from cad_edge.errors import OptionError
from cad_edge.schema import Record
from cad_edge_export.fusion import Explains, Fusion, Quantisable
from cad_edge_export.fusions import fusion_of, read_fusion
from cad_edge_training.backbones import DEFAULT_BACKBONE
from cad_edge_training.method import (
    HasRouter,
    KnowsLastBlock,
    LearnsAllAtOnce,
    LearnsDistributed,
    LearnsTasksJointly,
    Method,
    NamesUnsupportedParts,
    Settings,
    StatesSuitability,
    Sweepable,
    UpdatesEarlierTasks,
    UsesDepth,
    UsesViews,
)
from cad_edge_training.methods import load_method, method_names, read_method
from cad_edge_training.methods.patch_memory.config import Config
from cad_edge_training.sweep import axes_of, settings_of
from cad_edge_training.train import TrainingPlan, read_config

CAPABILITIES = (
    LearnsTasksJointly,
    LearnsAllAtOnce,
    StatesSuitability,
    UpdatesEarlierTasks,
    LearnsDistributed,
    UsesDepth,
    UsesViews,
    HasRouter,
    KnowsLastBlock,
    NamesUnsupportedParts,
    Sweepable,
)
FOLDER = Path(cad_edge_training.methods.__file__).parent


def test_there_is_a_method():
    assert {"cmpmb", "patch_memory"} <= set(method_names())


@pytest.mark.parametrize("name", method_names())
class TestMethod:
    def test_its_files_have_the_names_of_every_method(self, name):
        files = {path.name for path in (FOLDER / name).iterdir()}
        assert {"method.py", "config.py", "model.py", "learn.py", "README.md"} <= files

    def test_its_defaults_are_allowed_options(self, name):
        method = load_method(name)
        defaults = method.config.model_validate(method.defaults_for(DEFAULT_BACKBONE))
        assert isinstance(defaults, Record)
        assert method.config.model_validate(defaults.model_dump(mode="json")) == defaults

    def test_every_option_is_described(self, name):
        fields = load_method(name).config.model_fields
        assert [option for option, field in fields.items() if not field.description] == []

    def test_every_value_that_is_worth_sweeping_is_allowed(self, name):
        """Checked for every backbone family, since axes may differ; a method may have none."""
        for backbone in (DEFAULT_BACKBONE, "dinov2:x", "clip:x"):
            for axis in axes_of(name, backbone):
                assert settings_of(name, backbone, {axis.name: axis.default}) == Settings()
                for value in axis.values[1:]:
                    assert not set(" ,=") & set(value)
                    found = settings_of(name, backbone, {axis.name: value})
                    assert found != Settings()
                    read_config(TrainingPlan(name, backbone, found.size, found.options, 0))

    def test_it_has_every_function_of_the_contract_and_of_each_capability_it_has(self, name):
        method = load_method(name)
        assert isinstance(method, Method)
        for capability in (Method, *CAPABILITIES):
            if isinstance(method, capability):
                assert_same_parameters(method, capability)

    def test_its_fusion_has_every_function_too(self, name):
        fusion = fusion_of(name)
        assert isinstance(fusion, Fusion)
        for capability in (Fusion, Quantisable, Explains):
            if isinstance(fusion, capability):
                assert_same_parameters(fusion, capability)

    def test_its_readme_names_the_paper_and_a_command(self, name):
        text = (FOLDER / name / "README.md").read_text(encoding="utf-8")
        assert "arXiv" in text and "cad-edge train" in text


def assert_same_parameters(found: object, contract: type) -> None:
    """The functions of ``contract`` take in ``found`` what they take there, in the same order."""
    for name, asked in inspect.getmembers(contract, inspect.isfunction):
        if not name.startswith("_"):
            given = list(inspect.signature(inspect.getattr_static(found, name)).parameters)
            given = given[1:] if given[:1] == ["self"] else given
            assert given == list(inspect.signature(asked).parameters)[1:], name


def test_capabilities_are_those_that_the_methods_have_been_built_with():
    """Of the methods below; one that is added needs no line here."""
    built = {
        "anomaly_moe": {
            "LearnsTasksJointly",
            "LearnsAllAtOnce",
            "KnowsLastBlock",
            "StatesSuitability",
        },
        "cdad": {"LearnsTasksJointly", "UpdatesEarlierTasks", "KnowsLastBlock"},
        "cl_anomaly": {"UpdatesEarlierTasks", "LearnsDistributed", "UsesViews", "HasRouter"},
        "cmpmb": {"KnowsLastBlock", "NamesUnsupportedParts", "Sweepable"},
        "ib_iumad": {"LearnsTasksJointly", "UpdatesEarlierTasks", "UsesDepth", "KnowsLastBlock"},
        "padim": {"KnowsLastBlock"},
        "patch_memory": {"KnowsLastBlock", "Sweepable"},
    }
    for name, capabilities in built.items():
        method = load_method(name)
        assert {one.__name__ for one in CAPABILITIES if isinstance(method, one)} == capabilities


def test_nothing_looks_into_a_method_but_by_its_contract():
    """`vars` of the module is read at the one place that checks the contract."""
    for package in (cad_edge_training, cad_edge_export):
        root = Path(package.__file__).parent
        for path in root.rglob("*.py"):
            inside = path.relative_to(root).parts
            if (inside[0] in ("methods", "fusions") and len(inside) > 2) or inside[0] == "fusions":
                continue
            text = path.read_text(encoding="utf-8")
            assert "cad_edge_training.methods." not in text, path


class TestBrokenMethod:
    def test_a_folder_without_learn_is_named(self, tmp_path):
        method = SimpleNamespace(config=Config, defaults_for=dict, build_model=None)
        with pytest.raises(
            OptionError, match=r"method\.py: METHOD has no learn; docs/add-a-method"
        ):
            read_method({"METHOD": method}, tmp_path / "method.py")

    def test_a_module_without_method_is_named(self, tmp_path):
        with pytest.raises(OptionError, match=r"no build_model, config, defaults_for, learn;"):
            read_method({}, tmp_path / "method.py")

    def test_a_fusion_without_its_float_form_is_named(self, tmp_path):
        with pytest.raises(OptionError, match=r"mine\.py: FUSION has no fused, shared; docs/add-a"):
            read_fusion({"FUSION": SimpleNamespace(entry=None)}, tmp_path / "mine.py")

    def test_two_methods_of_one_name_are_named(self, tmp_path):
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "method.py").touch()
        (tmp_path / "mine.py").touch()
        with pytest.raises(OptionError, match=r"mine\.py and .*mine are two methods of one name"):
            method_names(tmp_path)

    def test_a_folder_without_method_py_is_named(self, monkeypatch):
        names = [*method_names(), "empty"]
        monkeypatch.setattr(cad_edge_training.methods, "method_names", lambda: names)
        with pytest.raises(OptionError, match=r"empty.method\.py is missing"):
            load_method("empty")

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("def x(:", "cannot be read as a method: invalid syntax"),
            ("import nosuchpackage", "cannot be read as a method: No module named 'nosuchp"),
            ("from cad_edge_training.method import Methd", "cannot import name 'Methd'"),
        ],
    )
    def test_a_file_that_python_cannot_read_is_named(self, monkeypatch, tmp_path, text, said):
        (tmp_path / "broken").mkdir()
        (tmp_path / "broken" / "method.py").write_text(text)
        monkeypatch.setattr(
            cad_edge_training.methods,
            "__path__",
            [*cad_edge_training.methods.__path__, str(tmp_path)],
        )
        monkeypatch.setattr(cad_edge_training.methods, "method_names", lambda: ["broken"])
        with pytest.raises(OptionError, match=rf"broken.method\.py .*{said}"):
            load_method("broken")

    def test_a_head_without_means_is_named_and_nothing_is_made(self, monkeypatch, tmp_path):
        (tmp_path / "headless.py").write_text(
            "from cad_edge_export.scoring_head import ScoringFusion, ScoringHead\n"
            "class Head(ScoringHead):\n"
            "    def judge(self, states, tensors): ...\n"
            "class Fusion(ScoringFusion):\n"
            "    config, head = object, Head\n"
            "    def blocks(self, config): return (1,)\n"
            "FUSION = Fusion()\n"
        )
        monkeypatch.setattr(
            cad_edge_export.fusions, "__path__", [*cad_edge_export.fusions.__path__, str(tmp_path)]
        )
        with pytest.raises(OptionError, match=r"headless\.py cannot .*: Head has no means;"):
            fusion_of("headless")

    def test_a_missing_fusion_is_named(self):
        with pytest.raises(OptionError, match=r"'nearest' has no fusion.*nearest\.py is missing"):
            fusion_of("nearest")
