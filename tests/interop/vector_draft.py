# SPDX-License-Identifier: Apache-2.0 OR MIT
"""What a test vector is, and an envelope to spoil: used by the two lists of cases.

Every secret, nonce, salt and id comes from SHA-256 of the case name, so that a second
run makes the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import waxseal_reader as wax
from waxseal_reader import Stanza, lv16, u8, u16, u24, u32

CONTEXT = (("tenant", "acme"), ("table", "invoices"))
OTHER_CONTEXT = (("tenant", "globex"), ("table", "invoices"))
AAD = b"invoice 7"
PASSPHRASE = "correct horse battery staple"
CHUNK = 1024  # exponent 10, that of nearly every case
TWO = CHUNK + 76  # lengths of short messages of two and three chunks
THREE = 2 * CHUNK + 52
HEX_COLUMNS = 96
PRIVATE_ALGORITHM = 224  # "for private use": no reader in this project knows it

Pairs = Sequence[tuple[str, str]]

# Which requirements of docs/spec/envelope-v1.md a case shows, by the beginning of its name; the longest one counts.
CITES = {
    "aad-": "OPEN-4", "body-of-another": "KEY-13", "chunk-": "BODY-8", "chunk-empty-final": "BODY-2, BODY-6",
    "chunks-of-another": "BODY-8", "commitment-": "KEY-13", "context-": "OPEN-4, CTX-4", "context-of-64": "LIM-7",
    "detached-": "ENV-2", "detached-id-of-17": "ENV-8", "exponent-": "ENV-7, LIM-10", "flags-": "ENV-7",
    "kek-": "ANY-1", "kek-id-hidden": "WRAP-2, ANY-3", "kind-3": "ENV-7", "magic-": "ENV-6", "multi-chunk": "BODY-1",
    "nonce-": "KEY-12", "padding-": "WRAP-4, WRAP-7", "passphrase-": "ALG-7, LIM-19", "passphrase-three": "WRAP-9, LIM-13",
    "passphrase-two": "WRAP-6", "session-id": "KEY-12", "share-index": "WRAP-8", "single-chunk": "BODY-5",
    "size-": "BODY-1, BODY-5", "stanza-": "WRAP-7", "stanza-broken": "ANY-4", "stanza-planted": "ANY-3",
    "stanza-of-another-algorithm": "ALG-1", "stanza-of-another-provider": "ALG-2", "stanza-unknown": "WRAP-10",
    "stanza-unknown-private": "WRAP-10, ALG-16", "stanza-wrapped-of-7": "WRAP-9", "stored-context-": "ENV-11",
    "stored-context-of-65": "CTX-6", "stored-context-unsorted": "CTX-7", "suite-": "ENV-7",
    "threshold-2-of-3": "OPEN-3", "threshold-2-of-3-algorithm-16": "SHARE-8", "threshold-2-of-3-index": "WRAP-8",
    "trailing-": "BODY-8", "truncated-": "ENV-10", "truncated-to-15": "BODY-4", "version-": "ENV-6",
    "wrap-": "BIND-2", "wrap-section-": "WRAP-7", "wrap-section-of-65537": "ENV-8, LIM-1", "wrapped-of": "WRAP-9",
    "zero-byte": "ENV-9",
}  # fmt: skip


def cited(name: str) -> list[str]:
    """What a case shows, apart from that each refusal has its class, which all of them show."""
    fitting = [start for start in CITES if name.startswith(start)]
    return CITES[max(fitting, key=len)].split(", ") if fitting else []


def plaintext(size: int) -> bytes:
    period = bytes((i * 7 + 3) % 251 for i in range(251))
    return (period * (size // 251 + 1))[:size]


class Stream:
    """Bytes from SHA-256 of a case name; stands in for the random generator."""

    def __init__(self, name: str) -> None:
        self._seed = hashlib.sha256(name.encode()).digest()
        self._blocks = 0
        self._ready = b""

    def __call__(self, length: int) -> bytes:
        while len(self._ready) < length:
            self._ready += hashlib.sha256(self._seed + u32(self._blocks)).digest()
            self._blocks += 1
        out, self._ready = self._ready[:length], self._ready[length:]
        return out


@dataclass(frozen=True)
class Case:
    name: str
    comment: str
    expect: str
    keys: list[tuple[str, str]]
    context: Pairs
    aad: bytes
    answers: list[tuple[str, str]]
    data: bytes

    def text(self) -> str:
        lines = [("comment", self.comment)]
        if requirements := cited(self.name):
            lines.append(("spec", ", ".join(requirements)))
        lines += [("expect", self.expect), *self.keys]
        lines += [
            ("context", f"{key.encode().hex()}={value.encode().hex()}")
            for key, value in self.context
        ]
        if self.aad:
            lines.append(("aad", self.aad.hex()))
        lines += self.answers
        header = "".join(f"{key}: {value}\n" for key, value in lines)
        digits = self.data.hex()
        wrapped = [digits[at : at + HEX_COLUMNS] for at in range(0, len(digits), HEX_COLUMNS)]
        return header + "\n" + "".join(line + "\n" for line in wrapped)


class Draft:
    """An envelope sealed as it should be, of which a case then spoils a part.

    The arguments go into what is sealed, so that an envelope with (say) a forbidden
    chunk exponent is flawless otherwise. What is set afterwards is a manipulation.
    """

    def __init__(
        self,
        name: str,
        size: int = 40,
        *,
        suite: int = 1,
        exponent: int = 10,
        flags: int = 0,
        zero: int = 0,
        context: Pairs = CONTEXT,
        aad: bytes = AAD,
        store: bool = False,
        kek: bytes | None = None,
    ) -> None:
        self.name = name
        self.random = Stream(name)
        self.kek = self.random(32) if kek is None else kek
        self.keys = [("kek", self.kek.hex())]
        self.dek = self.random(32)
        self.context, self.aad = context, aad
        canonical = wax.canonical_context(context)
        self.digest = wax.context_digest(canonical)

        self.magic, self.kind = b"WAX\x01", 1
        self.threshold, self.padding = 1, b""
        self.count: int | None = None
        self.stanzas = [self.wrap()]
        self.section_override: bytes | None = None
        self.suite, self.exponent = suite, exponent
        self.head = bytes([suite, exponent, flags | store, zero]) + self.random(16)
        self.nonce = self.random(12)
        self.session_key, self.commitment = wax.derive_session(self.dek, self.head, self.digest)
        self.message_key = wax.derive_message_key(self.dek, self.head, self.nonce, self.digest)
        self.stored = lv16(canonical) if store else b""
        self.plaintext = plaintext(size)
        self.chunks: list[bytes] = []
        self.seal_pieces()

    # What is sealed

    def wrap(
        self,
        dek: bytes | None = None,
        *,
        kek: bytes | None = None,
        digest: bytes | None = None,
        hide_id: bool = False,
    ) -> Stanza:
        key = wax.LocalKek(kek or self.kek)
        return key.wrap(dek or self.dek, digest or self.digest, self.random, hide_id)

    def seal_pieces(
        self,
        pieces: list[bytes] | None = None,
        *,
        key: bytes | None = None,
        nonces: list[bytes] | None = None,
        aads: list[bytes] | None = None,
    ) -> None:
        """Seals chunk by chunk: by the rules, but for what a case sets otherwise."""
        if pieces is None:
            pieces = wax.cut(self.plaintext, self.exponent)
        count = len(pieces)
        if nonces is None:
            nonces = [wax.chunk_nonce(i, i == count - 1) for i in range(count)]
            nonces = [self.nonce] if count == 1 else nonces
        if key is None:
            key = self.session_key if count == 1 else self.message_key
        cipher = wax.aead(self.suite, key)
        aads = [self.aad] * count if aads is None else aads
        parts = zip(nonces, pieces, aads, strict=True)
        self.chunks = [cipher.encrypt(nonce, piece, aad) for nonce, piece, aad in parts]

    # What is written

    def section(self) -> bytes:
        if self.section_override is not None:
            return self.section_override
        count = len(self.stanzas) if self.count is None else self.count
        stanzas = b"".join(stanza.encode() for stanza in self.stanzas)
        return u8(self.threshold) + u8(count) + stanzas + self.padding

    def before_section(self) -> bytes:
        return self.magic + u8(self.kind) + u24(len(self.section()))

    def body(self) -> bytes:
        fixed = self.head + self.commitment + self.nonce + self.stored
        return fixed + b"".join(self.chunks)

    def encode(self) -> bytes:
        return self.before_section() + self.section() + self.body()

    def body_at(self) -> int:
        return len(self.before_section()) + len(self.section())

    def chunks_at(self) -> int:
        return self.body_at() + 20 + 32 + 12 + len(self.stored)

    # The case

    def ok(self, comment: str, **changes: Any) -> Case:
        answers = [
            ("plaintext-sha256", hashlib.sha256(self.plaintext).hexdigest()),
            ("plaintext-length", str(len(self.plaintext))),
            ("dek", self.dek.hex()),
            ("context-digest", self.digest.hex()),
            ("session-key", self.session_key.hex()),
            ("commitment", self.commitment.hex()),
        ]
        if len(self.plaintext) > 1 << self.exponent:
            answers.append(("message-key", self.message_key.hex()))
        return replace(self.fails("ok", comment, **changes), answers=answers)

    def fails(self, expect: str, comment: str, **changes: Any) -> Case:
        case = Case(
            self.name, comment, expect, self.keys, self.context, self.aad, [], self.encode()
        )
        return replace(case, **changes)


def flip(data: bytes, at: int, mask: int = 0x01) -> bytes:
    """`data` with bits of one byte inverted."""
    changed = bytearray(data)
    changed[at] ^= mask
    return bytes(changed)


def unknown_stanza(algorithm: int = PRIVATE_ALGORITHM, **fields: Any) -> Stanza:
    stanza = Stanza(algorithm, 0, b"example-kms", b"key/1", b"3", bytes(range(40)))
    return replace(stanza, **fields)


def raw_context(pairs: Sequence[tuple[bytes, bytes]], count: int | None = None) -> bytes:
    """The bytes of a context as given: nothing is sorted or checked."""
    count = len(pairs) if count is None else count
    return u16(count) + b"".join(lv16(key) + lv16(value) for key, value in pairs)
