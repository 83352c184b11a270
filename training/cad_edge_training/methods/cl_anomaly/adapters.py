"""A task's own expert as a standard LoRA adapter of PEFT, to start from or to give away.

A folder of two files, ``adapter_config.json`` and ``adapter_model.safetensors``. PEFT adds
``lora_alpha / r`` times B A x to a linear, which is s B A x: what a private expert adds where its
weight lambda mu is 1, that is with the shared path off.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from cad_edge.errors import OptionError
from cad_edge.store.artifact import Tensors
from cad_edge_training.backbones.llava import LlavaBase
from cad_edge_training.methods.cl_anomaly.sites import PROJECTIONS, Site, sites_of

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
LEAVES = [name.rpartition(".")[2] for name in PROJECTIONS]
# A pattern and not a list of names: the vision tower has linears of the same names.
TARGETS = rf".*language_model.*\.(?:{'|'.join(LEAVES)})"
PREFIX = "base_model.model.model.language_model."
_KEY = re.compile(r"base_model\.model\..*language_model\.(?:model\.)?(.+)\.(lora_[AB])\.weight")
_PLAIN = {
    "use_rslora": False,
    "use_dora": False,
    "bias": "none",
    "rank_pattern": {},
    "alpha_pattern": {},
    "modules_to_save": None,
    "fan_in_fan_out": False,
}
"""Settings of PEFT that an expert has no counterpart of, and the value that means without."""


def save_adapter(folder: Path, tensors: Tensors, base_id: str, scale: float) -> Path:
    """Write a task's own expert.

    Parameters
    ----------
    folder
        Made if it is not there.
    tensors
        ``private/<site>.lora_A`` (rank, inputs) and ``.lora_B`` (outputs, rank) float32 of a task;
        others are left out.
    base_id
        Identity of the base model, ``llava:`` and its id.
    scale
        s of the method.

    Raises
    ------
    OptionError
        The task has no expert of its own, or the folder cannot be written.
    """
    experts = {
        name.removeprefix("private/"): value
        for name, value in tensors.items()
        if name.startswith("private/")
    }
    if not experts:
        raise OptionError("this task has no expert of its own; learn it with private_path=true")
    settings = _settings(min(next(iter(experts.values())).shape), base_id, scale)
    weights = {f"{PREFIX}{name}.weight": np.ascontiguousarray(experts[name]) for name in experts}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG).write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")
        (folder / WEIGHTS).write_bytes(save_tensors(weights, {"format": "pt"}))
    except OSError as problem:
        raise OptionError(f"{folder} could not be written: {problem.strerror}") from None
    return folder


def load_adapter(folder: Path, base: LlavaBase, rank: int, scale: float) -> Tensors:
    """Read an adapter as a private expert.

    Parameters
    ----------
    folder
        As PEFT or `save_adapter` wrote it.
    base
        The base model it has to fit.
    rank, scale
        r and s of the method.

    Returns
    -------
    dict
        ``private/<site>.lora_A`` (rank, inputs) and ``.lora_B`` (outputs, rank) float32.

    Raises
    ------
    OptionError
        It cannot be read, is no plain LoRA, or is of another base model, rank, scale or sites.
    """
    settings, weights = _read(folder)
    _check_settings(folder, settings, base.identity.id, rank, scale)
    found: Tensors = {}
    for key, value in weights.items():
        if (match := _KEY.fullmatch(key)) is None:
            raise OptionError(
                f"{folder} adapts {key}, where no expert sits; make one for the linears of the "
                "language model alone"
            )
        found[f"private/{match[1]}.{match[2]}"] = value.astype(np.float32)
    _check_shapes(folder, found, sites_of(base.language), rank)
    return found


def _settings(rank: int, base_id: str, scale: float) -> dict[str, Any]:
    alpha = rank * scale
    return _PLAIN | {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": base_id.removeprefix("llava:"),
        "r": rank,
        # A whole number as one, as PEFT writes it.
        "lora_alpha": int(alpha) if alpha == int(alpha) else alpha,
        "lora_dropout": 0.0,
        "target_modules": TARGETS,
        "inference_mode": True,
    }


def _read(folder: Path) -> tuple[Mapping[str, Any], Tensors]:
    try:
        settings = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        weights: Tensors = load_tensors((folder / WEIGHTS).read_bytes())
    except OSError as problem:
        raise OptionError(
            f"{folder} is no adapter ({problem.strerror}: {Path(str(problem.filename)).name}); "
            f"give a folder with {CONFIG} and {WEIGHTS}"
        ) from None
    except (ValueError, SafetensorError) as problem:
        raise OptionError(f"{folder} is damaged ({problem}); make the adapter again") from None
    if not isinstance(settings, dict):
        raise OptionError(f"{folder / CONFIG} is no JSON object; make the adapter again")
    return settings, weights


def _check_settings(
    folder: Path, settings: Mapping[str, Any], base_id: str, rank: int, scale: float
) -> None:
    if settings.get("peft_type") != "LORA":
        raise OptionError(f"{folder} is no LoRA adapter; give one of peft_type LORA")
    for name, plain in _PLAIN.items():
        # PEFT writes null, false or an empty mapping for a setting that is off.
        if settings.get(name, plain) != plain and settings[name]:
            raise OptionError(
                f"{folder} has {name}={settings[name]}, which an expert cannot express; make the "
                "adapter without it"
            )
    # A hub id and the folder that its files were copied to share their last part.
    named = str(settings.get("base_model_name_or_path"))
    if Path(named).name != Path(base_id.removeprefix("llava:")).name:
        raise OptionError(
            f"{folder} was made for the base model {named}, not for {base_id}; give one of this "
            "base model"
        )
    if settings.get("r") != rank:
        raise OptionError(f"{folder} has rank {settings.get('r')}, not {rank}; set rank to it")
    if settings.get("lora_alpha") != rank * scale:
        raise OptionError(
            f"{folder} has lora_alpha {settings.get('lora_alpha')}, not {rank * scale:g}, which is "
            "rank times scale; set scale to fit"
        )


def _check_shapes(folder: Path, found: Tensors, sites: tuple[Site, ...], rank: int) -> None:
    expected: dict[str, tuple[int, ...]] = {}
    for site in sites:
        expected[f"private/{site.name}.lora_A"] = (rank, site.inputs)
        expected[f"private/{site.name}.lora_B"] = (site.outputs, rank)
    for name, shape in expected.items():
        if name not in found:
            raise OptionError(
                f"{folder} lacks {name.removeprefix('private/')}; make one for all of "
                f"{', '.join(LEAVES)} in every layer"
            )
        if found[name].shape != shape:
            raise OptionError(
                f"{folder} has {name.removeprefix('private/')} of shape {found[name].shape}, not "
                f"{shape}; give an adapter of this base model"
            )
    if extra := sorted(found.keys() - expected.keys()):
        raise OptionError(
            f"{folder} adapts {extra[0].removeprefix('private/')}, where no expert sits; give an "
            "adapter of this base model"
        )
