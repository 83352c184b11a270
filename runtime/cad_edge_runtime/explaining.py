"""Explaining: what a task answers in words with, opened when it is first asked.

A detection opens nothing of this. What is open is kept with the version, and the next version takes
over what it names too.
"""

import threading
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from cad_edge.errors import BundleError, GraphError
from cad_edge.store.bundle import Bundle
from cad_edge.store.manifest import Texts
from cad_edge_runtime.chain import Chain, Values, join_stage
from cad_edge_runtime.decoding import OUTPUTS, DecoderGraph
from cad_edge_runtime.explainer_check import check_explainer
from cad_edge_runtime.opening import Opening, OpenParts
from cad_edge_runtime.preparation import Preparation
from cad_edge_runtime.session import SessionFactory
from cad_edge_runtime.tensor_file import TENSORS
from cad_edge_runtime.tokens import TOKENIZER, Embedding, Vocabulary

_T = TypeVar("_T")


@dataclass(frozen=True)
class Phrases:
    """Tokens of the texts around a question and its answer."""

    before_image: list[int]
    after_image: list[int]
    after_question: list[int]
    between_turns: list[int]


@dataclass(frozen=True)
class OpenExplainer:
    """An explainer that frames can be given to."""

    task: str
    chain: Chain
    tokens: str
    """Name of the value that the decoder reads in place of the frame."""

    decoder: DecoderGraph
    embedding: Embedding
    vocabulary: Vocabulary
    phrases: Phrases
    question: str
    stop: frozenset[int]

    def image_rows(self, values: Values) -> NDArray[np.float32]:
        """(n, width) float32: what the decoder reads in place of the frame, view after view.

        Raises
        ------
        GraphError
            The chain gives something else, or in another width than the embedding's.
        """
        found = values[self.tokens]
        width = self.embedding.width
        if (
            found.dtype != np.float32
            or found.ndim != 3
            or found.shape[::2] != (self.chain.views, width)
        ):
            raise GraphError(
                f"the explainer of task {self.task!r} sees {found.dtype} of shape {found.shape} "
                f"where its embedding is {width} wide; export the bundle again"
            )
        rows: NDArray[np.float32] = found.reshape(-1, width)
        return rows


class Explainers:
    """The explainers of one version; safe from several threads."""

    def __init__(
        self,
        bundle: Bundle,
        factory: SessionFactory,
        prepared: Preparation,
        held: OpenParts,
        before: "Explainers | None",
    ) -> None:
        self._bundle = bundle
        self._factory = factory
        self._preparation = prepared
        manifest = prepared.manifest
        self._records = {name: entry.explainer for name, entry in manifest.tasks.items()}
        self._lock = threading.Lock()
        self._opened: dict[str, OpenExplainer] = {}
        self._vocabularies: dict[str, Vocabulary] = {}
        self._embeddings: dict[str, Embedding] = {}
        self._held = held
        if before is not None:
            self._take_over(before, manifest.objects())

    @property
    def held(self) -> OpenParts:
        """Everything of this version that is open, for detection and for words."""
        return self._held

    def _take_over(self, before: "Explainers", objects: set[str]) -> None:
        # Without a lock, since a new version must not wait while words of the old one are opened:
        # what is read here is replaced there, never changed.
        self._held = self._held.beside(before._held.of(objects))
        self._vocabularies = _those(before._vocabularies, objects)
        self._embeddings = _those(before._embeddings, objects)

    def get(self, task: str) -> OpenExplainer:
        """Explainer of a task of this version, opened by the first call.

        Raises
        ------
        BundleError
            The task has none, or what the manifest says of it does not fit together.
        IntegrityError, GraphError, DeviceError
            Something of it cannot be used, or the package `tokenizers` is missing.
        """
        found = self._opened.get(task)
        if found is None:
            with self._lock:
                found = self._opened.get(task) or self._open(task)
                self._opened[task] = found
        return found

    def _open(self, task: str) -> OpenExplainer:
        record = self._records[task]
        if record is None:
            raise BundleError(
                f"task {task!r} does not answer in words; learn it with a method that asks a "
                "language model, and export it without --no-explanations"
            )
        owner = f"the explainer of task {task!r}"
        inventory = self._factory.inventory
        inventory.begin()
        plan = check_explainer(record, self._preparation, inventory, owner)
        vocabulary = self._vocabulary(record.tokenizer)
        embedding = self._embedding(record.embedding)
        opening = Opening(self._bundle, self._factory, self._held)
        chain = opening.chain(plan.looking, plan.wanted, plan.wanted, owner)
        inputs = (*plan.decoder.inputs, *(name for name, _ in plan.loop))
        session = opening.session(replace(plan.decoder, inputs=inputs), OUTPUTS)
        tensors = opening.tensors(record.engine)
        self._held = opening.held().beside(self._held)
        return OpenExplainer(
            task=task,
            chain=chain,
            tokens=plan.tokens,
            decoder=DecoderGraph(
                step=join_stage(plan.decoder, session, OUTPUTS, tensors, owner),
                loop=plan.loop,
                cache=(record.layers, record.kv_heads, record.head_width),
                positions=record.positions,
            ),
            embedding=embedding,
            vocabulary=vocabulary,
            phrases=_phrases(record.texts, vocabulary),
            question=record.texts.question,
            stop=frozenset(record.texts.stop),
        )

    def _vocabulary(self, sha: str) -> Vocabulary:
        if sha not in self._vocabularies:
            data = self._bundle.read_object(sha).get(TOKENIZER)
            if data is None:
                raise BundleError(f"object {sha} holds no {TOKENIZER}; export the bundle again")
            made = Vocabulary(data, f"object {sha}")
            self._vocabularies = {**self._vocabularies, sha: made}
        return self._vocabularies[sha]

    def _embedding(self, sha: str) -> Embedding:
        if sha not in self._embeddings:
            made = Embedding(self._bundle.verify_object(sha) / TENSORS)
            self._embeddings = {**self._embeddings, sha: made}
        return self._embeddings[sha]


def _phrases(texts: Texts, vocabulary: Vocabulary) -> Phrases:
    return Phrases(
        before_image=vocabulary.encode(texts.before_image, special=True),
        after_image=vocabulary.encode(texts.after_image, special=True),
        after_question=vocabulary.encode(texts.after_question, special=True),
        between_turns=vocabulary.encode(texts.between_turns, special=True),
    )


def _those(held: dict[str, _T], objects: set[str]) -> dict[str, _T]:
    return {sha: value for sha, value in held.items() if sha in objects}
