"""Write the golden language model beside this file; run by hand, needs `onnx` and `tokenizers`.

    python tests/golden/words/make_words.py

``eyes.onnx`` turns the features of the golden bundle's trunk into four tokens and a gate;
``decoder.onnx`` is a transformer of two layers with a cache, whose gate mixes two experts;
``weights.safetensors`` holds its numbers, from which a test computes the same without a cache.
The tokens are the 256 bytes, two merges and three special ones. Nothing of it is trained.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

LAYERS, HEADS, HEAD_WIDTH, WIDTH, POSITIONS, EXPERTS = 2, 2, 4, 8, 96, 2
SPECIAL = ("<|user|>", "<|answer|>", "<|end|>")
VOCABULARY = 256 + 2 + len(SPECIAL)
LETTERS, UMLAUTS = "abcdefghijklmnopqrstuvwxyz .", "äöü"  # of which most answers consist
FLOAT = TensorProto.FLOAT


def make_weights(rng: np.random.Generator, words: Tokenizer) -> dict[str, np.ndarray]:
    """Decoder, table of embeddings and experts; matrices are (in, out), float32."""
    sizes = {
        "embedding": (VOCABULARY, WIDTH),
        "place": (POSITIONS, WIDTH),
        "experts": (EXPERTS, WIDTH),
        "head": (WIDTH, VOCABULARY),
        "anchors": (WIDTH, EXPERTS),
    }
    for layer in range(LAYERS):
        sizes |= {f"{letter}{layer}": (WIDTH, WIDTH) for letter in "qkvo"}
    made = {name: rng.normal(0, 1, size).astype(np.float32) for name, size in sizes.items()}
    bias = np.full(VOCABULARY, -12, np.float32)
    bias[words.encode(LETTERS).ids] = 0
    bias[words.encode(UMLAUTS).ids] = 2
    return {**made, "bias": bias}


def serialise(nodes, inputs, outputs, constants) -> bytes:
    values = [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in inputs.items()]
    results = [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in outputs.items()]
    tensors = [numpy_helper.from_array(np.asarray(one), name) for name, one in constants.items()]
    body = helper.make_graph(nodes, "words", values, results, tensors)
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def eyes(weights: dict[str, np.ndarray]) -> bytes:
    """``features`` (batch, 8, 16, 16) to ``tokens`` (batch, 4, 8) and ``gate`` (batch, 2)."""
    node = helper.make_node
    nodes = [
        node("AveragePool", ["features"], ["cells"], kernel_shape=[8, 8], strides=[8, 8]),
        node("Reshape", ["cells", "columns"], ["flat"]),
        node("Transpose", ["flat"], ["tokens"], perm=[0, 2, 1]),
        node("ReduceMean", ["tokens", "first"], ["mean"], keepdims=0),
        node("MatMul", ["mean", "anchors"], ["likeness"]),
        node("Softmax", ["likeness"], ["gate"], axis=-1),
    ]
    columns = np.array([0, WIDTH, -1], np.int64)
    outputs = {"tokens": ["batch", 4, WIDTH], "gate": ["batch", EXPERTS]}
    inputs = {"features": ["batch", WIDTH, 16, 16]}
    constants = {"columns": columns, "first": np.array([1], np.int64)}
    constants["anchors"] = weights["anchors"]
    return serialise(nodes, inputs, outputs, constants)


def attention(layer: int) -> list:
    """Nodes of one layer: ``x<layer>`` to ``x<layer + 1>``, ``keys<layer>``, ``values<layer>``."""
    node, now = helper.make_node, str(layer)
    nodes = [node("Tanh", ["x" + now], ["t" + now])]
    for letter in "qkv":
        name = letter + now
        nodes += [
            node("MatMul", ["t" + now, name], [name + ".flat"]),
            node("Reshape", [name + ".flat", "heads"], [name + ".split"]),
            node("Transpose", [name + ".split"], [name + ".new"], perm=[0, 2, 1, 3]),
        ]
    for letter, cache in (("k", "keys"), ("v", "values")):
        nodes += [
            node("Gather", ["past_" + cache, "layer" + now], [cache + now + ".past"], axis=0),
            node("Concat", [cache + now + ".past", letter + now + ".new"], [cache + now], axis=2),
        ]
    return [
        *nodes,
        node("Transpose", ["keys" + now], ["turned" + now], perm=[0, 1, 3, 2]),
        node("MatMul", [f"q{now}.new", "turned" + now], ["raw" + now]),
        node("Mul", ["raw" + now, "scale"], ["scaled" + now]),
        node("Where", ["seen", "scaled" + now, "never"], ["masked" + now]),
        node("Softmax", ["masked" + now], ["share" + now], axis=-1),
        node("MatMul", ["share" + now, "values" + now], ["mixed" + now]),
        node("Transpose", ["mixed" + now], ["rows" + now], perm=[0, 2, 1, 3]),
        node("Reshape", ["rows" + now, "joined"], ["flat" + now]),
        node("MatMul", ["flat" + now, "o" + now], ["change" + now]),
        node("Add", ["x" + now, "change" + now], [f"x{layer + 1}"]),
    ]


def decoder(weights: dict[str, np.ndarray]) -> bytes:
    """New tokens and the cache to ``logits``, ``keys`` and ``values``; positions from the cache."""
    node = helper.make_node
    nodes = [
        node("Shape", ["past_keys"], ["before"], start=3, end=4),
        node("Shape", ["embeddings"], ["new"], start=1, end=2),
        node("Add", ["before", "new"], ["all"]),
        node("Squeeze", ["before"], ["from"]),
        node("Squeeze", ["all"], ["to"]),
        node("Range", ["from", "to", "one"], ["at"]),
        node("Range", ["zero", "to", "one"], ["every"]),
        node("Unsqueeze", ["at", "last"], ["row"]),
        node("LessOrEqual", ["every", "row"], ["seen"]),
        node("Gather", ["place", "at"], ["places"], axis=0),
        node("MatMul", ["gate", "experts"], ["expert"]),
        node("Add", ["places", "expert"], ["added"]),
        node("Add", ["embeddings", "added"], ["x0"]),
        *(one for layer in range(LAYERS) for one in attention(layer)),
        node("Gather", [f"x{LAYERS}", "minus"], ["end"], axis=1),
        node("Tanh", ["end"], ["level"]),
        node("MatMul", ["level", "head"], ["bare"]),
        node("Add", ["bare", "bias"], ["logits"]),
    ]
    for cache in ("keys", "values"):
        named = [f"{cache}{layer}" for layer in range(LAYERS)]
        nodes += [node("Unsqueeze", [name, "front"], [name + ".one"]) for name in named]
        nodes += [node("Concat", [name + ".one" for name in named], [cache], axis=0)]
    sizes = {"zero": 0, "one": 1, "minus": -1, "last": [1], "front": [0]}
    sizes |= {"heads": [1, -1, HEADS, HEAD_WIDTH], "joined": [1, -1, WIDTH]}
    sizes |= {f"layer{layer}": layer for layer in range(LAYERS)}
    constants = {name: np.array(value, np.int64) for name, value in sizes.items()}
    constants |= {"scale": np.float32(HEAD_WIDTH**-0.5), "never": np.float32(-1e9)}
    elsewhere = ("embedding", "experts", "anchors")
    constants |= {name: array for name, array in weights.items() if name not in elsewhere}
    cache = [LAYERS, 1, HEADS, "s", HEAD_WIDTH]
    inputs = {"embeddings": [1, "t", WIDTH], "past_keys": cache, "past_values": cache}
    inputs |= {"gate": [1, EXPERTS], "experts": [EXPERTS, WIDTH]}
    present = [LAYERS, 1, HEADS, "u", HEAD_WIDTH]
    outputs = {"logits": [1, VOCABULARY], "keys": present, "values": present}
    return serialise(nodes, inputs, outputs, constants)


def tokenizer() -> Tokenizer:
    """Bytes, two merges and three special tokens."""
    merges = [("t", "h"), ("Ġ", "th")]
    names = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *("".join(pair) for pair in merges)]
    model = models.BPE(vocab={name: place for place, name in enumerate(names)}, merges=merges)
    made = Tokenizer(model)
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(list(SPECIAL))
    return made


def main() -> None:
    here, words = Path(__file__).parent, tokenizer()
    weights = make_weights(np.random.default_rng(3), words)
    (here / "eyes.onnx").write_bytes(eyes(weights))
    (here / "decoder.onnx").write_bytes(decoder(weights))
    (here / "weights.safetensors").write_bytes(save(weights))
    (here / "tokenizer.json").write_text(words.to_str(pretty=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
