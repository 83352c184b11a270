"""Study files: what they may say, what is refused, and the learners that they compare."""

import json
from pathlib import Path

import pytest
import yaml

import cad_edge_export.fusions
from cad_edge.errors import OptionError
from cad_edge_benchmarks.protocol.learner_settings import LearnerSettings, settle
from cad_edge_benchmarks.protocol.study import Study, read_study
from cad_edge_benchmarks.protocol.task_sequence import draw_orders, read_sequence
from tests.benchmarks.protocol_datasets import write_mvtec
from tests.house.refusals import sentence

STUDIES = Path(__file__).parents[2] / "benchmarks/studies/cad_edge_studies"
PUBLISHED = [path for path in sorted(STUDIES.rglob("*.yaml")) if read_study(path)]


@pytest.fixture
def folder(tmp_path):
    write_mvtec(tmp_path / "data", ["bottle", "cable"])
    tasks = [{"name": one, "path": f"data/{one}"} for one in ("bottle", "cable")]
    stream = {"name": "l", "false_reject_rate": 0.2, "tasks": tasks}
    (tmp_path / "stream.yaml").write_text(yaml.safe_dump(stream))
    return tmp_path


def study(folder: Path, learners: object, **said: object) -> Path:
    content = {"study": "two", "stream": "stream.yaml", **said, "learners": learners}
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def read(path: Path) -> Study:
    found = read_study(path)
    assert found is not None
    return found


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_published_studies_are_whole(path, tmp_path):
    """Their streams are there, and every learner has options that its method has."""
    found = read(path)
    stream = Path(found.stream)
    for task in yaml.safe_load(stream.read_text())["tasks"]:
        (tmp_path / task["path"]).mkdir(parents=True)
    sequence = read_sequence(found, [tmp_path])
    assert len(draw_orders(sequence, found.orders)) == found.orders
    assert set(settle(found, path)) == set(found.learners)


def test_the_studies_are_found():
    found = {path.parent.name for path in PUBLISHED}
    assert found == {
        *("anomaly_moe_ablations", "cdad_streams", "cl_anomaly_comparison", "cmpmb_modules"),
        "rgbd_comparison",
    }


def test_a_learner_takes_what_it_does_not_say_from_the_study(folder):
    learners = {
        "plain": None,
        "more": {"options": {"keys": 16}},
        "PaDiM": {"method": "padim"},
        "all": {"baseline": "joint", "size": 96},
    }
    path = study(folder, learners, size=64, options={"keys": 8, "memories": "1+2x16"})
    options = {"keys": "8", "memories": "1+2x16"}
    rest = {"one_step": False, "backbone": "efficientnet-lite0"}
    assert settle(read(path), path) == {
        name: LearnerSettings(**rest, **said)
        for name, said in {
            "plain": {"baseline": None, "method": "patch_memory", "size": 64, "options": options},
            "more": {
                "baseline": None,
                "method": "patch_memory",
                "size": 64,
                "options": options | {"keys": "16"},
            },
            "PaDiM": {"baseline": None, "method": "padim", "size": 64, "options": {}},
            "all": {"baseline": "joint", "method": "patch_memory", "size": 96, "options": options},
        }.items()
    }


def test_truth_is_written_as_options_have_it(folder):
    options = {"mamba": False, "epochs": 3, "pull": 5e-2}
    path = study(folder, {"a": {"options": options}}, method="ib_iumad")
    expected = {"mamba": "false", "epochs": "3", "pull": "0.05"}
    assert settle(read(path), path)["a"].options == expected
    path = study(folder, {"a": {"options": {"statistics_blocks": [1, 2]}}})
    assert settle(read(path), path)["a"].options == {"statistics_blocks": "1,2"}


def test_steps_are_cut_by_their_sizes(folder):
    path = study(folder, {"a": {}}, steps=[2])
    sequence = read_sequence(read(path))
    assert [[task.name for task in step] for step in sequence.steps] == [["bottle", "cable"]]


