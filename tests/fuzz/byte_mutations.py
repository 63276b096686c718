"""Breaks bodies as bytes: cut off, in another encoding, packed, with something strange in the middle."""

import gzip
import zlib
from collections.abc import Callable

from hypothesis import strategies as st

Bytes = Callable[[bytes], bytes]
_ODD_BYTES = (
    b"\x00",
    b"\xff",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"\xf5\x80\x80\x80",
    b"\r\n",
    b"\x1b[0m",
    b"\\",
    b'"',
    b"{",
    b"<",
    b"&",
)


def _cut(share: float) -> Bytes:
    return lambda data: data[: int(len(data) * share)]


def _insert(share: float, odd: bytes) -> Bytes:
    def edit(data: bytes) -> bytes:
        at = int(len(data) * share)
        return data[:at] + odd + data[at:]

    return edit


def _recode(encoding: str) -> Bytes:
    return lambda data: data.decode("utf-8", "replace").encode(encoding, "replace")


shares = st.floats(0, 1, allow_nan=False)
byte_edits: st.SearchStrategy[Bytes] = st.one_of(
    shares.map(_cut),
    st.builds(_insert, shares, st.sampled_from(_ODD_BYTES)),
    st.sampled_from(["utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1", "cp037", "shift_jis"]).map(_recode),
    st.sampled_from(
        [lambda data: data * 2, lambda data: b" \n" * 50 + data, lambda _: b"", lambda _: b" ", lambda data: data + b"x"]
    ),
)
packings: st.SearchStrategy[tuple[bytes, Bytes]] = st.sampled_from(
    [
        (b"gzip", gzip.compress),
        (b"deflate", zlib.compress),
        (b"gzip", lambda data: gzip.compress(data)[:-5]),
        (b"gzip", lambda data: gzip.compress(data) + b"more"),
        (b"gzip", lambda data: data),
        (b"br", lambda data: data),
        (b"gzip, gzip", lambda data: gzip.compress(gzip.compress(data))),
        (b"identity", lambda data: data),
        (b"\xff", lambda data: data),
    ]
)
