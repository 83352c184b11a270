"""Folders of good parts that are called otherwise than ``good``, and folders of defects."""

import pytest

from cad_edge.data.dataset import read_product
from cad_edge.data.products import read_products
from cad_edge.errors import DatasetError
from tests.base.test_folder_listing import refusal, touch

GOOD_NAMES = [
    "Good",
    "GOOD",
    "OK",
    "ok",
    "Ok",
    "normal",
    "Normal",
    "good_parts",
    "OK 2",
    "No-Defect",
    "i.O.",
    "Goods",
    "goodparts",
    "good parts",
    "good_2",
    "2. good",
    "good_",
    "good_a",
    "OK-B",
    "good_test",
    "test_good",
    "trainOK",
    "accepted",
    "conform",
    "golden",
    "Golden Sample",
    "reference",
    "clean",
    "correct",
    "healthy",
    "PASS",
    "in Ordnung",
    "Gutteile",
    "unbeschädigt",
    "fehlerfrei",
    "anomaly_free",
    "non_anomaly",
    "nonanomalous",
    "non-defective",
    "undamaged",
    "unbroken",
    "not_damaged",
    "no defects",
    "zero_defects",
    "defect-free",
    "error_free",
    "ohne Fehler",
    "sans défaut",
    "buono",
    "良品",
    "OK品",
    "".join(chr(ord(letter) + 0xFEE0) for letter in "Good"),  # of full width
]
# Of defects as well; of good parts where no other folder is.
LIKELY = ("normals", "0", "class_0", "negative", "fine")
DEFECTS = [
    "NG",
    "NOK",
    "nok",
    "n.i.O.",
    "N.OK",
    "not_ok",
    "not_good",
    "no_good",
    "ok_scratch",
    "ok_but_scratched",
    "bad",
    "0_bad",
    "defect",
    "damaged",
    "missing_part",
    "no_screw",
    "no_label",
    "unclean",
    "incorrect",
    "abnormal",
    "nonconforming",
    "nicht_in_Ordnung",
    "imperfect",
    "positive",
    "1",
    "class_1",
    "left",
    "contamination",
    "cut",
    "test",
    "defects_2",
    "unevenness",
]


class TestOtherNamesOfGood:
    @pytest.mark.parametrize("name", GOOD_NAMES)
    @pytest.mark.parametrize("views", [1, 2])
    def test_in_test(self, tmp_path, name, views):
        part = "0.png" if views == 1 else "0/0.png"
        touch(tmp_path, f"train/good/{part}", f"test/{name}/{part}", f"test/NG/{part}")
        if views == 2:
            touch(tmp_path, "train/good/0/1.png", f"test/{name}/0/1.png", "test/NG/0/1.png")
        said = refusal(tmp_path, views=views)
        assert f"{tmp_path / 'test' / name} would not count as good parts by its name" in said
        assert f"rename it to {tmp_path / 'test/good'}" in said

    def test_two_of_them(self, tmp_path):
        touch(tmp_path, "train/good/0.png", "test/good/0.png", "test/OK/0.png")
        assert f"move its images into {tmp_path / 'test/good'}" in refusal(tmp_path)

    @pytest.mark.parametrize("name", GOOD_NAMES)
    def test_in_train(self, tmp_path, name):
        touch(tmp_path / "nut", f"train/{name}/0.png", "test/good/0.png")
        said = f"train/{name} would not count as good parts by its name; rename"
        assert said in refusal(tmp_path / "nut")
        for place in (tmp_path, tmp_path / "nut"):
            with pytest.raises(DatasetError, match=said):
                read_products(place)

    def test_with_depth(self, tmp_path):
        for place in ("train/good", "test/OK"):
            touch(tmp_path, f"{place}/rgb/0.png", f"{place}/depth/0.png")
        assert "test/OK would not count as good" in refusal(tmp_path, "rgbd")

    @pytest.mark.parametrize("name", LIKELY)
    def test_names_of_either(self, tmp_path, name):
        touch(tmp_path, "train/good/0.png", f"test/{name}/0.png", "test/NG/0.png")
        (tmp_path / "test/good").mkdir()
        said = refusal(tmp_path)
        assert f"test/{name} would not count as good parts by its name" in said
        assert "or give it the name of its defect" in said
        touch(tmp_path, "test/good/0.png")
        assert {item.label for item in read_product(tmp_path).test} == {"good", "NG", name}

    @pytest.mark.parametrize("name", DEFECTS)
    @pytest.mark.parametrize("beside", [False, True])
    def test_names_of_defects(self, tmp_path, name, beside):
        touch(tmp_path, "train/good/0.png", f"test/{name}/0.png")
        if beside:
            touch(tmp_path, "test/good/0.png")
        assert read_product(tmp_path).test[-1].label == name

    def test_a_long_name_takes_no_time(self, tmp_path):
        name = "1dataset" * 30 + "!x!q9"
        touch(tmp_path, "train/good/0.png", f"test/{name}/0.png")
        assert read_product(tmp_path).test[0].label == name
