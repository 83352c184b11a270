"""Signed bundles under attack: whoever can write the folder does, and no forgery is opened.

The bundle has three signed versions, of which the device has opened the last, and one more that was
signed and has expired. Each case is a copy of it, changed by one of `FORGERIES`, all drawn by the
seed. A case counts as accepted when a detector with the trusted key opens anything but the version
that the device has seen.
"""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cad_edge.errors import CadEdgeError
from cad_edge.schema import sha256_of
from cad_edge.store.bundle import Bundle
from cad_edge.store.objects import object_sha256
from cad_edge.store.seen_versions import STATE
from cad_edge.store.signature import PublicKey, Signer
from cad_edge_runtime import Detector
from tests.base.signing_keys import make_keys
from tests.house.refusals import run

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "bundle"
GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493  # of Ed25519


class Forger:
    """Changes one copy of the bundle; has the other key, and never the trusted one."""

    def __init__(self, bundle: Path, rng: np.random.Generator, pointers: list[dict]) -> None:
        self.bundle, self.rng, self.pointers = bundle, rng, pointers
        self.other = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))

    @property
    def pointer(self) -> dict:
        return json.loads((self.bundle / "bundle.json").read_text())

    def point(self, **update: object) -> None:
        changed = {**self.pointer, **update}
        kept = {name: value for name, value in changed.items() if value is not ...}
        (self.bundle / "bundle.json").write_text(json.dumps(kept))

    def manifest(self) -> dict:
        return json.loads(self.path(self.pointer["manifest"]).read_text())

    def path(self, manifest: str) -> Path:
        return self.bundle / "manifests" / f"{manifest}.json"

    def write_manifest(self, manifest: dict) -> str:
        data = json.dumps(manifest, sort_keys=True, indent=1).encode()
        self.path(sha256_of(data)).write_bytes(data)
        return sha256_of(data)

    def statement(self) -> tuple[dict, bytes]:
        place = self.bundle / "signatures" / self.pointer["signature"]
        said = json.loads((place / "statement.json").read_text())
        return said, (place / "statement.sig").read_bytes()

    def say(self, statement: dict | bytes, signature: bytes) -> str:
        """Store a statement under its right sha256."""
        data = statement if isinstance(statement, bytes) else json.dumps(statement).encode()
        files = {"statement.json": data, "statement.sig": signature}
        sha = object_sha256({name: sha256_of(part) for name, part in files.items()})
        place = self.bundle / "signatures" / sha
        place.mkdir(exist_ok=True)
        for name, part in files.items():
            (place / name).write_bytes(part)
        return sha

    def pick(self, values):
        return values[int(self.rng.integers(len(values)))]


def changed_field(forger: Forger) -> None:
    """Another value somewhere in the manifest, hashed again; the signature as it was or others."""
    manifest = forger.manifest()
    entry = manifest["tasks"][forger.pick(sorted(manifest["tasks"]))]
    forger.pick(
        [
            lambda: entry["decision"].update(threshold=float(forger.rng.uniform(10, 1e9))),
            lambda: entry["decision"].update(minimum_area=int(forger.rng.integers(1, 10**6))),
            lambda: entry.update(radius=float(forger.rng.uniform(1e-6, 1e-3))),
            lambda: entry["calibration"].update(scores=list(forger.rng.uniform(0, 9, 40))),
            lambda: entry["certificate"].update(flips=int(forger.rng.integers(1, 99))),
            lambda: manifest["tasks"].pop(forger.pick(sorted(manifest["tasks"]))),
            lambda: manifest["selector"]["tasks"].reverse(),
            lambda: manifest.update(version=manifest["version"] + int(forger.rng.integers(1, 9))),
            lambda: manifest.update(previous=None),
            lambda: entry["engine"]["recipe"].update(width=int(forger.rng.integers(8, 31))),
        ]
    )()
    forger.point(
        manifest=forger.write_manifest(manifest),
        version=manifest["version"],
        signature=forger.pick([forger.pointer["signature"], ..., forger.pointers[0]["signature"]]),
    )


