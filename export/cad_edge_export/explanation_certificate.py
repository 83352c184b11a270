"""The certificate of words: the decoder's graph says, token for token, what torch says."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from cad_edge.errors import CertificateError
from cad_edge.store.artifact import LearnedTask
from cad_edge.store.manifest import WordsCertificate
from cad_edge_export.certificate import REFERENCE, TOLERANCE, run_stages, runtime_name
from cad_edge_export.fused_task import ModulePrecision
from cad_edge_export.graph_files import Graph, open_graph
from cad_edge_export.language.explainer import ExplainerSource

TOKENS = 6  # of every answer: the first word, and what the cache makes of those after it

Array = np.ndarray[Any, np.dtype[Any]]


def certify_explanation(
    task: LearnedTask,
    made: ExplainerSource,
    graphs: Sequence[Graph],
    decoder: Graph,
    precision: ModulePrecision,
) -> WordsCertificate:
    """Ask torch and the graphs the task's question about the witness images.

    Parameters
    ----------
    task
        The artifact.
    made
        What it answers in words with, and how torch answers.
    graphs, decoder
        One for each stage that looks at the frame, and that of the loop.

    Raises
    ------
    CertificateError
        A logit differs by more than the tolerance or, in float32, a token.
    """
    images = task.witness["image"]
    said = made.reference(images, TOKENS)
    tokens, expected = said.tokens.numpy(), said.logits.numpy()
    got = _logits(made, graphs, decoder, images, tokens)
    span = max(float(np.ptp(expected)), 1e-6)
    found = WordsCertificate(
        reference=REFERENCE,
        runtime=runtime_name(),
        witness_images=len(images),
        tokens_each=TOKENS,
        tolerance=TOLERANCE[precision],
        logit_range=span,
        logit_max=float(np.abs(got - expected).max()) / span,
        other_tokens=int((got.argmax(axis=2) != tokens).sum()),
    )
    _judge(found, precision, task.artifact.task)
    return found


def _judge(found: WordsCertificate, precision: ModulePrecision, task: str) -> None:
    count = found.witness_images * found.tokens_each
    # In halves a word may turn where torch itself is undecided; the tolerance bounds by how much.
    allowed = 0 if precision == "fp32" else count
    if found.logit_max <= found.tolerance and found.other_tokens <= allowed:
        return
    raise CertificateError(
        f"task {task}: the exported words are not those of torch (logits differ by "
        f"{found.logit_max:.2g} of their range, tolerance {found.tolerance:g}; "
        f"{found.other_tokens} of {count} tokens are others); nothing was written, export without "
        "words by --no-explanations"
    )


def _logits(
    made: ExplainerSource, graphs: Sequence[Graph], decoder: Graph, images: Array, tokens: Array
) -> Array:
    """(n, count, vocabulary) float32 of the graph, given torch's tokens (n, count) one by one."""
    values = run_stages(made.engine, graphs, images)
    session = open_graph(decoder)
    table = made.embedding["embedding"].astype(np.float32)
    before, after = (table[ids] for ids in _prompt(made))
    seen = values[made.tokens].reshape(len(tokens), -1, table.shape[1])
    found = []
    for number, said in enumerate(tokens):
        rows = np.concatenate([before, seen[number], after])
        empty = np.zeros((made.layers, 1, made.kv_heads, 0, made.head_width), np.float32)
        looped = {"loop/keys": empty, "loop/values": empty}
        own = _of_frame(values, number, made.engine.views)
        for token in said:
            given = {**own, **looped, "loop/embeddings": rows[None]}
            feeds = {item.name: given[item.source] for item in made.decoder.inputs}
            logits, keys, cached = session.run(list(made.decoder.outputs), feeds)
            looped = {"loop/keys": keys, "loop/values": cached}
            found.append(logits[0])
            rows = table[[token]]
    return np.stack(found).reshape(*tokens.shape, -1)


def _of_frame(values: dict[str, Array], number: int, views: int) -> dict[str, Array]:
    """Return what belongs to one frame: bound tensors whole, of all else the rows of its views."""
    rows = slice(number * views, (number + 1) * views)
    return {
        name: value if name.startswith("tensor/") else value[rows] for name, value in values.items()
    }


def _prompt(made: ExplainerSource) -> tuple[list[int], list[int]]:
    """Tokens before and after the image, made as the device makes them: each text on its own."""
    tokenizer: Any = Tokenizer.from_str(made.tokenizer.decode())
    texts = made.texts

    def ids(text: str, special: bool) -> list[int]:
        tokenizer.encode_special_tokens = not special
        found: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
        return found

    after = [*ids(texts.after_image, True), *ids(texts.question, False)]
    return ids(texts.before_image, True), [*after, *ids(texts.after_question, True)]
