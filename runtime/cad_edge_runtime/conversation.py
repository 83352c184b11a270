"""Conversations: questions about one frame and their answers in words, token by token.

Decoding is greedy, so the same frame and questions give the same words. The frame and what was said
stay in the decoder's cache, and only what is new is read.
"""

import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from cad_edge.errors import OptionError, UnknownTask
from cad_edge_runtime.chain import Values
from cad_edge_runtime.decoding import Decoder
from cad_edge_runtime.explaining import OpenExplainer
from cad_edge_runtime.explanation import (
    MOST_TOKENS,
    Explanation,
    ExplanationTimings,
    Finished,
    require_length,
    require_question,
)
from cad_edge_runtime.frames import FrameInput
from cad_edge_runtime.inspection import inspect_frames, prepare, recognise, require_task
from cad_edge_runtime.snapshot import Snapshot


def begin_conversation(
    snapshot: Snapshot, frame: FrameInput, task: str | None, began: float
) -> "Conversation":
    """Look at a frame, so that questions about it can be asked.

    Parameters
    ----------
    snapshot
        Whose explainer answers, to the end of the conversation.
    task
        The product, where it is known; skips its recognition.
    began
        ``perf_counter()`` before the frame was read, for the timings.

    Raises
    ------
    UnknownTask
        ``task`` is not in the bundle, or the frame shows no product of it.
    BundleError, GraphError, DeviceError
        The task does not answer in words, or what it answers with cannot be used.
    ImageError
        The explainer needs depth and the frame has none.
    """
    require_task(snapshot, task)
    values: Values = {}
    name = _recognised(snapshot, frame, values) if task is None else task
    explainer = snapshot.explainers.get(name)
    prepare(values, explainer.chain, [frame], f"the explainer of task {name!r}")
    explainer.chain.run(values)
    return Conversation(explainer, values, snapshot.pointer.version, perf_counter() - began)


def _recognised(snapshot: Snapshot, frame: FrameInput, values: Values) -> str:
    (choice,) = recognise(snapshot, [frame], values)
    unknown = not choice.known
    if choice.in_doubt:
        (found,) = inspect_frames(snapshot, [frame], None, perf_counter())
        unknown = found.task is None
    if unknown:
        raise UnknownTask(
            f"the frame shows no product that the bundle knows (the nearest is {choice.task!r}, "
            f"similarity {choice.similarity:.2f}); give task= to ask about it all the same"
        )
    return choice.task


class Conversation:
    """Questions about one frame, answered by the version that was open when it began.

    Examples
    --------
    From a detector whose bundle answers in words::

        talk = detector.conversation("photo.png")
        for piece in talk.stream("What is wrong with this part?"):
            print(piece, end="")
        print(len(talk.answers))
    """

    def __init__(
        self, explainer: OpenExplainer, values: Values, version: int, seconds: float
    ) -> None:
        self.task = explainer.task
        self.version = version
        self._explainer = explainer
        self._decoder = Decoder(explainer.decoder, values)
        self._image: NDArray[np.float32] | None = explainer.image_rows(values)
        self._looking = seconds
        self._unread: list[int] = []  # said, but not in the cache yet
        self._answers: list[Explanation] = []
        self._answering = threading.Lock()

    @property
    def answers(self) -> tuple[Explanation, ...]:
        """Every answer so far."""
        return tuple(self._answers)

    def ask(self, question: str | None = None, max_tokens: int = MOST_TOKENS) -> Explanation:
        """Answer a question.

        Parameters
        ----------
        question
            What to ask; the task's own question without it.
        max_tokens
            Longest answer.

        Raises
        ------
        OptionError
            The question is empty or has no room in what the language model can read, ``max_tokens``
            is below 1, or another question is being answered.
        GraphError
            The decoder cannot be run; the conversation can go on with another question.
        """
        turn = self._turn(question, max_tokens)
        while True:
            try:
                next(turn)
            except StopIteration as ended:
                found: Explanation = ended.value
                return found

    def stream(self, question: str | None = None, max_tokens: int = MOST_TOKENS) -> Iterator[str]:
        """Answer a question piece by piece; the pieces together are the text of the answer.

        Parameters and errors are those of `ask`; errors come with the first piece. The last of
        `answers` is the answer as a whole. Where not all pieces are read, it ends where it was.
        """
        yield from self._turn(question, max_tokens)

    def _turn(self, question: str | None, max_tokens: int) -> Generator[str, None, Explanation]:
        require_length(max_tokens)
        require_question(question)
        asked = self._explainer.question if question is None else question
        with self._claimed():
            looking, began = self._looking, perf_counter()
            first = self._read_question(asked)
            said = _Saying(perf_counter() - began)
            try:
                yield from self._say(first, max_tokens, said)
            finally:
                timings = ExplanationTimings(looking, said.prompt, said.answer)
                found = Explanation(
                    task=self.task,
                    question=asked,
                    text=said.text,
                    tokens=tuple(said.tokens),
                    finished=said.finished,
                    version=self.version,
                    timings=timings,
                )
                self._answers.append(found)
            return found

    @contextmanager
    def _claimed(self) -> Iterator[None]:
        if not self._answering.acquire(blocking=False):
            raise OptionError(
                "the conversation is still answering a question; read its stream to the end or "
                "close it, and give each thread a conversation of its own"
            )
        try:
            yield
        finally:
            self._answering.release()

    def _read_question(self, question: str) -> int:
        """Read what stands before the answer; return the answer's first token."""
        rows = self._question_rows(question)
        room = self._decoder.room
        if len(rows) > room and self._image is not None:
            raise OptionError(
                f"the question makes {len(rows)} tokens with the frame, but task {self.task!r} "
                f"reads at most {room}; ask a shorter one"
            )
        if len(rows) > room:
            raise OptionError(
                f"the conversation is full: the question needs {len(rows)} tokens and there is "
                f"room for {room}; begin a new conversation"
            )
        first = self._decoder.read(rows)
        self._image, self._looking, self._unread = None, 0.0, []
        return first

    def _question_rows(self, question: str) -> NDArray[np.float32]:
        """(t, width) float32: all that is new since the last answer."""
        if not question.strip():
            raise OptionError("the question is empty; ask something, or leave it out")
        phrases, rows = self._explainer.phrases, self._explainer.embedding.rows
        asked = self._explainer.vocabulary.encode(question, special=False)
        if self._image is None:
            between = [*self._unread, *phrases.between_turns]
            return rows([*between, *asked, *phrases.after_question])
        after = rows([*phrases.after_image, *asked, *phrases.after_question])
        return np.concatenate([rows(phrases.before_image), self._image, after])

    def _say(self, token: int, max_tokens: int, said: "_Saying") -> Iterator[str]:
        explainer = self._explainer
        while token not in explainer.stop:
            said.tokens.append(token)
            self._unread = [token]
            # The whole answer is decoded each time: a tenth of a millisecond for a thousand tokens.
            piece = explainer.vocabulary.decode(said.tokens)[len(said.text) :]
            if piece:
                said.text += piece
                yield piece
            if len(said.tokens) == max_tokens or not self._decoder.room:
                said.finished = "length"
                return
            began = perf_counter()
            token = self._decoder.read(explainer.embedding.rows([token]))
            said.answer += perf_counter() - began
            self._unread = []
        said.finished = "stop"


class _Saying:
    """An answer that is being given."""

    def __init__(self, prompt: float) -> None:
        self.prompt = prompt
        self.answer = 0.0
        self.text = ""
        self.tokens: list[int] = []
        self.finished: Finished = "closed"
