"""One answer as it comes in piece by piece (RFC 9112), read by llhttp and held to limits."""

from __future__ import annotations

from httptools import HttpParserError, HttpResponseParser

MAX_HEAD = 64 * 1024
"""Bytes in a row that bring nothing of a body: a longer head, chunk line or trailer is no answer."""

_FRAMING = (b"content-length", b"transfer-encoding")


class UnreadableAnswerError(Exception):
    """What came is no HTTP/1.1 answer, or not all of one."""


class Answer:
    """The answer to one request; what is before the final status (100, 102, 103) is passed over.

    `status` and `headers` hold from `has_head` on, `reusable` from `is_complete` on.
    """

    def __init__(self, method: str) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.has_head = False
        self.is_complete = False
        self.reusable = False
        self.failure: UnreadableAnswerError | None = None
        self._body: list[bytes] = []
        self._held = 0
        self._without_body = 0
        # Their answers end with the head, whatever it says (RFC 9112, section 6.3).
        self._ends_with_head = method in ("HEAD", "CONNECT")
        self._parser = HttpResponseParser(self)

    @property
    def held(self) -> int:
        """Bytes of the body that nobody has taken yet."""
        return self._held

    def take(self) -> bytes:
        """What has come of the body since the last time."""
        taken, self._body, self._held = b"".join(self._body), [], 0
        return taken

    def feed(self, data: bytes) -> None:
        """Read on; what cannot be read is in `failure` afterwards."""
        self._without_body += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, UnreadableAnswerError):
            self._fail()
        if self._without_body > MAX_HEAD:
            self._fail()

    def end(self) -> None:
        """The endpoint says no more: an answer without a length is complete by that, any other is broken."""
        framed = any(name.lower() in _FRAMING for name, _ in self.headers)
        if self.has_head and not framed:
            self.is_complete = True
        self._fail()

    def _fail(self) -> None:
        self.reusable = False
        if not self.is_complete:
            self.failure = UnreadableAnswerError()

    # What llhttp calls.

    def on_message_begin(self) -> None:
        """A second answer to one request is not ours; nothing after the first may be taken for the next."""
        if self.is_complete:
            raise UnreadableAnswerError

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or after the body a trailer, which nobody reads."""
        if not self.has_head:
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The end of a head, final or not."""
        if sum(len(name) + len(value) + 4 for name, value in self.headers) > MAX_HEAD:
            raise UnreadableAnswerError
        self.status = self._parser.get_status_code()
        if self.status < 200:
            self.headers.clear()
            return
        self.has_head = True
        self.reusable = self._parser.should_keep_alive() and not self._ends_with_head
        self.is_complete = self._ends_with_head

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        if self._ends_with_head:
            raise UnreadableAnswerError
        self._body.append(data)
        self._held += len(data)
        self._without_body = 0

    def on_message_complete(self) -> None:
        """The end of an answer, final or not."""
        self.is_complete = self.has_head
