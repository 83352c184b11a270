"""How figures and defaults of the project came about; not in the wheel."""

import os
from pathlib import Path

# Workers of a study run in folders of their own and must find it from there.
_HERE = str(Path(__file__).resolve().parents[1])
_PLACES = os.environ.get("PYTHONPATH", "").split(os.pathsep)
if _HERE not in _PLACES:
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [_HERE, *_PLACES]))