def changed_object(forger: Forger) -> None:
    """A flipped bit in a graph or tensor, under the old name, or with everything hashed again."""
    names = sorted(path.name for path in (forger.bundle / "objects").iterdir())
    manifest = forger.path(forger.pointer["manifest"]).read_text()
    name = forger.pick([name for name in names if name in manifest])
    place = forger.bundle / "objects" / name
    file = forger.pick(sorted(place.iterdir()))
    data = bytearray(file.read_bytes())
    data[int(forger.rng.integers(len(data)))] ^= 1 << int(forger.rng.integers(8))
    file.write_bytes(data)
    if forger.rng.random() < 0.5:
        sha = object_sha256({one.name: sha256_of(one.read_bytes()) for one in place.iterdir()})
        place.rename(place.with_name(sha))
        forger.point(manifest=forger.write_manifest(json.loads(manifest.replace(name, sha))))


def changed_pointer(forger: Forger) -> None:
    """Parts of the pointers of different versions, mixed, or other numbers."""
    while True:
        parts = [forger.pick(forger.pointers) for _ in range(3)]
        mixed = {
            "manifest": parts[0]["manifest"],
            "version": forger.pick([parts[1]["version"], int(forger.rng.integers(1, 99))]),
            "signature": forger.pick([parts[2]["signature"], "0" * 64, ...]),
        }
        if {**forger.pointers[-1], **mixed} != forger.pointers[-1]:
            return forger.point(**mixed)


def replay(forger: Forger) -> None:
    """An older version, whole and rightly signed."""
    forger.point(**forger.pick(forger.pointers[:-1]))
    if forger.rng.random() < 0.5:
        shutil.rmtree(forger.bundle / "signatures" / forger.pointers[-1]["signature"])


def downgrade(forger: Forger) -> None:
    """No signature, where a reader might take that for a bundle of the time before."""
    forger.point(signature=forger.pick([..., None, "", "none"]))
    if forger.rng.random() < 0.5:
        shutil.rmtree(forger.bundle / "signatures")
    changed = forger.manifest()
    changed["tasks"]["red"]["decision"]["threshold"] = float(forger.rng.uniform(10, 1e9))
    forger.point(manifest=forger.write_manifest(changed))


def changed_statement(forger: Forger) -> None:
    """Later, longer or about something else, under the signature that it had."""
    said, signature = forger.statement()
    field, value = forger.pick(
        [
            ("expires", None if said["expires"] else "2099-01-01T00:00:00Z"),
            ("expires", "2098-12-31T00:00:00Z"),
            ("issued", f"20{forger.rng.integers(30, 99)}-01-01T00:00:00Z"),
            ("bundle", forger.rng.bytes(16).hex()),
            ("version", int(forger.rng.integers(4, 99))),
            ("manifest", forger.rng.bytes(32).hex()),
            ("key", forger.rng.bytes(32).hex()),
            ("purpose", "something else"),
            ("format", 2),
        ]
    )
    forger.point(signature=forger.say({**said, field: value}, signature))


