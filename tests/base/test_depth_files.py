"""What a depth file means by what it holds, and what is refused."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from cad_edge.data.dataset import read_product
from cad_edge.data.depth import range_of
from cad_edge.data.depth_files import decode_depth
from cad_edge.data.image import decode_image
from cad_edge.errors import ImageError
from tests.base.picture_files import ramp, tiff

tifffile = pytest.importorskip("tifffile")

SHAPE = (12, 16)


@pytest.fixture
def cloud(rng) -> np.ndarray:
    """Points (12, 16, 3) half a metre away, x and y around 0, and a corner without measurement."""
    points = rng.uniform(-0.1, 0.1, (*SHAPE, 3)).astype(np.float32)
    points[..., 2] += 0.5
    points[:3, :4] = 0
    return points


def write(path: Path, array: np.ndarray, **options) -> Path:
    """Write a TIFF; floats of three channels as one page, as MVTec 3D-AD has them."""
    tifffile.imwrite(path, array, photometric=options.pop("photometric", "minisblack"), **options)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ImageError) as problem:
        decode_depth(path)
    said = str(problem.value)
    assert str(path.parent) in said and "\n" not in said
    return said


class TestGrey:
    @pytest.mark.parametrize("name", ["d.png", "d.tiff"])
    def test_keeps_its_units_and_zero(self, tmp_path, rng, name):
        values = rng.integers(0, 65536, SHAPE, dtype=np.uint16)
        values[0, :3] = 0, 1, 65535
        Image.fromarray(values).save(tmp_path / name)
        depth = decode_depth(tmp_path / name)
        assert depth.dtype == np.float32
        np.testing.assert_array_equal(depth, values)

    @pytest.mark.parametrize("bits", range(9, 17))
    @pytest.mark.parametrize("order", "<>")
    def test_packed_values_are_not_scaled(self, tmp_path, bits, order):
        (tmp_path / "d.tif").write_bytes(tiff(ramp(bits), bits, 1, order))
        np.testing.assert_array_equal(decode_depth(tmp_path / "d.tif"), ramp(bits))

    def test_pgm(self, tmp_path):
        values = ramp(12)
        (tmp_path / "d.pgm").write_bytes(b"P5 64 48 4095\n" + values.astype(">u2").tobytes())
        np.testing.assert_array_equal(decode_depth(tmp_path / "d.pgm"), values)

    @pytest.mark.parametrize("bits", [12, 16])
    def test_a_distance_has_no_brightness(self, tmp_path, bits):
        (tmp_path / "d.tif").write_bytes(tiff(ramp(bits), bits, 0))
        assert "states that 0 is white, which a distance is not" in refusal(tmp_path / "d.tif")

    def test_floats_of_which_0_is_white(self, tmp_path, cloud):
        path = write(tmp_path / "d.tif", cloud[..., 2], photometric="miniswhite")
        assert "states that 0 is white" in refusal(path)

    @pytest.mark.parametrize("options", [{}, {"bigtiff": True}, {"compression": "zlib"}])
    def test_floats_of_one_channel(self, tmp_path, cloud, options):
        depth = decode_depth(write(tmp_path / "d.tiff", cloud[..., 2], **options))
        assert depth.dtype == np.float32
        np.testing.assert_array_equal(depth, cloud[..., 2])

    @pytest.mark.parametrize("mode", ["L", "RGB"])
    @pytest.mark.parametrize("name", ["d.png", "d.tiff"])
    def test_a_picture_of_a_depth_is_refused(self, tmp_path, mode, name):
        Image.new(mode, SHAPE).save(tmp_path / name)
        assert f"{name} is not a 16-bit grey image, a float32 TIFF" in refusal(tmp_path / name)

    @pytest.mark.parametrize("dtype", [np.float16, np.float64])
    def test_other_floats_are_refused(self, tmp_path, cloud, dtype):
        path = write(tmp_path / "d.tiff", cloud[..., 2].astype(dtype))
        assert f"is {np.dtype(dtype)} of shape (12, 16); give" in refusal(path)

    def test_signed_integers_are_refused(self, tmp_path):
        assert "pixel type" in refusal(write(tmp_path / "d.tiff", np.ones(SHAPE, np.int32)))


class TestPointCloud:
    OPTIONS = (
        {"photometric": "rgb"},
        {"photometric": "rgb", "compression": "zlib"},
        {"photometric": "rgb", "bigtiff": True},
        {"photometric": "rgb", "byteorder": ">"},
        {"photometric": "rgb", "tile": (16, 16)},
        {"photometric": "minisblack"},  # as pages three pixels wide
    )

    @pytest.mark.parametrize("options", OPTIONS)
    def test_z_is_the_depth(self, tmp_path, cloud, options):
        depth = decode_depth(write(tmp_path / "0.tiff", cloud, **options))
        assert depth.dtype == np.float32 and depth.flags.c_contiguous
        np.testing.assert_array_equal(depth, cloud[..., 2])
        assert not depth[:3, :4].any() and (depth[3:] > 0.3).all()

    def test_the_contents_decide_not_the_suffix(self, tmp_path, cloud):
        path = write(tmp_path / "0.tiff", cloud, photometric="rgb").rename(tmp_path / "0.png")
        np.testing.assert_array_equal(decode_depth(path), cloud[..., 2])

    @pytest.mark.parametrize("channel", [0, 1, 2])
    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_points_are_finite(self, tmp_path, cloud, channel, bad):
        cloud[7, 3, channel] = bad
        path = write(tmp_path / "0.tiff", cloud, photometric="rgb")
        assert "0.tiff holds NaN or infinite values; save 0 where" in refusal(path)

    def test_z_is_not_negative(self, tmp_path, cloud):
        cloud[7, 3, 2] = -0.25
        path = write(tmp_path / "0.tiff", cloud, photometric="rgb")
        assert "holds the negative distance -0.25; give distances" in refusal(path)

    @pytest.mark.parametrize("dtype", [np.float16, np.float64])
    def test_other_floats_are_refused(self, tmp_path, cloud, dtype):
        path = write(tmp_path / "0.tiff", cloud.astype(dtype), photometric="rgb")
        assert f"is {np.dtype(dtype)} of shape (12, 16, 3); give a point cloud" in refusal(path)

    def test_channels_come_last(self, tmp_path, cloud):
        apart = np.ascontiguousarray(cloud.transpose(2, 0, 1))
        path = write(tmp_path / "0.tiff", apart, planarconfig="separate")
        assert "is float32 of shape (3, 12, 16); give a point cloud" in refusal(path)

    def test_four_channels_are_refused(self, tmp_path, cloud):
        more = np.concatenate([cloud, cloud[..., :1]], axis=2)
        path = write(tmp_path / "0.tiff", more, photometric="rgb")
        assert "is float32 of shape (12, 16, 4); give a point cloud" in refusal(path)

    def test_turned_ones_are_refused(self, tmp_path, cloud):
        tag = (274, 3, 1, 6, True)
        path = write(tmp_path / "0.tiff", cloud, photometric="rgb", extratags=[tag])
        assert "stored turned (orientation 6); save it upright" in refusal(path)

    @pytest.mark.parametrize("share", [0.002, 0.02, 0.5, 0.95])
    @pytest.mark.parametrize("options", OPTIONS[:5])
    def test_truncated(self, tmp_path, cloud, options, share):
        path = write(tmp_path / "0.tiff", np.tile(cloud, (4, 4, 1)), **options)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])
        assert "0.tiff cannot be read (" in refusal(path)

    def test_too_large_is_refused_before_decoding(self, tmp_path, cloud):
        """A file that claims 10,000 x 9,000 points and holds 12 x 16."""
        path = write(tmp_path / "0.tiff", cloud, photometric="rgb", metadata=None)
        with tifffile.TiffFile(path, mode="r+b") as file:
            for name, value in (("ImageWidth", 10_000), ("ImageLength", 9_000)):
                file.pages.first.tags[name].overwrite(value)
        assert "0.tiff has more than 89 megapixels; crop it" in refusal(path)

    def test_too_small(self, tmp_path, cloud):
        path = write(tmp_path / "0.tiff", cloud[:7], photometric="rgb")
        assert "0.tiff is 16x7 px; give an image of at least 8 px" in refusal(path)

    def test_without_tifffile_it_says_what_to_install(self, tmp_path, cloud, monkeypatch):
        path = write(tmp_path / "0.tiff", cloud, photometric="rgb")
        plane = write(tmp_path / "1.tiff", cloud[..., 2])
        monkeypatch.setitem(sys.modules, "tifffile", None)
        for one in (path, plane):
            said = refusal(one)
            assert "by the package tifffile, which is not installed; run `pip install tif" in said

    def test_a_compression_that_needs_another_package(self, tmp_path, cloud, monkeypatch):
        path = write(tmp_path / "0.tiff", cloud, photometric="rgb", compression="lzw")

        def asarray(*_, **__):
            raise ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

        monkeypatch.setattr(tifffile.TiffPage, "asarray", asarray)
        assert "is read by the package imagecodecs, which is not installed" in refusal(path)

    def test_damage_is_said_once(self, tmp_path, cloud, capfd):
        path = write(tmp_path / "0.tiff", np.tile(cloud, (4, 4, 1)))  # a page for each row
        path.write_bytes(path.read_bytes()[:2000])
        refusal(path)
        assert capfd.readouterr() == ("", "")


class TestEyecandies:
    def file(self, folder: Path, info: str | None = "normalization: {min: 0.5, max: 0.7}") -> Path:
        values = np.zeros(SHAPE, np.uint16)
        values[0, :3] = 65535, 13107, 52428  # one fifth and four fifths of the range
        Image.fromarray(values).save(folder / "007_depth.png")
        if info is not None:
            (folder / "007_info_depth.yaml").write_text(info)
        return folder / "007_depth.png"

    def test_becomes_metres(self, tmp_path):
        depth = decode_depth(self.file(tmp_path))
        assert depth.dtype == np.float32
        np.testing.assert_allclose(depth[0, :4], [0.7, 0.54, 0.66, 0.5], rtol=1e-6)
        assert (depth[1:] == np.float32(0.5)).all()  # the nearest point, and no gap

    def test_without_its_distances_it_has_its_own_units(self, tmp_path):
        assert decode_depth(self.file(tmp_path, None))[0].max() == 65535

    def test_another_name_has_its_own_units(self, tmp_path):
        path = self.file(tmp_path).rename(tmp_path / "007.png")
        assert decode_depth(path)[0].max() == 65535

    @pytest.mark.parametrize(
        ("info", "words"),
        [
            ("normalization: {min: 0.7, max: 0.5}", "lacks normalization.min and .max"),
            ("normalization: {min: 0.0, max: 0.5}", "lacks normalization.min and .max"),
            ("normalization: {min: -0.1, max: 0.5}", "lacks normalization.min and .max"),
            ("normalization: {min: 0.5, max: .nan}", "lacks normalization.min and .max"),
            ("normalization: {min: 0.5, max: .inf}", "lacks normalization.min and .max"),
            ("normalization: {min: 0.5, max: true}", "lacks normalization.min and .max"),
            ("normalization: {min: 0.5}", "lacks normalization.min and .max"),
            ("normalization: 3", "lacks normalization.min and .max"),
            ("{}", "lacks normalization.min and .max"),
            ("", "holds no keys with values"),
            ("a: [", "is not YAML"),
            ("a: !!python/object:os.system x", "is not YAML"),
            ("\0", "is not YAML"),
        ],
    )
    def test_distances_that_are_none(self, tmp_path, info, words):
        assert f"007_info_depth.yaml {words}" in refusal(self.file(tmp_path, info))

    def test_distances_that_are_no_text(self, tmp_path):
        path = self.file(tmp_path)
        (tmp_path / "007_info_depth.yaml").write_bytes(b"\xff\xfe\x00")
        assert "007_info_depth.yaml is not YAML" in refusal(path)


class TestBadFiles:
    def test_missing(self, tmp_path):
        assert "gone.tiff does not exist" in refusal(tmp_path / "gone.tiff")

    def test_folder(self, tmp_path):
        (tmp_path / "a").mkdir()
        assert "a cannot be read (Is a directory)" in refusal(tmp_path / "a")

    @pytest.mark.parametrize(
        "content", [b"", b"no image", b"II*\0", b"MM\0+\0\x08\0\0", b"\x89PNG"]
    )
    def test_no_image(self, tmp_path, content):
        (tmp_path / "a.tiff").write_bytes(content)
        assert "a.tiff cannot be read" in refusal(tmp_path / "a.tiff")

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_planes_are_finite(self, tmp_path, cloud, bad):
        cloud[7, 3, 2] = bad
        path = write(tmp_path / "d.tiff", cloud[..., 2])
        assert "holds NaN or infinite values" in refusal(path)

    def test_planes_are_not_negative(self, tmp_path, cloud):
        assert "negative distance" in refusal(write(tmp_path / "d.tiff", cloud[..., 2] - 1))

    @pytest.mark.parametrize("size", [(10_000, 9_000), (20_000, 10_000)])
    @pytest.mark.parametrize("name", ["d.png", "d.tiff"])
    def test_too_large_is_refused_before_decoding(self, tmp_path, name, size):
        Image.new("1", size).save(
            tmp_path / name, **({"compression": "group4"} if "tiff" in name else {})
        )
        assert "has more than 89 megapixels" in refusal(tmp_path / name)

    def test_another_limit(self, tmp_path, cloud):
        path = write(tmp_path / "d.tiff", cloud, photometric="rgb")
        decode_depth(path, max_pixels=12 * 16)
        with pytest.raises(ImageError, match="has more than 191 pixels"):
            decode_depth(path, max_pixels=191)

    @pytest.mark.parametrize("share", [0.01, 0.5, 0.95])
    @pytest.mark.parametrize("name", ["d.png", "d.tiff"])
    def test_truncated(self, tmp_path, monkeypatch, rng, name, share):
        monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
        Image.fromarray(rng.integers(0, 65536, (64, 64), dtype=np.uint16)).save(tmp_path / name)
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: int(len(content) * share)])
        assert f"{name} cannot be read" in refusal(tmp_path / name)


def test_real_depth(open_data):
    """Every part of asphalt_b: the size of its image, some gaps, and measurements with a range."""
    product = read_product(open_data / "rgbd/asphalt_b", "rgbd")
    planes = [decode_depth(path) for path in product.train_depth]
    assert len(planes) == len(product.train) == 40
    assert {plane.shape for plane in planes} == {decode_image(product.train[0]).shape[:2]}
    assert all(plane.any() for plane in planes)
    measured = range_of(planes)
    assert 0 < measured.low < measured.high <= 65535
    raw = np.array(Image.open(product.test[-1].depth))
    np.testing.assert_array_equal(decode_depth(product.test[-1].depth), raw)
