"""`cad-edge advise` on a small line: learned for real, gone on with, and refused."""

import json
import re
import xml.etree.ElementTree as ElementTree

import pytest
from click.testing import CliRunner

pytest.importorskip("torch")
pytest.importorskip("onnx")

from cad_edge.cli import main
from cad_edge_benchmarks.advise.schema import Advice
from cad_edge_benchmarks.advise.trials import fingerprint_of
from tests.benchmarks.protocol_line import write_line
from tests.benchmarks.test_benchmark_command import Page
from tests.house.refusals import sentence
from tests.training.small_products import stream_of, write_product
from tests.training.tiny_models import save_dinov2


class Called:
    """One line, one untrained network, one folder that is gone on with."""

    def __init__(self, folder):
        self.data = folder / "data"
        self.data.mkdir()
        write_line(self.data)
        network = save_dinov2(folder / "tiny-dinov2", side=56)
        self.out = folder / "out"
        options = ("memories=1+2x16", "statistics_blocks=", "keys=8")
        self.words = ["--stream", self.data, "--backbone", f"dinov2:{network}"]
        self.words += [word for option in options for word in ("--set", option)]
        self.words += ["--method", "patch_memory"]
        self.words += ["--axis", "resolution=112px", "--axis", "precision", "--threads", "1"]
        self.first = self.run("--out", self.out)

    def run(self, *more):
        return CliRunner().invoke(main, ["advise", *map(str, self.words), *map(str, more)])

    def advice(self):
        return Advice.model_validate_json((self.out / "advice.json").read_bytes())


@pytest.fixture(scope="module")
def called(tmp_path_factory):
    return Called(tmp_path_factory.mktemp("advise"))


@pytest.mark.slow
def test_settings_are_measured_and_one_is_taken(called):
    assert called.first.exit_code == 0, called.first.output
    assert "3 settings: the default, 1 of resolution, 1 of precision" in called.first.stderr
    advice = called.advice()
    assert [one.name for one in advice.settings] == ["default", "112px"]
    assert [one.size for one in advice.settings] == [56, 112]
    assert advice.taken in {"default", "112px"}
    assert any(one.on_front for one in advice.settings)
    for one in advice.settings:
        assert 0 <= one.accuracy.image_auroc <= 1 and one.accuracy.error >= 0
        assert 0 < one.p50 <= one.p90 and one.frames == 100
        assert one.peak_memory > 1e7 and 0 < one.task_bytes < one.bundle_bytes
        # checks and stripes: 1 good and 1 defective each; waves: 2 good ones and 6 copies
        assert one.accuracy.routed_good.total == 4
        assert one.accuracy.routed_defective.total == 8
        assert one.accuracy.pixel_auroc is not None
    assert advice.reported.taken.routed_defective.total == 8


def test_what_cannot_be_exported_is_listed_and_the_sweep_goes_on(called):
    (refused,) = called.advice().refused
    assert refused.name == "uint8"
    assert "an eight-bit export measures on at least 10" in refused.reason
    assert "uint8  cad-edge export failed" in called.first.stdout


def test_synthetic_anomalies_are_said_to_be_synthetic(called):
    reasons = {one.name: one.synthetic for one in called.advice().products}
    assert [one.learned for one in called.advice().products] == [8, 8, 4]
    assert [one.path for one in called.advice().products] == [
        str(called.data / name) for name in reasons
    ]
    assert reasons == {
        "checks": None,
        "stripes": None,
        "waves": "2 good and 0 defective test images",
    }
    for text in (called.first.stdout, (called.out / "advice.md").read_text()):
        assert "Synthetic anomalies chose here, not real ones: waves (2 good and 0" in text


def test_the_files_hold_the_same_and_need_nothing_beside_them(called):
    page = (called.out / "advice.html").read_text()
    assert Page(page).open == []
    assert not re.search(r"https?://(?!www.w3.org)|url\((?!#)|@import", page)
    picture = ElementTree.parse(called.out / "advice.svg")
    assert picture.getroot().tag == "{http://www.w3.org/2000/svg}svg"
    for name in ("default", "112px"):
        assert name in page and name in (called.out / "advice.md").read_text()
    train, _ = called.advice().commands
    assert f"--stream {called.data} " in train and "--set keys=8" in train


