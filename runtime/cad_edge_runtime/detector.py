"""The detector: an opened bundle that says what is wrong with a frame."""

import threading
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import NoReturn

from cad_edge.data.image_limits import MAXIMUM_PIXELS, require_max_pixels
from cad_edge.errors import BundleError, CadEdgeError, DeviceError, ImageError
from cad_edge.store.bundle import Bundle
from cad_edge.store.manifest import Manifest, Pointer
from cad_edge_runtime.arguments import brief, require_folder, require_name, require_switch
from cad_edge_runtime.conversation import Conversation, begin_conversation
from cad_edge_runtime.detection import Detection
from cad_edge_runtime.explanation import MOST_TOKENS, Explanation, require_length
from cad_edge_runtime.forked import never_delete, opened_elsewhere, tell_in_child
from cad_edge_runtime.frames import Depth, Sample, frames_of_batch, read_frame
from cad_edge_runtime.inspection import inspect_frames, require_task
from cad_edge_runtime.session import SessionFactory
from cad_edge_runtime.snapshot import Snapshot, open_snapshot
from cad_edge_runtime.watch import Signature, Watcher, signature_of

_LARGEST_BATCH = 16  # frames through a graph at once; more only takes more memory


class Detector:
    """Recognises the product in a frame and finds its defects; safe from several threads.

    A new version of the bundle is picked up while frames are in work: each frame is answered by the
    version that was open when it came in.

    Examples
    --------
    >>> from cad_edge_runtime import Detector
    >>> detector = Detector.open("bundle", device="cpu")
    >>> detector.tasks(), detector.version, detector.device
    (('bracket',), 1, 'cpu')
    >>> found = detector.detect("photo.png")
    >>> found.verdict, found.task
    ('normal', 'bracket')
    >>> detector.close()
    """

    def __init__(
        self,
        bundle: Path,
        device: str,
        threads: int | None,
        watch: bool,
        trusted_keys: Sequence[Path | str] | None,
        max_pixels: int,
    ) -> None:
        self._max_pixels = require_max_pixels(max_pixels)
        self._bundle = Bundle(bundle, trusted_keys)
        self._pointer_path = bundle / "bundle.json"
        # Taken before the pointer is read: a change in between is then seen by the watcher.
        signature = signature_of(self._pointer_path)
        pointer = self._bundle.pointer()
        self._factory = SessionFactory(device, threads, self._bundle)
        self._refreshing = threading.Lock()
        self._last_refresh_error: CadEdgeError | None = None
        self._gone: CadEdgeError | None = None
        self._snapshot: Snapshot | None = self._open_version(pointer, None)
        self._watcher = self._watch(signature) if watch else None
        tell_in_child(self)

    @classmethod
    def open(
        cls,
        bundle: Path | str,
        device: str = "auto",
        threads: int | None = None,
        watch: bool = True,
        trusted_keys: Sequence[Path | str] | None = None,
        max_pixels: int = MAXIMUM_PIXELS,
    ) -> "Detector":
        """Open a bundle.

        Parameters
        ----------
        bundle
            Folder that `cad-edge export` wrote.
        device
            ``auto``, ``cpu``, ``cuda``, ``tensorrt``, or a GPU by number as in ``cuda:1``. Anything
            but ``auto`` is an error if a graph does not run on it.
        threads
            Threads of each graph; without it as many as the process may use cores, by affinity and
            by the quota of its container.
        watch
            Whether new versions are picked up on their own, otherwise by `refresh`.
        trusted_keys
            Public keys, as PEM files or folders of them: only versions that one of them has signed
            are opened, and none that is older than the newest one this device has opened. None:
            those that CAD_EDGE_TRUSTED_KEYS names; without it signatures are not looked at.
        max_pixels
            How many pixels an image may have; a larger one is refused before it is decoded.

        Raises
        ------
        BundleError, GraphError
            The bundle is missing, damaged, or holds something that the runtime refuses.
        TrustError
            The version in force is unsigned, wrongly signed, expired or older than one seen before.
        DeviceError
            The device is not to be had, there is not enough memory, or onnxruntime is missing or
            installed twice.
        OptionError
            ``threads``, ``watch``, ``trusted_keys`` or ``max_pixels`` is not what it can be.

        Examples
        --------
        >>> with Detector.open("bundle", threads=1, watch=False) as detector:
        ...     print(detector.views)
        1
        """
        folder, watched = require_folder(bundle), require_switch("watch", watch)
        return cls(folder, device, threads, watched, trusted_keys, max_pixels)

    def detect(
        self, image: Sample, task: str | None = None, depth: Depth | None = None
    ) -> Detection:
        """Inspect one frame.

        Parameters
        ----------
        image
            (h, w), (h, w, 1), (h, w, 3) RGB or (h, w, 4) RGBA; uint8, uint16, or float in [0, 1];
            or the path of an image file. A sequence of `views` such, where the bundle looks at
            several views of a part.
        task
            The product, where it is known; skips the selection.
        depth
            (h, w) float32 in the units of training with 0 for no measurement, or the path of a file
            that `cad_edge.data.depth_files` reads, for tasks that inspect depth. Without it the
            bundle answers by the image alone where it can.

        Raises
        ------
        ImageError
            The image or the depth cannot be used, depth is missing and the bundle cannot do
            without, it lies elsewhere than that of training, or there are more or fewer views.
        UnknownTask
            The bundle does not hold ``task``, or holds no task at all.
        BundleError
            The detector is closed, or was opened by another process that this one is a fork of.

        Examples
        --------
        >>> with Detector.open("bundle") as detector:
        ...     found = detector.detect("photo.png", task="bracket")
        >>> found.score <= found.threshold, found.defects
        (True, ())
        """
        began = perf_counter()
        snapshot = self._opened()
        require_name(task)
        frame = read_frame(image, depth, snapshot.views, self._max_pixels)
        return inspect_frames(snapshot, [frame], task, began)[0]

    def detect_batch(
        self,
        images: Sequence[Sample],
        task: str | None = None,
        depths: Sequence[Depth | None] | None = None,
    ) -> list[Detection]:
        """Inspect several frames, those of one product together; all by one version.

        Parameters and errors are those of `detect`; sizes may differ. The message of an ImageError
        begins with the number of the image. Returns one detection per image, in their order.

        Examples
        --------
        >>> with Detector.open("bundle") as detector:
        ...     [found.verdict for found in detector.detect_batch(["photo.png", "photo.png"])]
        ['normal', 'normal']
        """
        snapshot = self._opened()
        require_name(task)
        require_task(snapshot, task)
        images, planes = frames_of_batch(images, depths)
        found: list[Detection] = []
        for first in range(0, len(images), _LARGEST_BATCH):
            began = perf_counter()
            frames = []
            for number in range(first, min(first + _LARGEST_BATCH, len(images))):
                try:
                    frames.append(
                        read_frame(images[number], planes[number], snapshot.views, self._max_pixels)
                    )
                except ImageError as problem:
                    raise ImageError(f"image {number}: {problem}") from None
            found.extend(inspect_frames(snapshot, frames, task, began, first))
        return found

    def explain(
        self,
        image: Sample,
        question: str | None = None,
        max_tokens: int = MOST_TOKENS,
        task: str | None = None,
        depth: Depth | None = None,
    ) -> Explanation:
        """Answer a question about one frame in words.

        Image, task and depth are those of `detect`, question and ``max_tokens`` those of
        `Conversation.ask`; so are the errors, and besides them

        Raises
        ------
        BundleError, DeviceError
            The task does not answer in words, or the package `tokenizers` is missing.
        UnknownTask
            The frame shows no product that the bundle knows.

        Examples
        --------
        With a bundle of tasks that a language model learned (``--backbone llava:ID``)::

            with Detector.open("bundle") as detector:
                print(detector.explain("photo.png", "What is wrong with this part?").text)
        """
        require_length(max_tokens)
        return self.conversation(image, task, depth).ask(question, max_tokens)

    def conversation(
        self, image: Sample, task: str | None = None, depth: Depth | None = None
    ) -> Conversation:
        """Look at one frame and return the conversation about it.

        Parameters and errors are those of `explain`. The version that is open now answers to the
        conversation's end, even after `refresh` or `close`.

        Examples
        --------
        With a bundle of tasks that a language model learned::

            talk = detector.conversation("photo.png")
            talk.ask("Is there a defect?")
            print(talk.ask("Where?").text)
        """
        began = perf_counter()
        snapshot = self._opened()
        require_name(task)
        frame = read_frame(image, depth, snapshot.views, self._max_pixels)
        return begin_conversation(snapshot, frame, task, began)

    def tasks(self) -> tuple[str, ...]:
        """Names of the products that the version in force knows, sorted.

        Examples
        --------
        >>> with Detector.open("bundle") as detector:
        ...     detector.tasks()
        ('bracket',)
        """
        return tuple(sorted(self._opened().tasks))

    @property
    def views(self) -> int:
        """How many pictures of a part make one frame."""
        return self._opened().views

    @property
    def manifest(self) -> Manifest:
        """The version that answers frames now."""
        return self._opened().manifest

    @property
    def version(self) -> int:
        """Number of the version that answers frames now."""
        return self._opened().pointer.version

    @property
    def device(self) -> str:
        """What the graphs run on: cpu, openvino, cuda or tensorrt; what ``auto`` came to."""
        return self._factory.device.name

    @property
    def last_refresh_error(self) -> CadEdgeError | None:
        """Why the version in force could not be opened; None once it is."""
        return self._last_refresh_error

    def refresh(self) -> bool:
        """Open the version in force if it is another one; say whether it was.

        Raises
        ------
        BundleError, GraphError, DeviceError
            The version cannot be used. The one before goes on answering frames, and
            `last_refresh_error` holds the error until a version opens.

        Examples
        --------
        >>> with Detector.open("bundle", watch=False) as detector:
        ...     detector.refresh()
        False
        """
        self._opened()  # before the lock, which the process that opened the detector may hold
        with self._refreshing:
            current = self._opened()
            try:
                pointer = self._bundle.pointer()
                changed = pointer != current.pointer
                if changed:
                    self._snapshot = self._open_version(pointer, current)
            except CadEdgeError as problem:
                # Its trace would keep what was opened of the version, and this detector itself.
                self._last_refresh_error = type(problem)(str(problem))
                raise
            if self._gone is not None:  # closed meanwhile
                self._snapshot = None
            self._last_refresh_error = None
            return changed

    def close(self) -> None:
        """Stop watching and let go of the graphs; frames in work are still answered.

        Examples
        --------
        >>> detector = Detector.open("bundle")
        >>> detector.close()
        """
        if self._gone is None:
            self._gone = BundleError(
                f"the detector of {self._bundle.path} is closed; open it again"
            )
        if self._watcher is not None:
            self._watcher.close()
        self._snapshot = None

    def lose_threads(self) -> None:
        """Answer nothing any more, in a child of the process that opened the detector."""
        never_delete(self._snapshot)
        if self._watcher is not None:
            self._watcher.lose_threads()
        if self._gone is None:
            self._gone = opened_elsewhere(f"the detector of {self._bundle.path}")
        self._snapshot = self._watcher = None
        self._refreshing = threading.Lock()

    def __reduce__(self) -> NoReturn:
        """Refuse to be copied, and so to be sent to another process."""
        raise BundleError(
            f"the detector of {self._bundle.path} cannot be sent to another process, nor copied; "
            "open the bundle there"
        )

    def __enter__(self) -> "Detector":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _opened(self) -> Snapshot:
        snapshot = self._snapshot
        if snapshot is None:
            assert self._gone is not None
            raise type(self._gone)(str(self._gone))
        return snapshot

    def _open_version(self, pointer: Pointer, before: Snapshot | None) -> Snapshot:
        try:
            opened = open_snapshot(self._bundle, pointer, self._factory, before)
        except MemoryError:
            raise DeviceError(
                f"there is not enough memory to open version {pointer.version} of "
                f"{self._bundle.path}; free some, or raise the limit of this process"
            ) from None
        self._bundle.remember(pointer)
        return opened

    def _watch(self, signature: Signature | None) -> Watcher:
        return Watcher(self._pointer_path, signature, self._refresh_quietly)

    def _refresh_quietly(self) -> bool:
        try:
            self.refresh()
        except CadEdgeError:
            return False
        except Exception as problem:  # whatever it is, the watcher must live to see the next one
            self._last_refresh_error = BundleError(
                f"{self._bundle.path} could not be opened again: {brief(problem)}"
            )
            return False
        return True
