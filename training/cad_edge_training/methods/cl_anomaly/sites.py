"""Where experts sit: the seven linears of every layer of a Qwen2 language model."""

from dataclasses import dataclass

from torch import nn

from cad_edge.errors import OptionError

PROJECTIONS = (
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
)


@dataclass(frozen=True)
class Site:
    """One linear that experts are added to."""

    name: str
    """Its name within the language model, for example ``layers.0.self_attn.q_proj``."""
    layer: int
    inputs: int
    outputs: int

    @property
    def parent(self) -> str:
        """Name of the module that holds it."""
        return self.name.rpartition(".")[0]

    @property
    def leaf(self) -> str:
        """Its name within that module."""
        return self.name.rpartition(".")[2]


def sites_of(language: nn.Module) -> tuple[Site, ...]:
    """List the sites of a language model, layer by layer and in the order of `PROJECTIONS`.

    Vision tower, projector and head are no sites (METHODS 1.1).

    Parameters
    ----------
    language
        transformers' ``Qwen2Model``; only shapes are read, so meta tensors will do.

    Raises
    ------
    OptionError
        It is not built like one.
    """
    try:
        layers = list(language.get_submodule("layers").children())
        found = [
            (f"layers.{number}.{name}", number, layer.get_submodule(name))
            for number, layer in enumerate(layers)
            for name in PROJECTIONS
        ]
    except AttributeError as problem:
        raise OptionError(
            f"experts need a language model of the Qwen2 family, and this one differs ({problem}); "
            "take another backbone"
        ) from None
    return tuple(Site(name, number, *_shape(linear)) for name, number, linear in found)


def layers_in(sites: tuple[Site, ...]) -> int:
    """Return the number of layers."""
    return 1 + max(site.layer for site in sites)


def _shape(linear: nn.Module) -> tuple[int, int]:
    assert isinstance(linear, nn.Linear)
    return linear.in_features, linear.out_features
