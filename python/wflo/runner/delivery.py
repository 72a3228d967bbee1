"""In which order results reach step code.

Owns the queue between the socket and the step. Replayed results carry `order` (1, 2, 3 ... per
generation) and are given out strictly in that order; results of effects that are new come after
all of those, in order of arrival. Either kind is given out one at a time, the next when the step
is idle, so that a race (the first of several) goes on resume as it went the first time.

What the step asks for, and what it stops waiting for, has its place among the answers too: after so
many of them. Replay knows these places (`Marks`) and gives out no answer before the step has come
again to every mark before it. A time-out that fired so fires again, although the answer that it did
not wait for has been recorded since.

**Architecture Invariant:** this module does no I/O, knows no event loop and no threads.
"""

from __future__ import annotations

from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterable
    from typing import Any, TypeAlias

    Key: TypeAlias = "tuple[str, int]"
    Frame: TypeAlias = "dict[str, Any]"
    Place: TypeAlias = "tuple[str, int, int]"


class Marks:
    """What a resumed step has not yet come to again: effects it asked for or stopped waiting for."""

    def __init__(self, asked: Iterable[Place] = (), cancelled: Iterable[Place] = ()) -> None:
        self._after: dict[tuple[bool, Key], int] = {}
        self._left: dict[int, int] = {}
        for given_up, places in ((False, asked), (True, cancelled)):
            for path, seq, after in places:
                self._after[given_up, (path, seq)] = after
                self._left[after] = self._left.get(after, 0) + 1
        self._first = 0

    def __bool__(self) -> bool:
        return bool(self._after)

    def met(self, key: Key, *, cancelled: bool = False) -> None:
        """The step has asked for an effect, or stopped waiting for it."""
        after = self._after.pop((cancelled, key), None)
        if after is not None:
            self._left[after] -= 1

    def before(self, order: int) -> bool:
        """Whether a mark is left that the step came to before it was given this answer."""
        while self._first < order and not self._left.get(self._first):
            self._first += 1
        return self._first < order

    def give_up(self, order: int) -> bool:
        """Forgets the marks before an answer: the step goes another way. False when there is none."""
        gone = [mark for mark, after in self._after.items() if after < order]
        for cancelled, key in gone:
            self.met(key, cancelled=cancelled)
        return bool(gone)


class Deliveries:
    """Results that have arrived and are not yet given out."""

    def __init__(self, replay_length: int, marks: Marks | None = None) -> None:
        self.marks = Marks() if marks is None else marks
        self.place = 0
        """How many answers the step has been given, those that nobody waited for included."""
        self.restoring = False
        """Whether nothing may be given out but the second answer of a tool whose files are put back."""
        self._length = replay_length
        self._next = 1
        self._held: dict[int, tuple[Key, Frame]] = {}
        self._live: deque[tuple[Key, Frame]] = deque()
        self._chunks: dict[Key, deque[Frame]] = {}
        self._answered: set[Key] = set()
        self._running: set[Key] = set()

    def __bool__(self) -> bool:
        return bool(self._held or self._live)

    @property
    def replaying(self) -> bool:
        """Whether recorded results are still to be given out, or recorded places to be come to."""
        return self._next <= self._length or bool(self.marks)

    @property
    def due(self) -> bool:
        """Whether the step must come to a recorded place before anything else is given out."""
        return self.marks.before(self._next)

    def answered(self, key: Key) -> bool:
        """Whether the result of this effect is here, or it is known to be running anew."""
        return key in self._answered

    def running(self, key: Key) -> None:
        """Notes that an effect is not in the journal and runs now: no recorded answer will come."""
        self._answered.add(key)
        self._running.add(key)

    def runs_anew(self, pending: Iterable[Key]) -> bool:
        """Whether one of these effects is not in the journal (its answer may wait for its turn)."""
        return bool(self._live) or any(key in self._running for key in pending)

    def add(self, key: Key, frame: Frame) -> None:
        """Takes in an `effect_result` or `effect_chunk` frame."""
        if frame["type"] == "effect_chunk":
            if self.replaying:
                self._chunks.setdefault(key, deque()).append(frame)
            else:
                self._live.append((key, frame))
            return
        if key in self._answered and "order" in frame and any(key == held[0] for held in self._held.values()):
            return  # The same answer twice.
        self._answered.add(key)
        self._running.discard(key)
        order = frame.get("order")
        if frame.get("cancelled") is True and order is None:
            return  # No answer will come: the mark says where the step stops waiting.
        if isinstance(order, int) and not isinstance(order, bool) and order > 0:
            self._held.setdefault(order, (key, frame))
        else:
            for chunk in self._chunks.pop(key, ()):
                self._live.append((key, chunk))
            self._live.append((key, frame))

    def next(self, pending: Container[Key]) -> tuple[Key, Frame] | None:
        """The next result in order, if it is here and its time has come.

        Results that nobody waits for any more are passed over. A recorded cancellation waits until
        the step has cancelled that effect again, any other result until the step has come to every
        place before it.
        """
        while self._held:
            order = min(self._held)
            if order > self._next or self.marks.before(order):
                break
            key, frame = self._held[order]
            if frame.get("cancelled") is True and key in pending:
                return None
            if key in pending:
                return self._give(order)
            self._drop(order)
        if self.replaying:
            return None
        self._release_chunks()
        while self._live:
            key, frame = self._live.popleft()
            place = frame.get("place")
            if isinstance(place, int):
                self.place = max(self.place, place)
            if key in pending:
                return self._given(key, frame)
        return None

    def again(self, order: int | None) -> None:
        """The answer with this order is given a second time, and nothing before that."""
        if order is not None:
            self._next, self.restoring = order, True

    def any(self, pending: Container[Key]) -> tuple[Key, Frame] | None:
        """A result out of order, for when the step is idle and never asked for the next one."""
        if self.marks.give_up(self._next):
            found = self.next(pending)
            if found is not None:
                return found
        for order in sorted(self._held):
            key, frame = self._held[order]
            if key not in pending:
                self._drop(order)
            elif frame.get("cancelled") is not True:
                return self._give(order)
        if not self._held:
            self._next = self._length + 1
            self.marks.give_up(self._next)
            return self.next(pending)
        return None

    def _give(self, order: int) -> tuple[Key, Frame]:
        key, frame = self._held[order]
        chunks = self._chunks.get(key)
        if chunks:
            return key, chunks.popleft()
        self._drop(order)
        return self._given(key, frame)

    def _drop(self, order: int) -> None:
        key, _ = self._held.pop(order)
        self._chunks.pop(key, None)
        self._next = max(self._next, order + 1)
        self.restoring = False
        self.place = max(self.place, order)

    def _given(self, key: Key, frame: Frame) -> tuple[Key, Frame]:
        if frame["type"] == "effect_result":
            # A tool is answered twice: once to run, once with the recorded result.
            self._answered.discard(key)
        return key, frame

    def _release_chunks(self) -> None:
        for key, chunks in self._chunks.items():
            self._live.extendleft((key, chunk) for chunk in reversed(chunks))
        self._chunks.clear()
