"""The golden language model, given to tasks of the golden bundle; and what it must answer.

`Dialogue` computes the answers from the model's numbers alone, in float64 and without a cache: the
whole dialogue anew for every token.
"""

import importlib.util
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save

from cad_edge.onnxruntime_installation import load_onnxruntime
from cad_edge.store.manifest import Engine, Explainer, Stage, Texts, WordsCertificate

WORDS = Path(__file__).resolve().parents[1] / "golden" / "words"
LAYERS, HEADS, HEAD_WIDTH, POSITIONS = 2, 2, 4, 96
USER, ANSWER, END = 258, 259, 260
TEXTS = Texts(
    before_image="<|user|>",
    after_image="\n",
    after_question="<|end|><|answer|>",
    between_turns="<|end|><|user|>",
    question="What is wrong?",
    stop=[END],
)

needs_tokenizers = pytest.mark.skipif(
    importlib.util.find_spec("tokenizers") is None,
    reason="tokenizers is not installed; pip install cad-edge[explain]",
)


def weights() -> dict[str, np.ndarray]:
    return load_file(WORDS / "weights.safetensors")


def explainer(workshop, name: str) -> Explainer:
    """Store the golden language model in a bundle, seeing with the trunk of task ``name``."""
    store, numbers = workshop.store, weights()

    def tensors(**arrays: np.ndarray) -> str:
        return store.add_object({"tensors.safetensors": save(arrays)})

    def graph(file: str) -> str:
        return store.add_object({"graph.onnx": (WORDS / file).read_bytes()})

    task = store.manifest().tasks[name].engine
    engine = Engine(
        recipe=task.recipe,
        stages=[task.stages[0], Stage(graph=graph("eyes.onnx"), inputs={"features": "0/features"})],
        tensors=None,
        joint=[tensors(experts=row[None].copy()) for row in numbers["experts"]],
        layout="shared",
        precision="fp32",
    )
    inputs = {
        "embeddings": "loop/embeddings",
        "past_keys": "loop/keys",
        "past_values": "loop/values",
        "gate": "1/gate",
        "experts": "tensor/experts",
    }
    return Explainer(
        engine=engine,
        tokens="1/tokens",
        decoder=Stage(graph=graph("decoder.onnx"), inputs=inputs),
        layers=LAYERS,
        kv_heads=HEADS,
        head_width=HEAD_WIDTH,
        positions=POSITIONS,
        embedding=tensors(embedding=numbers["embedding"]),
        tokenizer=store.add_object({"tokenizer.json": (WORDS / "tokenizer.json").read_bytes()}),
        texts=TEXTS,
        certificate=WordsCertificate(
            reference="Dialogue",
            runtime="onnxruntime",
            witness_images=1,
            tokens_each=1,
            tolerance=1e-4,
            logit_range=1.0,
            logit_max=0.0,
            other_tokens=0,
        ),
    )


def give_words(workshop, name: str, change=lambda found: found) -> Explainer:
    """Commit a version in which ``name`` answers with the golden model, changed by ``change``."""
    made = change(explainer(workshop, name))
    workshop.change_task(name, lambda entry: entry.model_copy(update={"explainer": made}))
    return made


def features(workshop, image: np.ndarray) -> np.ndarray:
    """(8, 16, 16): what the golden trunk gives for one frame."""
    session = load_onnxruntime().InferenceSession(
        workshop.graph("red", 0), providers=["CPUExecutionProvider"]
    )
    return session.run(["features"], {"image": image[None]})[0][0]


def ids(text: str) -> list[int]:
    """Tokens of a text by the package itself."""
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(WORDS / "tokenizer.json")).encode(text).ids


@dataclass
class Dialogue:
    """A dialogue about one frame, answered without a cache."""

    seen: np.ndarray
    numbers: dict[str, np.ndarray] = field(default_factory=weights)

    def __post_init__(self) -> None:
        cells = self.seen.astype(np.float64).reshape(8, 2, 8, 2, 8).mean(axis=(2, 4))
        self.rows = [self.numbers["embedding"][USER], *cells.reshape(8, 4).T]
        likeness = np.exp(cells.mean(axis=(1, 2)) @ self.numbers["anchors"])
        self.expert = likeness / likeness.sum() @ self.numbers["experts"]
        self.read("\n")

    def read(self, text: str) -> None:
        self.rows += [self.numbers["embedding"][token] for token in ids(text)]

    def answer(self, question: str, count: int) -> list[int]:
        """Ask, and return the tokens of the answer; the next question may follow."""
        self.read(question + TEXTS.after_question)
        said: list[int] = []
        while len(said) < count and (token := self.next()) != END:
            said.append(token)
            self.rows.append(self.numbers["embedding"][token])
        self.read(TEXTS.between_turns)
        return said

    def next(self) -> int:
        numbers = self.numbers
        x = np.array(self.rows, np.float64) + numbers["place"][: len(self.rows)] + self.expert
        never = np.triu(np.full((len(x), len(x)), -np.inf), 1)
        for layer in range(LAYERS):
            q, k, v = (self._heads(np.tanh(x) @ numbers[f"{one}{layer}"]) for one in "qkv")
            share = np.exp(q @ k.transpose(0, 2, 1) / HEAD_WIDTH**0.5 + never)
            mixed = share / share.sum(axis=-1, keepdims=True) @ v
            x = x + mixed.transpose(1, 0, 2).reshape(x.shape) @ numbers[f"o{layer}"]
        return int((np.tanh(x[-1]) @ numbers["head"] + numbers["bias"]).argmax())

    @staticmethod
    def _heads(flat: np.ndarray) -> np.ndarray:
        return flat.reshape(len(flat), HEADS, HEAD_WIDTH).transpose(1, 0, 2)
