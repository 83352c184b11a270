"""What every method folder and its fusion must have: the registry is the folder listing."""

import inspect
from importlib import import_module
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")

import cad_edge_training.methods
from cad_edge.schema import Record
from cad_edge_training.backbones import DEFAULT_BACKBONE
from cad_edge_training.methods import load_method, method_names
from cad_edge_training.sweep import Settings, axes_of, settings_of
from cad_edge_training.train import Plan, read_config

FOLDER = Path(cad_edge_training.methods.__file__).parent


def test_there_is_a_method():
    assert {"cmpmb", "patch_memory"} <= set(method_names())


@pytest.mark.parametrize("name", method_names())
class TestMethod:
    def test_its_files_have_the_names_of_every_method(self, name):
        files = {path.name for path in (FOLDER / name).iterdir()}
        assert {"config.py", "model.py", "learn.py", "README.md"} <= files

    def test_its_defaults_are_allowed_options(self, name):
        config = load_method(name, "config")
        defaults = config.Config.model_validate(config.defaults_for(DEFAULT_BACKBONE))
        assert isinstance(defaults, Record)
        assert config.Config.model_validate(defaults.model_dump(mode="json")) == defaults

    def test_every_option_is_described(self, name):
        fields = load_method(name, "config").Config.model_fields
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
                    read_config(Plan(name, backbone, found.size, found.options, 0))

    def test_it_learns_and_builds_its_reference_model(self, name):
        learn = load_method(name, "learn")
        assert list(inspect.signature(learn.learn).parameters) == ["request", "config"]
        assert list(inspect.signature(learn.build_model).parameters) == [
            "backbone",
            "config",
            "tensors",
        ]

    def test_it_has_a_fusion_in_both_layouts(self, name):
        fusion = import_module(f"cad_edge_export.fusions.{name}")
        for layout in ("shared", "fused"):
            assert list(inspect.signature(getattr(fusion, layout)).parameters) == [
                "task",
                "backbone",
                "precision",
            ]
        assert list(inspect.signature(fusion.entry).parameters) == [
            "backbone",
            "config",
            "precision",
        ]

    def test_its_readme_names_the_paper_and_a_command(self, name):
        text = (FOLDER / name / "README.md").read_text(encoding="utf-8")
        assert "arXiv" in text and "cad-edge train" in text
