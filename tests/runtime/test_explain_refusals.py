"""What a detector does not answer in words, and that it says so in one sentence."""

import sys

import numpy as np
import pytest
from safetensors.numpy import save

from cad_edge.errors import (
    BundleError,
    CadEdgeError,
    DeviceError,
    GraphError,
    IntegrityError,
    OptionError,
    UnknownTask,
)
from cad_edge.store.manifest import Explainer, Stage
from cad_edge_runtime import Detector
from cad_edge_runtime.session import GraphSession
from tests.runtime.golden_words import TEXTS, give_words, needs_tokenizers, weights
from tests.runtime.onnx_bytes import field, node

pytestmark = pytest.mark.torchless


@pytest.fixture
def refused(bundle, workshop, image):
    """Give `red` a changed explainer; opening and detecting go well, explaining is refused."""

    def check(change, error: type[CadEdgeError], words: str) -> None:
        give_words(workshop, "red", change)
        with Detector.open(bundle, threads=1, watch=False) as detector:
            assert detector.detect(image).task == "red"
            for _ in range(2):
                with pytest.raises(error, match=words) as problem:
                    detector.explain(image, max_tokens=5)
                assert "\n" not in str(problem.value)
            assert detector.detect(image).task == "red"

    return check


def changed(name: str, value: object):
    return lambda found: found.model_copy(update={name: value})


def bound(changes: dict[str, str | None]):
    """Bind inputs of the decoder otherwise; None takes one away."""

    def change(found: Explainer) -> Explainer:
        inputs = {**found.decoder.inputs, **changes}
        inputs = {name: source for name, source in inputs.items() if source is not None}
        decoder = found.decoder.model_copy(update={"inputs": inputs})
        return found.model_copy(update={"decoder": decoder})

    return change


