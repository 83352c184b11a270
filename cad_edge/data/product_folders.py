"""Finding products by their folders: every ``train/good`` or ``train/data`` below a folder."""

from collections.abc import Iterable, Sequence, Set
from pathlib import Path

from cad_edge.data.dataset import Layout
from cad_edge.data.folder import contents_of, counted, folders_in, real_path
from cad_edge.data.folder_names import learned_elsewhere
from cad_edge.data.left_out import GOOD, count_below, refuse_other_good
from cad_edge.data.placing import identity_of
from cad_edge.errors import DatasetError

_LEARNED = (f"train/{GOOD}", "train/data")


def find_products(folder: Path, patterns: Sequence[str]) -> dict[str, tuple[Path, Layout]]:
    """Folder and layout of every product below ``folder`` by name, in alphabetical order.

    Parameters
    ----------
    folder
        Where to look.
    patterns
        Where a product lies below it: ``*`` for its folders, ``*/*`` for those in its folders.

    Raises
    ------
    DatasetError
        Two products have one name, one is there under two names, a folder cannot be read, or good
        parts lie in a folder of another name than ``good``.
    """
    found: dict[str, tuple[Path, Layout]] = {}
    names: dict[tuple[int, int], str] = {}
    places = [place for pattern in patterns for place in _below(folder, pattern.count("/") + 1)]
    for product in filter(is_product, places):
        real = identity_of(product)
        if names.get(real) == product.name:
            continue  # a link to where it was found before
        if real in names:
            raise DatasetError(
                f"{product} and {found[names[real]][0]} are one folder, and would be learned as "
                "two products; remove the link"
            )
        if product.name in found:
            raise DatasetError(f"{folder} holds two products named {product.name}; rename one")
        names[real] = product.name
        found[product.name] = (product, layout_of(product))
    return dict(sorted(found.items()))


def refuse_outside(folder: Path, products: Iterable[Path]) -> None:
    """Raise DatasetError for pictures below ``folder`` that belong to none of its products."""
    known = {real_path(product) for product in products}
    above = {parent for product in known for parent in product.parents}
    seen: set[Path] = set()
    waiting = [folder]
    while waiting:
        place = waiting.pop(0)
        real = real_path(place)
        if real in seen or known & {real, *real.parents}:
            continue
        seen.add(real)
        inner = folders_in(place)
        holds_products = place == folder or any(_leads_to(one, known, above) for one in inner)
        count = len(contents_of(place).images) if holds_products else count_below(place)
        if count:
            beside = " beside its products" if holds_products else ""
            raise DatasetError(
                f"{place} holds {counted(count)}{beside} that would be left out, as they belong "
                f"to no product; move them out of {folder}, give their product a folder "
                f"train/{GOOD}, or write a stream file that names the products"
            )
        waiting += inner if holds_products else []


def _leads_to(place: Path, known: Set[Path], above: Set[Path]) -> bool:
    """Whether a folder is a product or holds one, as it may through a link."""
    real = real_path(place)
    return real in known or real in above


def _below(folder: Path, depth: int) -> list[Path]:
    """Folders that lie so many steps below one; links come last."""
    places = [folder]
    for _ in range(depth):
        places = [inner for place in places for inner in folders_in(place)]
    return sorted(places, key=lambda place: place.is_symlink())


def is_product(folder: Path) -> bool:
    """Whether images of good parts lie where one of the layouts has them.

    Raises
    ------
    DatasetError
        They lie in a folder of another name, such as ``train/OK`` or ``Train/good``.
    """
    if any((folder / learned).is_dir() for learned in _LEARNED):
        return True
    if (folder / "train").is_dir():
        refuse_other_good(folders_in(folder / "train"))
    learned_elsewhere(folder)
    return False


def layout_of(product: Path) -> Layout:
    """Layout of a product by the folders that hold its images of good parts."""
    good = product / "train" / GOOD
    if (good / "xyz").is_dir():
        return "mvtec3d"
    if (good / "rgb").is_dir():
        return "rgbd"
    eyecandies = not good.is_dir() and (product / "train" / "data").is_dir()
    return "eyecandies" if eyecandies else "mvtec"
