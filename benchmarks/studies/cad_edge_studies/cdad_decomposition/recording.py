"""One way of decomposition, measured in this process.

    python -m cad_edge_studies.cdad_decomposition.recording BASES BLOCKS IMAGES THREADS

Prints one line of JSON.
"""

import json
import sys
import time
from pathlib import Path

import torch

from cad_edge_benchmarks.instruments.memory import memory_of, peak_rss
from cad_edge_studies.cdad_start.__main__ import SIDE, drawn
from cad_edge_training.backbones import DEFAULT_BACKBONE, load_backbone
from cad_edge_training.methods.cdad.bases import LayerBases
from cad_edge_training.methods.cdad.config import Config, defaults_for
from cad_edge_training.methods.cdad.forms import form_of
from cad_edge_training.methods.cdad.incremental_svd import IncrementalSVDs
from cad_edge_training.methods.cdad.inputs import basis_widths, recorded_inputs
from cad_edge_training.methods.cdad.network import sampling_of
from cad_edge_training.methods.cdad.second_moments import SecondMoments


def main(bases: str, blocks: int, images: int, threads: int) -> None:
    """Record inputs of ``images`` drawn ones, and find directions of them in ``blocks``."""
    torch.set_num_threads(threads)
    config = Config.model_validate(defaults_for(DEFAULT_BACKBONE))
    form = form_of(load_backbone(DEFAULT_BACKBONE, SIDE), config)
    shown = torch.from_numpy(drawn(images, 0))
    with torch.no_grad():
        looked = form.look(shown)
        start = form.start(None, looked, 0)
        parts, sampling = start.space.parts(looked), sampling_of(config)
        network = start.network.eval()
        layers, shared = network.projected(), network.basis_of()
        network(parts.at(slice(0, 1)), start.noise, sampling)
        Path("/proc/self/clear_refs").write_text("5")  # what loading took counts for no peak
        before, began = memory_of().rss, time.perf_counter()
        gammas = dict.fromkeys(basis_widths(layers, shared), config.energy)
        found = SecondMoments() if bases == "gram" else None
        svds = IncrementalSVDs(gammas, LayerBases({}), paper=bases == "paper_isvd")
        with recorded_inputs(layers, found or svds, shared):
            for number in range(images):
                network(parts.at(slice(number, number + 1)), start.noise, sampling)
                if found is None and (number + 1) % (images // blocks) == 0:
                    svds.end_block()
        result = LayerBases({}).grown(found.by_basis, gammas) if found else svds.bases()
        seconds = time.perf_counter() - began
    record = {"seconds": seconds, "bytes": peak_rss() - before, "share": result.share().overall}
    print(json.dumps(record))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:5]))
