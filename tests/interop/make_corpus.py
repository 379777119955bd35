# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Makes the seeds of the fuzz targets in fuzz/corpus: `python3 tests/interop/make_corpus.py`.

Keys and context are those of tests/fuzz_bodies/mod.rs. As with the vectors, every other
byte comes from the name of the seed, so that a second run makes the same files.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import waxseal_reader as wax
from vector_draft import Draft, flip, plaintext, raw_context, unknown_stanza

FOLDER = Path(__file__).resolve().parent.parent.parent / "fuzz" / "corpus"
CONTEXT = (("tenant", "acme"),)
KEK = bytes([1]) * 32
DEK = bytes([2]) * 32
DEK_ID = bytes([3]) * 16

Seeds = Iterator[tuple[str, bytes]]


def attached(name: str, size: int = 40, **fields: object) -> Draft:
    return Draft(name, size, kek=KEK, context=CONTEXT, aad=b"", **fields)  # type: ignore[arg-type]


def detached(name: str, size: int = 40, **fields: object) -> Draft:
    draft = attached(name, size, **fields)
    draft.kind, draft.section_override, draft.dek = 2, DEK_ID, DEK
    draft.session_key, draft.commitment = wax.derive_session(DEK, draft.head, draft.digest)
    draft.message_key = wax.derive_message_key(DEK, draft.head, draft.nonce, draft.digest)
    draft.seal_pieces()
    return draft


def envelopes() -> Seeds:
    """For every target that takes an envelope."""
    yield "single", attached("single").encode()
    yield "empty", attached("empty", 0, suite=2).encode()
    yield "two-chunks", attached("two-chunks", 1100).encode()
    yield "stored-context", attached("stored-context", store=True).encode()
    yield "detached", detached("detached").encode()
    yield "detached-two-chunks", detached("detached-two-chunks", 1030, store=True).encode()
    draft = attached("padding")
    draft.padding = bytes(20)
    yield "padding", draft.encode()
    draft = attached("three-stanzas", suite=2)
    draft.stanzas = [unknown_stanza(), draft.wrap(draft.random(32)), draft.wrap(hide_id=True)]
    yield "three-stanzas", draft.encode()
    draft = attached("shares")
    draft.stanzas = [replace(unknown_stanza(), share=share) for share in (1, 255)]
    draft.threshold = 2
    yield "shares", draft.encode()
    draft = attached("broken-stanza")
    draft.stanzas.insert(0, replace(draft.stanzas[0], wrapped=bytes(73)))
    yield "broken-stanza", draft.encode()


def opened() -> Seeds:
    yield from envelopes()
    draft = attached("altered")
    draft.chunks[0] = flip(draft.chunks[0], 3)
    yield "altered", draft.encode()


def streams() -> Seeds:
    for suite in (0, 1):
        for size, pieces in ((0, 0), (1, 1), (1024, 3), (1500, 255), (64, 113)):
            choices = bytes([suite, pieces, 255 - pieces, size % 16, size // 8 % 256])
            yield f"suite-{suite + 1}-{size}", choices + plaintext(size)


def contexts() -> Seeds:
    yield "empty", raw_context([])
    yield "one", raw_context([(b"tenant", b"acme")])
    yield "prefixes", raw_context([(b"a", b""), (b"ab", b"x"), (b"b", b"y")])
    yield "not-ascii", raw_context([("\u00e9tat".encode(), "\u00cele".encode())])
    yield "most-pairs", raw_context([(b"%02d" % i, b"v") for i in range(64)])
    yield "unsorted", raw_context([(b"b", b""), (b"a", b"")])
    yield "twice", raw_context([(b"a", b""), (b"a", b"")])
    yield "not-utf8", raw_context([(b"a", b"\xff")])
    yield "text", b"tenant=acme\ntable=users\nempty=\n"
    yield "text-twice", b"a=1\na=2"


TARGETS = {
    "parse": envelopes,
    "write_parse": envelopes,
    "open_fixed_key": opened,
    "stream_cuts": streams,
    "context": contexts,
}


def main() -> int:
    for target, seeds in TARGETS.items():
        folder = FOLDER / target
        folder.mkdir(parents=True, exist_ok=True)
        for stale in folder.iterdir():
            stale.unlink()
        for name, data in seeds():
            (folder / name).write_bytes(data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