def changed_signature(forger: Forger) -> None:
    """Bits, length, and the same number beyond the group's order."""
    said, signature = forger.statement()
    data = (
        forger.bundle / "signatures" / forger.pointer["signature"] / "statement.json"
    ).read_bytes()
    bit = int(forger.rng.integers(512))
    flipped = bytearray(signature)
    flipped[bit // 8] ^= 1 << bit % 8
    scalar = int.from_bytes(signature[32:], "little") + GROUP_ORDER
    forged = forger.pick(
        [
            bytes(flipped),
            forger.rng.bytes(64),
            bytes(64),
            b"",
            signature[: int(forger.rng.integers(64))],
            signature + b"\0",
            signature[:32] + scalar.to_bytes(32, "little"),
        ]
    )
    forger.point(signature=forger.say(data, forged))
    assert said


def another_key(forger: Forger) -> None:
    """A right signature by a key that nobody trusts, named as it is or as the trusted one."""
    said, _ = forger.statement()
    changed = forger.manifest()
    changed["tasks"]["red"]["decision"]["threshold"] = float(forger.rng.uniform(10, 1e9))
    manifest = forger.write_manifest(changed)
    own = PublicKey(forger.other.public_key().public_bytes_raw()).id
    said |= {"manifest": manifest, "key": forger.pick([own, said["key"]])}
    data = json.dumps(said).encode()
    forger.point(manifest=manifest, signature=forger.say(data, forger.other.sign(data)))


def expired(forger: Forger) -> None:
    """The version whose signature has expired, alone or with the date of another statement."""
    pointer = json.loads((forger.bundle.parent / "expired.json").read_text())
    forger.point(**pointer)
    if forger.rng.random() < 0.5:
        said, signature = forger.statement()
        days = int(forger.rng.integers(1, 28))
        said["expires"] = forger.pick([None, f"2099-01-{days:02}T00:00:00Z"])
        forger.point(signature=forger.say(said, signature))


FORGERIES: list[Callable[[Forger], None]] = [
    changed_field,
    changed_object,
    changed_pointer,
    replay,
    downgrade,
    changed_statement,
    changed_signature,
    another_key,
    expired,
]


@pytest.fixture
def line(tmp_path, monkeypatch) -> tuple[Path, Path, list[dict]]:
    """Bundle, public key, and the pointers of its versions."""
    monkeypatch.setenv(STATE, str(tmp_path / "state"))
    key, public = make_keys(tmp_path / "keys", "line")
    bundle = Path(shutil.copytree(GOLDEN, tmp_path / "line" / "bundle"))
    store = Bundle(bundle)
    store.sign(Signer(key))
    pointers = [json.loads((bundle / "bundle.json").read_text())]
    for rate in (0.2, 0.1):
        change = ["--task", "red", "--false-reject-rate", rate]
        assert run("threshold", bundle, *change, "--sign", key).exit_code == 0
        pointers.append(json.loads((bundle / "bundle.json").read_text()))
    _write_expired(bundle, Signer(key), pointers[-1])
    return bundle, public, pointers


def _write_expired(bundle: Path, signer: Signer, newest: dict) -> None:
    """Sign the newest version once more, by a statement that has expired already."""
    place = bundle / "signatures" / newest["signature"]
    said = json.loads((place / "statement.json").read_text()) | {"expires": "2020-01-01T00:00:00Z"}
    data = json.dumps(said).encode()
    name = Forger(bundle, np.random.default_rng(0), []).say(data, signer.sign(data))
    (bundle.parent / "expired.json").write_text(json.dumps({**newest, "signature": name}))


def test_no_forgery_is_opened(line, tmp_path, campaign, campaign_seed, record, frames_of_red):
    original, public, pointers = line
    rng = np.random.default_rng(campaign_seed)
    cases, accepted, words = Counter(), [], Counter()
    place = tmp_path / "device" / "bundle"
    shutil.copytree(original, place)
    with Detector.open(place, threads=1, watch=False, trusted_keys=[public]) as detector:
        assert detector.version == 3
        right = detector.detect(frames_of_red, "red").score
    shutil.copy(original.parent / "expired.json", place.parent)
    for number in range(campaign["forgeries"]):
        shutil.rmtree(place)
        shutil.copytree(original, place)
        forge = FORGERIES[number % len(FORGERIES)]
        forge(Forger(place, rng, pointers))
        cases[forge.__name__] += 1
        try:
            with Detector.open(place, threads=1, watch=False, trusted_keys=[public]) as detector:
                accepted.append((number, forge.__name__, detector.version))
        except CadEdgeError as problem:
            words[type(problem).__name__] += 1
    counted = {
        "seed": campaign_seed,
        "forgeries": sum(cases.values()),
        "by_kind": dict(cases),
        "accepted": accepted,
        "refused_by": dict(words),
    }
    record("forgeries", counted)
    assert accepted == []
    shutil.rmtree(place)
    shutil.copytree(original, place)
    with Detector.open(place, threads=1, watch=False, trusted_keys=[public]) as detector:
        assert detector.detect(frames_of_red, "red").score == right


@pytest.fixture
def frames_of_red() -> np.ndarray:
    from safetensors.numpy import load_file

    return load_file(GOLDEN.parent / "frames.safetensors")["red.bad"][0]