def test_a_second_call_learns_nothing_again(called):
    kept = {path: path.stat().st_mtime_ns for path in called.out.glob("learned/*/*/*.json")}
    assert len(kept) == 6
    answers = [one.accuracy for one in called.advice().settings]
    again = called.run("--out", called.out, "--budget-ms", "0.001", "--budget-mb", "1e6")
    assert again.exit_code == 1
    assert again.stderr.count("was measured before") == 2 and "learning" not in again.stderr
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    advice = called.advice()
    assert [one.accuracy for one in advice.settings] == answers
    assert advice.taken is None and advice.commands == [] and advice.reported is None
    assert advice.limits == {"ms": 0.001, "MB": 1e6}
    assert "No setting keeps 0.001 ms and 1e+06 MB. The nearest is " in again.stdout
    assert "against 0.001 ms" in again.stdout


def test_other_images_or_labels_have_another_fingerprint(tmp_path):
    product = write_product(tmp_path, "checks", good=2, test=1)
    stream = stream_of(tmp_path, ("checks",))
    first = fingerprint_of(stream)
    (product / "test/blot").rename(product / "test/stain")
    relabelled = fingerprint_of(stream)
    (product / "train/good/000.png").write_bytes((product / "train/good/001.png").read_bytes())
    assert len({first, relabelled, fingerprint_of(stream)}) == 3
    assert fingerprint_of(stream.model_copy(update={"name": "other"})) == fingerprint_of(stream)


def test_no_advice_is_written_where_the_default_cannot_be_learned(tmp_path):
    write_product(tmp_path / "data", "checks", good=3)
    said = sentence("advise", "--stream", tmp_path / "data", "--out", tmp_path / "out")
    assert "3 images of good parts are too few to learn" in said
    assert not list((tmp_path / "out").glob("advice*"))


@pytest.fixture
def data(tmp_path):
    write_product(tmp_path / "data", "checks", good=4)
    return tmp_path / "data"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--budget-ms", "fast"], "'fast' is not a valid float"),
        (["--budget-ms", "-3"], "--budget-ms -3 is not allowed; give a number above 0"),
        (["--budget-mb", "nan"], "--budget-mb nan is not allowed; give a number above 0"),
        (["--axis", "colour"], "--axis colour: there is no such axis"),
        (["--method", "best"], "method 'best' is unknown"),
        (["--backbone", "resnet"], "backbone 'resnet' is unknown"),
        (["--set", "memory=3"], "--set memory: patch_memory has no such option"),
        (["--set", "memories=7x16", "--axis", "bank"], "--axis bank: there is no such axis"),
        (["--device", "abacus"], "device 'abacus' is not known"),
    ],
)
def test_options_are_refused_before_anything_is_learned(data, tmp_path, words, said):
    out = tmp_path / "out"
    assert said in sentence("advise", "--stream", data, "--out", out, *words)
    assert not out.exists()


def test_a_file_in_the_place_of_a_folder_is_refused(data, tmp_path):
    (tmp_path / "file").write_text("a")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        said = sentence("advise", "--stream", data, "--out", place)
        assert f"--out {place} cannot be written ({tmp_path / 'file'} is a file" in said


def test_data_without_products_is_refused(tmp_path):
    assert "does not exist; give a stream file" in sentence("advise", "--stream", tmp_path / "no")
    empty = tmp_path / "empty"
    (empty / "train/good").mkdir(parents=True)
    assert "train/good holds no images" in sentence("advise", "--stream", empty)
    (empty / "train/good").rmdir()
    assert "holds no product" in sentence("advise", "--stream", empty)
    write_product(tmp_path / "named", "checks").rename(tmp_path / "named" / "my part")
    assert "my part cannot name a task; rename it" in sentence(
        "advise", "--stream", tmp_path / "named"
    )
    (tmp_path / "bad.json").write_text(json.dumps({"name": "x"}))
    assert "is not a valid stream file" in sentence("advise", "--stream", tmp_path / "bad.json")
