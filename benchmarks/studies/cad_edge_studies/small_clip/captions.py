"""Captions of drawn scenes, in the words of CMPMB's sentence, and a tokenizer for them."""

from tokenizers import pre_tokenizers
from transformers import CLIPTokenizer

from cad_edge_studies.embedded_language_model.defects import DEFECTS
from cad_edge_studies.embedded_language_model.parts import PARTS
from cad_edge_studies.embedded_language_model.questions import COLOURS, SHADES, SIZES
from cad_edge_studies.embedded_language_model.scenes import PLACES, DescribedScene
from cad_edge_studies.embedded_language_model.surfaces import SURFACES

NAMES = (*SURFACES, *PARTS, "circuit board")
"""What can be seen in a scene."""
START, END, WORD_END = "<|startoftext|>", "<|endoftext|>", "</w>"


def caption(scene: DescribedScene) -> str:
    """Say what a scene shows, and its defect.

    Examples
    --------
    ``a photo of a grey washer with a small dark scratch in the upper left``
    """
    seen = f"a photo of a {scene.colour} {scene.name} with"
    if scene.defect is None:
        return f"{seen} no defect"
    kind, place, size, shade = scene.defect
    return f"{seen} a {size} {shade} {kind} in the {place}"


def naming(name: str) -> str:
    """Name what is seen and nothing else."""
    return f"a photo of a {name}"


def words() -> list[str]:
    """Every word that a caption can have, in a fixed order."""
    said = ("a photo of with no defect in the", *NAMES, *COLOURS, *SIZES, *SHADES)
    return list(dict.fromkeys(" ".join((*said, *DEFECTS, *PLACES)).split()))


def build_tokenizer() -> CLIPTokenizer:
    """CLIP's tokenizer with merges for the words of captions; other words are spelled."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [START, END, *letters, *(letter + WORD_END for letter in letters)]
    merges: dict[tuple[str, str], None] = {}
    for word in words():
        spelled = [*word[:-1], word[-1] + WORD_END]
        for end in range(1, len(spelled)):
            merges["".join(spelled[:end]), spelled[end]] = None
    pieces += ["".join(pair) for pair in merges]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    return CLIPTokenizer(vocab=vocabulary, merges=list(merges))