def test_missing_tokenizers_say_what_to_install(refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    refused(lambda found: found, DeviceError, r'run `pip install "cad-edge\[explain\]"`')


@needs_tokenizers
class TestAsking:
    def test_a_task_without_words(self, red, frames):
        for task in ("green", None):
            with pytest.raises(BundleError, match="task 'green' does not answer in words"):
                red.explain(frames["green.good"][0], task=task)

    def test_a_product_that_is_not_known(self, red, amber, image):
        with pytest.raises(UnknownTask, match=r"shows no product .* give task= to ask") as problem:
            red.explain(amber[0])
        assert "\n" not in str(problem.value)
        assert red.explain(amber[0], max_tokens=2, task="red").task == "red"
        with pytest.raises(UnknownTask, match="'reds'; it holds blue, green, red"):
            red.conversation(image, task="reds")

    @pytest.mark.parametrize("count", [0, -1, "5", 2.5, None])
    def test_no_tokens(self, red, image, count):
        with pytest.raises(OptionError, match=f"max_tokens={count!r} is not allowed"):
            red.explain(image, max_tokens=count)
        talk = red.conversation(image)
        with pytest.raises(OptionError, match=f"max_tokens={count!r} is not allowed"):
            next(talk.stream(max_tokens=count))
        assert talk.ask(max_tokens=1).finished == "length"

    @pytest.mark.parametrize("question", [3, [], b"why", {}])
    def test_no_words(self, red, image, question):
        with pytest.raises(OptionError, match="is no question; give a string"):
            red.explain(image, question)

    @pytest.mark.parametrize("question", ["", "  \n"])
    def test_no_question(self, red, image, question):
        with pytest.raises(OptionError, match="the question is empty"):
            red.explain(image, question)

    def test_a_closed_detector(self, red, image):
        red.close()
        with pytest.raises(BundleError, match="closed"):
            red.explain(image)

    def test_a_decoder_that_fails_between_two_tokens(self, red, image, monkeypatch):
        """What was said stays said, and the conversation goes on."""
        talk, twin = red.conversation(image), red.conversation(image)
        stream = talk.stream(max_tokens=9)
        piece = next(stream)
        with monkeypatch.context() as broken:
            broken.setattr(GraphSession, "run", _fail)
            with pytest.raises(GraphError):
                list(stream)
        assert talk.answers[0].text == piece and talk.answers[0].finished == "closed"
        twin.ask(max_tokens=len(talk.answers[0].tokens))
        assert talk.ask("And?", 9).tokens == twin.ask("And?", 9).tokens


def _fail(self, outputs, feed):
    raise GraphError("the graph failed")


@needs_tokenizers
class TestOpening:
    def test_a_broken_tokenizer(self, refused, workshop):
        for files, words in (
            ({"tokenizer.json": b"{"}, r"tokenizer\.json of object [0-9a-f]{64} is broken"),
            ({"tensors.safetensors": b""}, r"holds no tokenizer\.json"),
        ):
            sha = workshop.store.add_object(files)
            refused(changed("tokenizer", sha), BundleError, words)

    def test_an_embedding_of_another_width(self, refused, workshop):
        table = np.zeros((261, 9), np.float32)
        sha = workshop.store.add_object({"tensors.safetensors": save({"embedding": table})})
        refused(changed("embedding", sha), GraphError, r"\(1, 4, 8\) where its embedding is 9 wide")

    def test_an_embedding_that_is_too_short(self, refused, workshop):
        table = weights()["embedding"][:200].copy()
        sha = workshop.store.add_object({"tensors.safetensors": save({"embedding": table})})
        refused(changed("embedding", sha), BundleError, "has 200 rows and none for token")

    def test_a_dialogue_that_is_too_short_for_a_question(self, refused):
        refused(changed("positions", 20), OptionError, "but task 'red' reads at most 20")

    @pytest.mark.parametrize("name", ["layers", "kv_heads", "head_width"])
    def test_a_cache_of_another_shape(self, refused, name):
        refused(
            changed(name, 3),
            GraphError,
            "takes .past_.* and the manifest binds|where the manifest says",
        )

    @pytest.mark.parametrize(
        ("tokens", "words"),
        [
            ("2/tokens", "stage 2 of the explainer of task 'red' takes 'tokens' from '2/tokens'"),
            ("tokens", "takes 'tokens' from 'tokens', which this engine does not have"),
            ("tensor/experts", "which is no output of a stage"),
            ("frame/image", r"sees uint8 of shape \(1, 32, 32, 3\)"),
            ("1/gate", r"sees float32 of shape \(1, 2\)"),
            ("1/words", "the output 'words' is missing|and uses .*words"),
        ],
    )
    def test_tokens_from_elsewhere(self, refused, tokens, words):
        refused(changed("tokens", tokens), CadEdgeError, words)

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"past_keys": None}, "does not take loop/embeddings, loop/keys, loop/values once"),
            ({"past_keys": "loop/values"}, "once each"),
            ({"more": "loop/positions"}, "once each"),
            ({"gate": "2/gate"}, "stage 2 of the explainer of task 'red' takes 'gate' from"),
            ({"experts": "tensor/expert"}, "needs the tensor 'expert'"),
            ({"mask": "1/gate"}, "the input 'mask' is missing"),
            ({"gate": None}, "the input 'gate' is not one that the manifest binds"),
        ],
    )
    def test_a_decoder_bound_otherwise(self, refused, changes, words):
        refused(bound(changes), CadEdgeError, words)

    def test_a_decoder_of_a_foreign_domain(self, refused, workshop):
        def change(found: Explainer) -> Explainer:
            data = workshop.store.read_object(found.decoder.graph)["graph.onnx"]
            data += field(7, field(1, node("Evil", domain="com.evil")))
            sha = workshop.store.add_object({"graph.onnx": data})
            decoder = Stage(graph=sha, inputs=found.decoder.inputs)
            return found.model_copy(update={"decoder": decoder})

        refused(change, GraphError, r"com\.evil")

    def test_numbers_that_are_none(self, refused, workshop):
        table = weights()["embedding"] * np.float32(np.nan)
        sha = workshop.store.add_object({"tensors.safetensors": save({"embedding": table})})
        refused(changed("embedding", sha), GraphError, "answers with what is no number")


def flip(path) -> bytes:
    """Change a byte near the end; return what was there."""
    sound = path.read_bytes()
    path.write_bytes(sound[:-9] + bytes([sound[-9] ^ 1]) + sound[-8:])
    return sound


def test_a_flipped_byte_of_anything_is_found_on_opening(bundle, workshop):
    made = give_words(workshop, "red")
    for sha in sorted(made.objects()):
        (path,) = (bundle / "objects" / sha).iterdir()
        sound = flip(path)
        with pytest.raises(IntegrityError, match=path.name):
            Detector.open(bundle, watch=False)
        path.write_bytes(sound)
    Detector.open(bundle, watch=False).close()


@needs_tokenizers
def test_a_byte_that_flips_after_opening_is_found_on_asking(bundle, workshop, image):
    made = give_words(workshop, "red")
    with Detector.open(bundle, threads=1, watch=False) as detector:
        for sha in (made.tokenizer, made.embedding, made.engine.joint[0], made.decoder.graph):
            (path,) = (bundle / "objects" / sha).iterdir()
            sound = flip(path)
            with pytest.raises(IntegrityError, match=path.name):
                detector.explain(image)
            path.write_bytes(sound)
        assert detector.explain(image, max_tokens=1).question == TEXTS.question
