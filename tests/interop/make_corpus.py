# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Makes the seeds of the fuzz targets in fuzz/corpus: `python3 tests/interop/make_corpus.py`.

Keys and context are those of tests/fuzz_bodies/mod.rs. As with the vectors, every other
byte comes from the name of the seed, so that a second run makes the same files.
"""

from __future__ import annotations

import json
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


# A public key of RFC 8032, section 7.1: receipts of the corpus have the form of signed ones, and no signature that verifies.
AUTHORITY = "ed25519:11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
RING = "019aba00-0000-7000-8000-00000000000a"
KEY = "019aba00-0000-7000-8000-00000000000b"


def raw_receipt(**changes: object) -> bytes:
    kek = {"provider": "aws-kms", "id": "arn:aws:kms:eu-central-1:1:key/a", "version": ""}
    body = {
        "schema": 1,
        "ring": RING,
        "revision": 7,
        "head": "ab" * 32,
        "actor": "nightly",
        "whole": True,
        "started": "2026-11-27T08:00:00Z",
        "finished": "2026-11-27T08:00:01.5Z",
        "items": 2,
        "bytes": 300,
        "foreign": 1,
        "covers": [{"kind": "files", "name": "/srv/data", "items": 2}],
        "not_covered": ["backups", "branch-keys", "dek-stores"],
        "keys": [{"key": KEY, "kek": kek, "items": 1, "sole": 1, "bytes": 150, "seen": ["a.wax"]}],
        "unknown": [{"kek": {**kek, "id": ""}, "items": 1, "bytes": 150, "seen": []}],
        "failed": [],
        "failed_items": 0,
        **changes,
    }
    text = json.dumps(body, separators=(",", ":"), ensure_ascii=False)
    return f'{text[:-1]},"signature":"{AUTHORITY}:{"A" * 86}"}}\n'.encode()


def receipts() -> Seeds:
    yield "whole", raw_receipt()
    yield "no-line-end", raw_receipt().rstrip()
    failed = [{"item": "a.wax", "reason": "cannot be read"}]
    yield "not-whole", raw_receipt(whole=False, failed=failed, failed_items=3)
    every = [{"kind": "files", "name": "/", "items": 1}, {"kind": "store", "name": "t.c", "items": 0}]
    every += [{"kind": "dek-store", "name": "d", "items": 1}, {"kind": "branch-keys", "items": 0}]
    yield "every-place", raw_receipt(covers=every, not_covered=["backups"])
    yield "contradiction", raw_receipt(whole=False)
    yield "escapes", raw_receipt(actor='é "quoted" \\ \u2028')
    yield "newer", raw_receipt(schema=2)
    yield "unknown-field", raw_receipt(more=1)
    yield "negative", raw_receipt(items=-1)
    yield "signature-in-a-text", raw_receipt(actor=f'","signature":"{AUTHORITY}:{"A" * 86}"')
    yield "places", b"files:/srv/data\nfiles:/\nstore:users.key\ndek-store:d\nbranch-keys\nfiles:../x\n"


def configurations() -> Seeds:
    front = f'schema = 1\nring = "{RING}"\nauthority = "{AUTHORITY}"\n'
    sqlite = 'store = "sqlite:ring.db"\n'
    yield "least", (front + sqlite).encode()
    whole = 'reader = "web"\nmark = "ring.mark"\nallow = ["file:keys/*", "vault-transit"]\n'
    administration = '[administration]\nauthority = "ring.authority"\nkeys = "ring.keys"\n'
    yield "whole", (front + sqlite + whole + administration).encode()
    profiled = whole.replace('mark =', 'profiles = "profiles.toml"\nmark =')
    yield "profiles", (front + sqlite + profiled + administration).encode()
    yield "authority-kek", (front + sqlite + administration + 'authority-kek = "env:KEY"\n').encode()
    yield "postgres", (front + 'store = "postgres-env:DATABASE_URL"\n').encode()
    yield "postgres-name", (front + 'store = "postgres-env:DATABASE_URL/orders"\n').encode()
    yield "absolute", (front + 'store = "sqlite:/var/lib/ring.db"\nmark = "/etc/app/mark"\n').encode()
    yield "the-folder", (front + 'store = "sqlite:/etc/app"\nmark = "."\n').encode()
    yield "unknown-field", (front + sqlite + "stock = 2\n").encode()
    yield "newer", (front.replace("schema = 1", "schema = 2") + sqlite).encode()
    yield "literal", (front + "store = '''sqlite:a\tb'''\n").encode()
    yield "not-utf8", front.encode() + b'store = "sqlite:\xff"\n'


TARGETS = {
    "parse": envelopes,
    "write_parse": envelopes,
    "open_fixed_key": opened,
    "stream_cuts": streams,
    "context": contexts,
    "receipt": receipts,
    "ring_config": configurations,
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