@pytest.mark.parametrize(
    ("learners", "said", "expected"),
    [
        ({}, {}, "learners: name at least one learner; correct it"),
        (
            {"a": {"size": 31}},
            {},
            "learners.a.size: give auto or a number of pixels from 64 to",
        ),
        ({"a": {"kind": "best"}}, {}, "learners.a.kind: there is no such key"),
        ({"a": {"baseline": "best"}}, {}, "learners.a.baseline: Input should be 'joint'"),
        ({"a": 3}, {}, "learners.a: it is not a mapping of keys to values"),
        ({"a b": {}, "A-b": {}}, {}, "'a b' and 'A-b' would share a folder; correct it"),
        ({"..": {}}, {}, "'..' has neither letter nor digit"),
        ({"a": {}}, {"seeds": [1, 1]}, "seeds: 1 is given twice"),
        ({"a": {}}, {"orders": ["given", "given"]}, "orders: given is given twice"),
        ({"a": {}}, {"orders": "many"}, "orders: give how many, at least 1, or a list of given"),
        ({"a": {}}, {"orders": 0}, "orders: give how many, at least 1, or a list of given"),
        ({"a": {"options": {"keys": {}}}}, {}, "learners.a.options: keys is neither a word, a"),
        ({"a": {}}, {"orders": 3}, "orders 3: 2 parts have only 2 orders"),
        ({"a": {}}, {"steps": [3]}, "steps [3] hold 3 tasks, and l has 2"),
        ({"a": {}}, {"stream": "none.yaml"}, "none.yaml cannot be read"),
        ({"a": {}}, {"stream": "mvtec/9-9"}, "mvtec/9-9 is neither a stream file nor a protocol"),
        (
            {"a": {}},
            {"false_reject_rate": 0.1},
            "false_reject_rate goes with the name of a protocol",
        ),
        ({"a": {}}, {"reps": 3}, "reps: there is no such key"),
        ({"a": {"method": "best"}}, {}, "learner a: method 'best' is unknown; take one of"),
        ({"a": {"backbone": "resnet"}}, {}, "learner a: backbone 'resnet' is unknown"),
        (
            {"a": {}, "b": {"options": {"memory": 3}}},
            {},
            "learner b: option memory: patch_memory has no such option",
        ),
        ({"a": {"options": {"keys": "many"}}}, {}, "learner a: option keys: "),
        (
            {"a": {"method": "ib_iumad", "options": {"heads": 3}}},
            {},
            "learner a: option heads 3 do",
        ),
        ({"a": {"one_step": True}}, {}, "learner a: one_step: patch_memory learns every task on"),
        ({"a": {"one_step": True, "baseline": "joint"}}, {}, "learner a: one_step goes without"),
        ({"a": {"baseline": "replay"}}, {}, "learner a: replay stores as many bytes as a learner"),
        ({"a": {"baseline": "joint", "method": "ib_iumad"}}, {}, "joint pools images alone"),
    ],
)
def test_one_sentence_names_the_file(folder, learners, said, expected):
    path = study(folder, learners, **said)
    refused = sentence("protocol", path, "--out", folder / "out")
    assert expected in refused and str(folder) in refused
    assert not (folder / "out").exists()


def test_a_learner_that_comes_twice(folder):
    path = study(folder, {"a": {}})
    path.write_text(path.read_text() + "  a: {}\n")
    said = sentence("protocol", path, "--out", folder / "out")
    assert f"{path} cannot be read as a stream or study file: the key a comes twice" in said


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (["--method", "padim"], "method"),
        (["--set", "keys=8"], "options"),
        (["--orders", "2"], "orders"),
        (["--order", "reversed"], "orders"),
        (["--seed", "4"], "seeds"),
        (["--baseline", "naive"], "learners"),
    ],
)
def test_what_the_file_says_is_not_said_again(folder, words, key):
    said = {"method": "patch_memory", "options": {"keys": 9}, "orders": 1, "seeds": [0]}
    path = study(folder, {"a": {}}, **said)
    refused = sentence("protocol", path, "--out", folder / "out", *words)
    assert f"{path} says `{key}` itself; leave {words[0]} out" in refused


def test_json_is_a_study_file_too(folder):
    path = study(folder, {"a": {}})
    other = folder / "study.json"
    other.write_text(json.dumps(yaml.safe_load(path.read_text())))
    assert read_study(other) == read_study(path)
    assert read_study(folder / "stream.yaml") is None and read_study(Path("visa/8-4")) is None


def test_a_method_that_cannot_be_exported_is_refused_before_it_learns(folder, monkeypatch):
    def refuse(method):
        raise OptionError(f"method {method!r} has no fusion")

    monkeypatch.setattr(cad_edge_export.fusions, "fusion_of", refuse)
    path, out = study(folder, {"mine": {"method": "padim"}}), folder / "out"
    said = sentence("protocol", "--stream", path, "--out", out)
    assert f"{path}, learner mine: method 'padim' has no fusion" in said and not out.exists()
    said = sentence("advise", "--stream", folder / "data", "--method", "padim", "--out", out)
    assert "method 'padim' has no fusion" in said and not out.exists()
