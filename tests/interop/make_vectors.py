# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Makes the envelope test vectors in tests/vectors: `python3 tests/interop/make_vectors.py`.

Every secret, nonce, salt and id comes from SHA-256 of the case name, so that a second
run makes the same bytes. What each case expects is written here by hand, from
docs/spec/envelope-v1.md; test_reader.py holds waxseal_reader.py to it.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import waxseal_reader as wax
from waxseal_reader import Kind, Stanza, lv16, u8, u16, u24, u32

FOLDER = Path(__file__).resolve().parent.parent / "vectors"
CONTEXT = (("tenant", "acme"), ("table", "invoices"))
OTHER_CONTEXT = (("tenant", "globex"), ("table", "invoices"))
AAD = b"invoice 7"
PASSPHRASE = "correct horse battery staple"
CHUNK = 1024  # exponent 10, that of nearly every case
HEX_COLUMNS = 96
PRIVATE_ALGORITHM = 224  # "for private use": no reader in this project knows it

Pairs = Sequence[tuple[str, str]]


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
        lines = [("comment", self.comment), ("expect", self.expect), *self.keys]
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


# --- Envelopes that open -------------------------------------------------------------


def sizes() -> Iterator[Case]:
    for suite, cipher in ((1, "aes"), (2, "chacha")):
        for size in (0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3000):
            draft = Draft(f"size-{cipher}-{size:04}", size, suite=suite)
            chunks = len(draft.chunks)
            plural = "" if chunks == 1 else "s"
            yield draft.ok(f"{size} bytes in {chunks} chunk{plural} under suite {suite}.")
    for suite, exponent, size in ((1, 16, 100), (2, 16, 1500), (1, 11, 3000), (2, 24, 5)):
        draft = Draft(f"exponent-{exponent}-suite-{suite}", size, suite=suite, exponent=exponent)
        yield draft.ok(f"Chunk exponent {exponent} with {size} bytes under suite {suite}.")


def aads() -> Iterator[Case]:
    for size, name in ((40, "single"), (3000, "multi")):
        yield Draft(f"aad-none-{name}", size, aad=b"").ok("Sealed with an empty AAD.")
        draft = Draft(f"aad-wrong-{name}", size)
        yield draft.fails(Kind.CANNOT_OPEN, "The AAD is that of another row.", aad=b"invoice 8")
        draft = Draft(f"aad-missing-{name}", size)
        yield draft.fails(Kind.CANNOT_OPEN, "No AAD is given to the reader.", aad=b"")
        draft = Draft(f"aad-not-expected-{name}", size, aad=b"")
        yield draft.fails(Kind.CANNOT_OPEN, "An AAD is given where none was sealed with.", aad=AAD)
    draft = Draft("aad-on-first-chunk-only", 3000)
    draft.seal_pieces(aads=[AAD, b"", b""])
    yield draft.fails(Kind.CANNOT_OPEN, "Only the first chunk has the AAD.")
    draft = Draft("aad-binary", aad=bytes(range(256)))
    yield draft.ok("The AAD is any bytes, here all 256.")


# --- Context -------------------------------------------------------------------------


def contexts() -> Iterator[Case]:
    yield Draft("context-empty", context=()).ok("The empty context.")
    yield Draft("context-order-does-not-matter").ok(
        "The pairs are given in another order.", context=CONTEXT[::-1]
    )
    unsorted = (("\U0001f512", "1"), ("\uff5e", "2"), ("ab", "3"), ("a", ""), ("B", "4"))
    yield Draft("context-keys-sort-as-bytes", context=unsorted).ok(
        "Keys that UTF-16, locale or case-folding order would sort otherwise.", context=unsorted
    )
    many = tuple((f"key {i:02}", f"{i * i}") for i in range(64))
    yield Draft("context-of-64-pairs", context=many).ok("As many pairs as there may be.")

    for name, given, comment in (
        ("wrong", OTHER_CONTEXT, "One value of the context differs."),
        ("pair-missing", CONTEXT[:1], "One pair of the context is not given."),
        ("pair-too-many", (*CONTEXT, ("x", "")), "One pair more than sealed with is given."),
        ("missing", (), "The empty context is given instead of the one sealed with."),
        ("key-case-differs", (("Tenant", "acme"), CONTEXT[1]), "A key differs in case."),
    ):
        draft = Draft(f"context-{name}")
        yield draft.fails(Kind.CANNOT_OPEN, comment, context=given)
    draft = Draft("context-not-expected", context=())
    yield draft.fails(
        Kind.CANNOT_OPEN,
        "A context is given where the empty one was sealed with.",
        context=CONTEXT,
    )
    draft = Draft("context-boundary-moved", context=(("ab", "c"),))
    yield draft.fails(
        Kind.CANNOT_OPEN,
        "Key and value join to the same text, but split elsewhere.",
        context=(("a", "bc"),),
    )
    draft = Draft("context-is-not-normalised", context=(("caf\u00e9", "1"),))
    yield draft.fails(
        Kind.CANNOT_OPEN,
        "The key given is another Unicode normal form of the one sealed with.",
        context=(("cafe\u0301", "1"),),
    )


def stored_contexts() -> Iterator[Case]:
    yield Draft("stored-context-opens", store=True).ok("The context is stored.")
    yield Draft("stored-context-multi-chunk", 3000, store=True, suite=2).ok(
        "The context is stored in a message of several chunks."
    )
    yield Draft("stored-context-empty", store=True, context=()).ok("The empty context is stored.")

    yield Draft("stored-context-of-another-digest", store=True).fails(
        Kind.CONTEXT_MISMATCH, "The context in use is not the stored one.", context=OTHER_CONTEXT
    )
    yield Draft("stored-context-but-empty-in-use", store=True).fails(
        Kind.CONTEXT_MISMATCH, "A context is stored, and the empty one is in use.", context=()
    )
    draft = Draft("stored-context-replaced", store=True)
    draft.stored = lv16(wax.canonical_context(OTHER_CONTEXT))
    yield draft.fails(Kind.CONTEXT_MISMATCH, "The stored context was replaced by another one.")
    draft = Draft("stored-context-replaced-with-that-in-use", store=True)
    draft.stored = lv16(wax.canonical_context(OTHER_CONTEXT))
    yield draft.fails(
        Kind.CANNOT_OPEN,
        "The stored context was replaced, and the reader uses the new one.",
        context=OTHER_CONTEXT,
    )
    draft = Draft("stored-context-added", store=False)
    draft.head = flip(draft.head, 2)
    draft.stored = lv16(wax.canonical_context(CONTEXT))
    yield draft.fails(Kind.CANNOT_OPEN, "Flag and stored context were added after sealing.")
    draft = Draft("stored-context-removed", store=True)
    draft.head = flip(draft.head, 2)
    draft.stored = b""
    yield draft.fails(Kind.CANNOT_OPEN, "Flag and stored context were removed after sealing.")
    draft = Draft("stored-context-without-flag")
    draft.stored = lv16(wax.canonical_context(CONTEXT))
    yield draft.fails(Kind.CANNOT_OPEN, "A stored context without its flag reads as a chunk.")

    table, tenant = (b"table", b"invoices"), (b"tenant", b"acme")
    for name, kind, stored, comment in (
        ("unsorted", Kind.MALFORMED, raw_context([tenant, table]), "is not sorted by key"),
        (
            "duplicate-key",
            Kind.MALFORMED,
            raw_context([table, tenant, tenant]),
            "has one key twice",
        ),
        (
            "duplicate-key-other-value",
            Kind.MALFORMED,
            raw_context([table, tenant, (b"tenant", b"globex")]),
            "has one key twice, with two values",
        ),
        (
            "empty-key",
            Kind.MALFORMED,
            raw_context([(b"", b"x"), table, tenant]),
            "has an empty key",
        ),
        (
            "key-not-utf8",
            Kind.MALFORMED,
            raw_context([table, tenant, (b"\xff", b"")]),
            "has a key that is not UTF-8",
        ),
        (
            "value-not-utf8",
            Kind.MALFORMED,
            raw_context([table, (b"tenant", b"\xed\xa0\x80")]),
            "has a value that is not UTF-8, but an encoded surrogate",
        ),
        (
            "trailing-byte",
            Kind.MALFORMED,
            raw_context([table, tenant]) + b"\0",
            "goes on after its last pair",
        ),
        (
            "count-too-low",
            Kind.MALFORMED,
            raw_context([table, tenant], 1),
            "has more pairs than it counts",
        ),
        (
            "count-too-high",
            Kind.MALFORMED,
            raw_context([table, tenant], 3),
            "has fewer pairs than it counts",
        ),
        (
            "value-overruns",
            Kind.MALFORMED,
            raw_context([table])[:-1],
            "ends inside its last value",
        ),
        ("no-bytes", Kind.MALFORMED, b"", "has no bytes, not even a count"),
        ("one-byte", Kind.MALFORMED, b"\0", "ends inside its count"),
        (
            "of-65-pairs",
            Kind.OVER_LIMIT,
            raw_context([(b"k%02d" % i, b"") for i in range(65)]),
            "has 65 pairs",
        ),
        (
            "of-8193-bytes",
            Kind.OVER_LIMIT,
            raw_context([(b"k", bytes(8193 - 2 - 4 - 1))]),
            "has 8193 bytes",
        ),
    ):
        draft = Draft(f"stored-context-{name}", store=True)
        draft.stored = lv16(stored)
        yield draft.fails(kind, f"The stored context {comment}.")


# --- The fixed fields ----------------------------------------------------------------


def fixed_fields() -> Iterator[Case]:
    draft = Draft("magic-wrong")
    draft.magic = b"WAY\x01"
    yield draft.fails(Kind.MALFORMED, "The magic is not that of an envelope.")
    for version in (0, 2, 255):
        draft = Draft(f"version-{version}")
        draft.magic = b"WAX" + u8(version)
        yield draft.fails(Kind.UNSUPPORTED_VERSION, f"The format version is {version}.")
    for kind in (0, 3, 255):
        draft = Draft(f"kind-{kind}")
        draft.kind = kind
        yield draft.fails(Kind.UNSUPPORTED, f"No kind {kind} is known.")
    for suite in (0, 3, 255):
        draft = Draft(f"suite-{suite}", suite=suite)
        yield draft.fails(Kind.UNSUPPORTED, f"No suite {suite} is known.")
    for exponent in (0, 9, 25, 255):
        # Sealed as one chunk, of which only the range check can disapprove.
        draft = Draft(f"exponent-{exponent}", size=1, exponent=exponent)
        yield draft.fails(Kind.UNSUPPORTED, f"The chunk exponent is {exponent}.")
    for flags in (0x02, 0x80):
        draft = Draft(f"flags-{flags:02x}", flags=flags)
        yield draft.fails(Kind.UNSUPPORTED, f"The flags are {flags:#04x}, of which none is known.")
    draft = Draft("flags-unknown-beside-known", flags=0x02, store=True)
    yield draft.fails(
        Kind.UNSUPPORTED, "An unknown flag is set beside the one of a stored context."
    )
    for zero in (0x01, 0x80):
        draft = Draft(f"zero-byte-{zero:02x}", zero=zero)
        yield draft.fails(Kind.MALFORMED, f"The byte that must be zero is {zero:#04x}.")

    for name, at, mask, comment in (
        ("suite-swapped", 0, 0x03, "The suite was changed from 1 to 2 after sealing."),
        ("exponent-changed", 1, 0x01, "The chunk exponent was changed from 10 to 11."),
        ("session-id-first-bit-flipped", 4, 0x80, "One bit of the session id differs."),
        ("session-id-last-bit-flipped", 19, 0x01, "One bit of the session id differs."),
    ):
        for size, form in ((40, "single"), (3000, "multi")):
            draft = Draft(f"{name}-{form}", size)
            draft.head = flip(draft.head, at, mask)
            yield draft.fails(Kind.CANNOT_OPEN, comment)
    for name, at, mask in (("commitment-bit-flipped", 0, 0x80), ("commitment-last-bit", 31, 0x01)):
        draft = Draft(name)
        draft.commitment = flip(draft.commitment, at, mask)
        yield draft.fails(Kind.CANNOT_OPEN, "One bit of the commitment differs.")
    draft = Draft("commitment-bit-flipped-multi", 3000)
    draft.commitment = flip(draft.commitment, 16)
    yield draft.fails(
        Kind.CANNOT_OPEN, "One bit of the commitment differs, and every chunk is authentic."
    )
    draft = Draft("commitment-zero")
    draft.commitment = bytes(32)
    yield draft.fails(Kind.CANNOT_OPEN, "The commitment is all zeros.")
    draft = Draft("commitment-of-another-context")
    other = wax.context_digest(wax.canonical_context(OTHER_CONTEXT))
    draft.commitment = wax.derive_session(draft.dek, draft.head, other)[1]
    yield draft.fails(Kind.CANNOT_OPEN, "The commitment is that of another context.")
    draft = Draft("commitment-is-session-key-half")
    draft.commitment = draft.session_key
    yield draft.fails(Kind.CANNOT_OPEN, "The commitment is the other half of what is derived.")
    for size, form in ((40, "single"), (3000, "multi")):
        draft = Draft(f"nonce-bit-flipped-{form}", size)
        draft.nonce = flip(draft.nonce, 11)
        yield draft.fails(Kind.CANNOT_OPEN, "One bit of the message nonce differs.")


def detached() -> Iterator[Case]:
    def draft(name: str, size: int = 40, dek_id: int = 16, **arguments: Any) -> Draft:
        made = Draft(name, size, **arguments)
        made.kind, made.section_override = 2, made.random(dek_id)
        made.keys = [("open-with-dek", made.dek.hex())]
        return made

    yield draft("detached-opens").ok("A detached envelope, opened with its DEK.")
    yield draft("detached-multi-chunk", 3000, suite=2).ok(
        "A detached envelope of several chunks, opened with its DEK."
    )
    yield draft("detached-stored-context", store=True).ok(
        "A detached envelope with a stored context, opened with its DEK."
    )
    other = draft("detached-another-dek-id")
    other.section_override = bytes(16)
    yield other.ok("The DEK id is only a claim: a wrong one does not stop the right DEK.")

    wrong = draft("detached-wrong-dek")
    wrong.keys = [("open-with-dek", wrong.random(32).hex())]
    yield wrong.fails(Kind.CANNOT_OPEN, "The DEK is another one.")
    yield draft("detached-wrong-context").fails(
        Kind.CANNOT_OPEN, "The context is another one.", context=OTHER_CONTEXT
    )
    keyed = draft("detached-opened-with-kek")
    keyed.keys = [("kek", keyed.kek.hex())]
    yield keyed.fails(Kind.UNSUPPORTED, "A detached envelope has no wrap for a KEK to open.")
    for length in (0, 15, 17):
        yield draft(f"detached-id-of-{length}-bytes", dek_id=length).fails(
            Kind.MALFORMED, f"The DEK id has {length} bytes, not 16."
        )
    mixed = Draft("kind-attached-became-detached")
    mixed.kind = 2
    yield mixed.fails(Kind.MALFORMED, "A wrap section stands where a detached kind has a DEK id.")
    mixed = draft("kind-detached-became-attached")
    mixed.kind, mixed.section_override = 1, bytes(16)
    yield mixed.fails(Kind.MALFORMED, "A DEK id stands where an attached kind has a wrap section.")


# --- Truncation and extension --------------------------------------------------------


def truncations() -> Iterator[Case]:
    single: list[tuple[str, Callable[[Draft], int], str]] = [
        ("to-nothing", lambda d: 0, "There are no bytes"),
        ("in-magic", lambda d: 2, "The bytes end inside the magic"),
        ("after-magic", lambda d: 4, "The bytes end after the magic"),
        ("after-kind", lambda d: 5, "The bytes end after the kind"),
        ("in-wrap-length", lambda d: 7, "The bytes end inside the length of the wrap section"),
        ("before-wrap-section", lambda d: 8, "The bytes end before the wrap section"),
        ("in-wrap-section", lambda d: 60, "The bytes end inside the wrap section"),
        (
            "in-last-wrap-byte",
            lambda d: d.body_at() - 1,
            "The bytes end one short of the end of the wrap section",
        ),
        ("after-wrap-section", lambda d: d.body_at(), "The bytes end after the wrap section"),
        ("in-head", lambda d: d.body_at() + 3, "The bytes end inside the head"),
        ("before-session-id", lambda d: d.body_at() + 4, "The bytes end before the session id"),
        ("in-session-id", lambda d: d.body_at() + 19, "The bytes end inside the session id"),
        ("before-commitment", lambda d: d.body_at() + 20, "The bytes end before the commitment"),
        ("in-commitment", lambda d: d.body_at() + 51, "The bytes end inside the commitment"),
        ("before-nonce", lambda d: d.body_at() + 52, "The bytes end before the nonce"),
        ("in-nonce", lambda d: d.body_at() + 63, "The bytes end inside the nonce"),
        ("before-chunks", lambda d: d.chunks_at(), "There is no chunk"),
        ("to-15-chunk-bytes", lambda d: d.chunks_at() + 15, "The chunk is shorter than a tag"),
    ]
    for name, where, comment in single:
        draft = Draft(f"truncated-{name}")
        yield draft.fails(Kind.MALFORMED, f"{comment}.", data=draft.encode()[: where(draft)])
    for name, length, comment in (
        ("to-16-chunk-bytes", 16, "The chunk is cut to 16 bytes, as if of an empty plaintext"),
        ("in-only-chunk", 30, "The bytes end inside the only chunk"),
        ("in-only-tag", 40 + 15, "The bytes end one short of the end of the only tag"),
    ):
        draft = Draft(f"truncated-{name}")
        data = draft.encode()[: draft.chunks_at() + length]
        yield draft.fails(Kind.CANNOT_OPEN, f"{comment}.", data=data)

    for name, length, comment in (
        ("in-length", -1, "inside the length of the stored context"),
        ("before-first-byte", 0, "before the stored context"),
        ("inside", 30, "inside the stored context"),
    ):
        draft = Draft(f"truncated-stored-context-{name}", store=True)
        data = draft.encode()[: draft.body_at() + 64 + 2 + length]
        yield draft.fails(Kind.MALFORMED, f"The bytes end {comment}.", data=data)

    chunk = CHUNK + 16
    for name, kind, length, comment in (
        ("in-first-of-three", Kind.CANNOT_OPEN, 500, "The bytes end inside the first chunk"),
        ("after-first-of-three", Kind.CANNOT_OPEN, chunk, "Only the first chunk is left"),
        (
            "one-byte-into-second",
            Kind.MALFORMED,
            chunk + 1,
            "One byte is left after the first chunk",
        ),
        (
            "15-bytes-into-second",
            Kind.MALFORMED,
            chunk + 15,
            "A final chunk shorter than a tag is left",
        ),
        (
            "16-bytes-into-second",
            Kind.MALFORMED,
            chunk + 16,
            "A final chunk as long as a tag is left",
        ),
        (
            "17-bytes-into-second",
            Kind.CANNOT_OPEN,
            chunk + 17,
            "One byte more than a tag is left of the second chunk",
        ),
        ("in-second-tag", Kind.CANNOT_OPEN, 2 * chunk - 1, "The bytes end inside the second tag"),
        ("after-second-of-three", Kind.CANNOT_OPEN, 2 * chunk, "The final chunk is missing"),
        (
            "in-final-chunk",
            Kind.CANNOT_OPEN,
            2 * chunk + 500,
            "The bytes end inside the final chunk",
        ),
        (
            "in-final-tag",
            Kind.CANNOT_OPEN,
            3000 + 3 * 16 - 1,
            "The bytes end one short of the end of the final tag",
        ),
    ):
        draft = Draft(f"truncated-{name}", 3000)
        data = draft.encode()[: draft.chunks_at() + length]
        yield draft.fails(kind, f"{comment}.", data=data)


def trailing_bytes() -> Iterator[Case]:
    for name, size, extra, kind, comment in (
        ("one", 40, bytes(1), Kind.CANNOT_OPEN, "One byte follows the only chunk"),
        ("tag", 40, bytes(16), Kind.CANNOT_OPEN, "Sixteen bytes follow the only chunk"),
        ("one-after-full", CHUNK, bytes(1), Kind.MALFORMED, "One byte follows a full chunk"),
        (
            "17-after-full",
            CHUNK,
            bytes(17),
            Kind.CANNOT_OPEN,
            "Seventeen bytes follow the only chunk, which is full",
        ),
        ("one-after-three", 3000, bytes(1), Kind.CANNOT_OPEN, "One byte follows the final chunk"),
        (
            "tag-after-two-full",
            2 * CHUNK,
            bytes(16),
            Kind.MALFORMED,
            "Sixteen bytes follow a full final chunk",
        ),
        (
            "17-after-two-full",
            2 * CHUNK,
            bytes(17),
            Kind.CANNOT_OPEN,
            "Seventeen bytes follow a full final chunk",
        ),
    ):
        draft = Draft(f"trailing-bytes-{name}", size)
        yield draft.fails(kind, f"{comment}.", data=draft.encode() + extra)
    draft = Draft("trailing-bytes-second-envelope")
    yield draft.fails(
        Kind.CANNOT_OPEN, "The envelope is there twice.", data=draft.encode() + draft.encode()
    )


# --- Chunks --------------------------------------------------------------------------


def moved_chunks() -> Iterator[Case]:
    for name, order, comment in (
        ("swapped", (1, 0, 2), "The first two chunks are swapped"),
        ("final-missing", (0, 1), "The final chunk is missing"),
        ("first-dropped", (1, 2), "The first chunk is missing"),
        ("middle-dropped", (0, 2), "The middle chunk is missing"),
        ("all-but-final-dropped", (2,), "Only the final chunk is left"),
        ("duplicated", (0, 0, 2), "The first chunk stands in place of the second as well"),
        ("repeated", (0, 0, 1, 2), "The first chunk is there twice"),
        ("middle-repeated", (0, 1, 1, 2), "The middle chunk is there twice"),
        ("final-repeated", (0, 1, 2, 2), "The final chunk is there twice"),
        ("final-in-front", (2, 0, 1), "The final chunk stands first"),
        ("shifted", (1, 2, 0), "Every chunk moved one place to the front"),
    ):
        # Full chunks only, so that the length gives none of these away.
        draft = Draft(f"chunk-{name}", 3 * CHUNK)
        draft.chunks = [draft.chunks[i] for i in order]
        yield draft.fails(Kind.CANNOT_OPEN, f"{comment}.")
    draft = Draft("chunk-swapped-under-chacha", 3 * CHUNK, suite=2)
    draft.chunks = [draft.chunks[i] for i in (1, 0, 2)]
    yield draft.fails(Kind.CANNOT_OPEN, "The first two chunks are swapped.")

    draft = Draft("chunk-first-dropped-nonce-counted-up", 3 * CHUNK)
    draft.chunks = draft.chunks[1:]
    draft.nonce = (int.from_bytes(draft.nonce, "big") + 1).to_bytes(12, "big")
    yield draft.fails(
        Kind.CANNOT_OPEN, "The first chunk is missing, and the message nonce is one higher."
    )
    draft = Draft("chunk-first-dropped-nonce-xored", 3 * CHUNK)
    draft.chunks = draft.chunks[1:]
    draft.nonce = flip(draft.nonce, 10, 0x01)
    yield draft.fails(
        Kind.CANNOT_OPEN, "The first chunk is missing, and the nonce has the counter's difference."
    )
    draft = Draft("chunk-final-alone-under-its-nonce", 3 * CHUNK)
    draft.chunks = draft.chunks[2:]
    draft.nonce = wax.chunk_nonce(2, last=True)
    yield draft.fails(
        Kind.CANNOT_OPEN, "Only the final chunk is left, with its chunk nonce as message nonce."
    )
    for i in range(3):
        draft = Draft(f"chunk-{i}-tag-bit-flipped", 3000)
        draft.chunks[i] = flip(draft.chunks[i], -1)
        yield draft.fails(Kind.CANNOT_OPEN, f"One bit of the tag of chunk {i} of 3 differs.")
    draft = Draft("chunk-only-bit-flipped")
    draft.chunks[0] = flip(draft.chunks[0], 0, 0x80)
    yield draft.fails(Kind.CANNOT_OPEN, "One bit of the only chunk differs.")
    draft = Draft("chunk-empty-message-tag-flipped", 0)
    draft.chunks[0] = flip(draft.chunks[0], 15)
    yield draft.fails(Kind.CANNOT_OPEN, "One bit of the tag of an empty message differs.")


def misbuilt_chunks() -> Iterator[Case]:
    """Messages by a writer who has the DEK and does not keep to the rules."""
    for count in (1, 2):
        draft = Draft(f"chunk-empty-final-after-{count}-full", count * CHUNK)
        draft.seal_pieces([*wax.cut(draft.plaintext, 10), b""])
        yield draft.fails(Kind.MALFORMED, "An authentic, empty final chunk follows a full one.")
    draft = Draft("single-chunk-under-message-key")
    draft.seal_pieces(key=draft.message_key)
    yield draft.fails(Kind.CANNOT_OPEN, "The only chunk is sealed under the message key.")
    draft = Draft("single-chunk-in-multi-style")
    draft.seal_pieces(key=draft.message_key, nonces=[wax.chunk_nonce(0, last=True)])
    yield draft.fails(
        Kind.CANNOT_OPEN, "The only chunk is sealed under message key and chunk nonce."
    )
    draft = Draft("single-chunk-under-chunk-nonce")
    draft.seal_pieces(nonces=[wax.chunk_nonce(0, last=True)])
    yield draft.fails(Kind.CANNOT_OPEN, "The only chunk is sealed under a chunk nonce.")
    draft = Draft("single-chunk-too-long", CHUNK + 17)
    draft.seal_pieces([draft.plaintext])
    yield draft.fails(Kind.CANNOT_OPEN, "One chunk is sealed with more than the chunk size.")
    draft = Draft("multi-chunk-under-session-key", 3000)
    draft.seal_pieces(key=draft.session_key)
    yield draft.fails(Kind.CANNOT_OPEN, "Several chunks are sealed under the session key.")
    draft = Draft("multi-chunk-under-dek", 3000)
    draft.seal_pieces(key=draft.dek)
    yield draft.fails(Kind.CANNOT_OPEN, "Several chunks are sealed under the DEK.")
    draft = Draft("multi-chunk-first-in-single-style", 3000)
    pieces = wax.cut(draft.plaintext, 10)
    draft.seal_pieces()
    rest = draft.chunks[1:]
    draft.seal_pieces(pieces[:1])
    draft.chunks += rest
    yield draft.fails(
        Kind.CANNOT_OPEN, "The first of several chunks is sealed as if it were the only one."
    )

    def nonces(*pairs: tuple[int, bool]) -> list[bytes]:
        return [wax.chunk_nonce(index, last) for index, last in pairs]

    yes, no = True, False
    little = [bytes(3) + i.to_bytes(8, "little") + u8(i == 2) for i in range(3)]
    front = [u8(i == 2) + bytes(3) + i.to_bytes(8, "big") for i in range(3)]
    last_ff = [*nonces((0, no), (1, no)), wax.chunk_nonce(2, no)[:-1] + b"\xff"]
    for name, given, comment in (
        ("last-flag-missing", nonces((0, no), (1, no), (2, no)), "No chunk is marked as the last"),
        ("last-flag-early", nonces((0, no), (1, yes), (2, yes)), "Two chunks are marked as last"),
        ("last-flag-on-first", nonces((0, yes), (1, no), (2, no)), "The first is marked as last"),
        ("last-flag-ff", last_ff, "The mark of the last chunk is 0xff instead of 1"),
        ("last-flag-in-front", front, "The mark of the last chunk stands first in the nonce"),
        ("counter-from-one", nonces((1, no), (2, no), (3, yes)), "The chunks count from 1"),
        ("counter-little-endian", little, "The counter of the chunks is little-endian"),
        ("counter-skips", nonces((0, no), (2, no), (3, yes)), "The counter skips a number"),
    ):
        draft = Draft(f"chunk-{name}", 3000)
        draft.seal_pieces(nonces=given)
        yield draft.fails(Kind.CANNOT_OPEN, f"{comment}.")
    draft = Draft("chunk-short-before-the-last", 3000)
    whole = draft.plaintext
    draft.seal_pieces([whole[:1000], whole[1000:2024], whole[2024:]])
    yield draft.fails(Kind.CANNOT_OPEN, "The first chunk is shorter than the chunk size.")


def spliced() -> Iterator[Case]:
    """Parts of two envelopes in one."""

    def pair(name: str, size: int = 40) -> tuple[Draft, Draft]:
        first = Draft(name, size)
        return first, Draft(f"{name}, the other envelope", size, kek=first.kek)

    def same_session(name: str, size: int) -> tuple[Draft, Draft]:
        first, second = pair(name, size)
        second.dek, second.head = first.dek, first.head
        second.session_key, second.commitment = first.session_key, first.commitment
        second.message_key = wax.derive_message_key(
            second.dek, second.head, second.nonce, second.digest
        )
        return first, second

    first, other = pair("body-of-another-envelope")
    yield first.fails(
        Kind.CANNOT_OPEN,
        "The whole body is that of another envelope under the same KEK.",
        data=first.before_section() + first.section() + other.body(),
    )
    first, other = pair("wraps-of-another-envelope", 3000)
    yield first.fails(
        Kind.CANNOT_OPEN,
        "The wrap section is that of another envelope under the same KEK.",
        data=other.before_section() + other.section() + first.body(),
    )
    for part in ("commitment", "nonce", "chunks"):
        first, other = pair(f"{part}-of-another-envelope")
        setattr(first, part, getattr(other, part))
        plural = "are those" if part == "chunks" else "is that"
        yield first.fails(Kind.CANNOT_OPEN, f"The {part} {plural} of another envelope.")
    first, other = pair("head-of-another-envelope")
    first.head = other.head
    yield first.fails(Kind.CANNOT_OPEN, "The session id is that of another envelope.")

    first, other = same_session("chunk-of-another-message-of-the-session", 3 * CHUNK)
    other.seal_pieces()
    first.chunks[1] = other.chunks[1]
    yield first.fails(
        Kind.CANNOT_OPEN, "The middle chunk is that of another message of the same session."
    )
    first, other = same_session("chunks-of-another-message-of-the-session", 40)
    other.seal_pieces()
    first.chunks = other.chunks
    yield first.fails(
        Kind.CANNOT_OPEN, "The chunk is that of another message of the session, without its nonce."
    )
    first, other = same_session("message-of-the-session-with-another-aad", 40)
    other.aad = b"invoice 8"
    other.seal_pieces()
    first.nonce, first.chunks = other.nonce, other.chunks
    yield first.fails(
        Kind.CANNOT_OPEN, "Nonce and chunk are those of another row sealed in the same session."
    )


# --- The wrap section ----------------------------------------------------------------


def good_stanzas() -> Iterator[Case]:
    draft = Draft("kek-id-hidden-opens")
    draft.stanzas = [draft.wrap(hide_id=True)]
    yield draft.ok("The writer hid the KEK id.")
    draft = Draft("kek-id-hidden-second-kek-opens")
    draft.stanzas = [draft.wrap(hide_id=True)]
    draft.keys.insert(0, ("kek", draft.random(32).hex()))
    yield draft.ok("The KEK id is hidden, and the second of two configured KEKs is the one.")
    draft = Draft("stanza-hidden-of-another-kek-in-front-opens")
    draft.stanzas = [draft.wrap(kek=draft.random(32), hide_id=True), draft.wrap(hide_id=True)]
    yield draft.ok("Two stanzas hide their KEK id, and the second is for the configured KEK.")

    for name, stanza, comment in (
        ("private-algorithm", unknown_stanza(), "A stanza of a private-use algorithm"),
        ("algorithm-0", unknown_stanza(0), "A stanza of algorithm 0"),
        (
            "algorithm-255",
            unknown_stanza(255, provider=b"a-9", version=b"", wrapped=b"\0"),
            "A stanza of algorithm 255",
        ),
        (
            "aws-kms",
            unknown_stanza(
                16,
                provider=b"aws-kms",
                kek_id=b"arn:aws:kms:eu-central-1:111122223333:key/example",
                version=b"",
                wrapped=bytes(184),
            ),
            "A stanza of a KMS that is not configured",
        ),
        (
            "longest-provider",
            unknown_stanza(provider=b"p" * 32),
            "A stanza of a provider of 32 bytes",
        ),
        (
            "non-ascii-names",
            unknown_stanza(kek_id="schl\u00fcssel \U0001f511".encode(), version="\u0968".encode()),
            "A stanza whose id and version are not ASCII",
        ),
        (
            "invisible-names",
            unknown_stanza(kek_id="key\u00a01\u200d".encode(), version="\u2028".encode()),
            "A stanza whose names have invisible characters, but no control character,",
        ),
    ):
        draft = Draft(f"stanza-unknown-{name}-in-front-opens")
        draft.stanzas.insert(0, stanza)
        yield draft.ok(f"{comment} is passed over.")
    draft = Draft("stanza-of-another-kek-in-front-opens")
    draft.stanzas.insert(0, draft.wrap(kek=draft.random(32)))
    yield draft.ok("A stanza of a KEK that is not configured is passed over.")
    draft = Draft("stanza-planted-in-front-opens", 3000)
    draft.stanzas.insert(0, draft.wrap(draft.random(32)))
    yield draft.ok("A stanza in front unwraps under the same KEK, but to another DEK.")
    draft = Draft("stanza-planted-behind-opens")
    draft.stanzas.append(draft.wrap(draft.random(32)))
    yield draft.ok("A stanza behind unwraps under the same KEK, but to another DEK.")
    draft = Draft("stanza-broken-in-front-opens")
    broken = draft.wrap()
    draft.stanzas.insert(0, replace(broken, wrapped=flip(broken.wrapped, 30)))
    yield draft.ok("A stanza in front is for the configured KEK, and does not unwrap.")
    draft = Draft("stanza-of-another-context-in-front-opens")
    other = wax.context_digest(wax.canonical_context(OTHER_CONTEXT))
    draft.stanzas.insert(0, draft.wrap(digest=other))
    yield draft.ok("A stanza in front wraps the DEK for another context.")
    draft = Draft("stanza-16th-of-16-opens")
    planted = [draft.wrap(draft.random(32)) for _ in range(15)]
    draft.stanzas = planted + draft.stanzas
    yield draft.ok("Fifteen planted stanzas stand before the one that opens.")
    for length in (1, 300):
        draft = Draft(f"padding-of-{length}-opens")
        draft.padding = bytes(length)
        yield draft.ok(f"The wrap section ends in {length} zeros of padding.")


def bad_stanzas() -> Iterator[Case]:
    draft = Draft("kek-wrong-under-same-id")
    other = wax.LocalKek(draft.random(32)).wrap(draft.dek, draft.digest, draft.random)
    draft.stanzas = [replace(other, kek_id=draft.stanzas[0].kek_id)]
    yield draft.fails(
        Kind.CANNOT_OPEN, "The stanza names the configured KEK, but wraps by another."
    )
    draft = Draft("kek-not-configured")
    draft.keys = [("kek", draft.random(32).hex())]
    yield draft.fails(Kind.NO_USABLE_KEY, "The configured KEK is not the one the stanza names.")
    draft = Draft("kek-wrong-id-hidden")
    draft.stanzas = [draft.wrap(hide_id=True)]
    draft.keys = [("kek", draft.random(32).hex())]
    yield draft.fails(Kind.CANNOT_OPEN, "The id is hidden, and the configured KEK is another one.")
    draft = Draft("stanza-unknown-only")
    draft.stanzas = [unknown_stanza(), unknown_stanza(255)]
    yield draft.fails(Kind.NO_USABLE_KEY, "Every stanza is of an unknown algorithm.")
    draft = Draft("stanza-of-another-provider")
    draft.stanzas = [replace(draft.stanzas[0], provider=b"localhost")]
    yield draft.fails(Kind.NO_USABLE_KEY, "A good wrap stands under a provider not configured.")
    draft = Draft("stanza-hidden-id-of-another-provider")
    draft.stanzas = [replace(draft.wrap(hide_id=True), provider=b"localhost")]
    yield draft.fails(
        Kind.NO_USABLE_KEY, "A good wrap with a hidden id stands under a provider not configured."
    )
    draft = Draft("stanza-of-another-algorithm")
    draft.stanzas = [replace(draft.stanzas[0], algorithm=PRIVATE_ALGORITHM)]
    yield draft.fails(Kind.NO_USABLE_KEY, "A good wrap claims an algorithm not configured.")
    draft = Draft("stanza-planted-only")
    draft.stanzas = [draft.wrap(draft.random(32)) for _ in range(3)]
    yield draft.fails(Kind.CANNOT_OPEN, "Every stanza unwraps, and each to a wrong DEK.")

    for name, at in (("nonce-front", 0), ("nonce-back", 23), ("ciphertext", 24), ("tag", 71)):
        draft = Draft(f"wrap-{name}-bit-flipped")
        stanza = draft.stanzas[0]
        draft.stanzas = [replace(stanza, wrapped=flip(stanza.wrapped, at))]
        yield draft.fails(Kind.CANNOT_OPEN, "One bit of the wrap differs.")
    draft = Draft("wrap-of-another-context")
    other_digest = wax.context_digest(wax.canonical_context(OTHER_CONTEXT))
    draft.stanzas = [draft.wrap(digest=other_digest)]
    yield draft.fails(Kind.CANNOT_OPEN, "The DEK is wrapped for another context.")
    for name, aad, comment in (
        ("without-aad", lambda d: b"", "no AAD"),
        ("aad-without-label", lambda d: d.digest, "an AAD that lacks its label"),
        ("aad-is-canonical", lambda d: b"waxseal v1 wrap" + wax.canonical_context(CONTEXT),
         "the canonical context in place of its digest"),
    ):  # fmt: skip
        draft = Draft(f"wrap-{name}")
        nonce = draft.random(24)
        box = wax.xaes_seal(draft.kek, nonce, draft.dek, aad(draft))
        draft.stanzas = [replace(draft.stanzas[0], wrapped=nonce + box)]
        yield draft.fails(Kind.CANNOT_OPEN, f"The DEK is wrapped with {comment}.")

    for length in (1, 71, 73):
        draft = Draft(f"wrapped-of-{length}-bytes")
        stanza = draft.stanzas[0]
        draft.stanzas = [replace(stanza, wrapped=(stanza.wrapped + b"\0")[:length])]
        yield draft.fails(Kind.MALFORMED, f"A wrap of algorithm 1 has {length} bytes, not 72.")
    draft = Draft("wrapped-of-73-bytes-beside-good")
    draft.stanzas.insert(0, replace(draft.stanzas[0], wrapped=bytes(73)))
    yield draft.fails(Kind.MALFORMED, "A wrap of the wrong length stands before a good one.")

    for name, kind, stanza, comment in (
        ("wrapped-empty", Kind.MALFORMED, unknown_stanza(wrapped=b""), "A wrapped key is empty"),
        (
            "wrapped-of-16385-bytes",
            Kind.OVER_LIMIT,
            unknown_stanza(wrapped=bytes(16_385)),
            "A wrapped key is longer than 16384 bytes",
        ),
        ("provider-empty", Kind.MALFORMED, unknown_stanza(provider=b""), "A provider is empty"),
        (
            "provider-of-33-bytes",
            Kind.OVER_LIMIT,
            unknown_stanza(provider=b"p" * 33),
            "A provider is longer than 32 bytes",
        ),
        (
            "provider-upper-case",
            Kind.MALFORMED,
            unknown_stanza(provider=b"Local"),
            "A provider has an upper-case letter",
        ),
        (
            "provider-underscore",
            Kind.MALFORMED,
            unknown_stanza(provider=b"aws_kms"),
            "A provider has an underscore",
        ),
        (
            "provider-not-ascii",
            Kind.MALFORMED,
            unknown_stanza(provider="\u00e9".encode()),
            "A provider is not ASCII",
        ),
        (
            "kek-id-of-2049-bytes",
            Kind.OVER_LIMIT,
            unknown_stanza(kek_id=b"i" * 2049),
            "A KEK id is longer than 2048 bytes",
        ),
        (
            "kek-id-newline",
            Kind.MALFORMED,
            unknown_stanza(kek_id=b"key\n1"),
            "A KEK id has a control character",
        ),
        (
            "kek-id-nul",
            Kind.MALFORMED,
            unknown_stanza(kek_id=b"\0"),
            "A KEK id has a control character",
        ),
        (
            "kek-id-delete",
            Kind.MALFORMED,
            unknown_stanza(kek_id=b"key\x7f"),
            "A KEK id has the control character U+007F",
        ),
        (
            "kek-id-not-utf8",
            Kind.MALFORMED,
            unknown_stanza(kek_id=b"\xc0\x80"),
            "A KEK id is not UTF-8",
        ),
        (
            "kek-version-c1-control",
            Kind.MALFORMED,
            unknown_stanza(version="\u0085".encode()),
            "A KEK version has the control character U+0085",
        ),
        (
            "kek-version-not-utf8",
            Kind.MALFORMED,
            unknown_stanza(version=b"1\xff"),
            "A KEK version is not UTF-8",
        ),
    ):
        draft = Draft(f"stanza-{name}")
        draft.stanzas.append(stanza)
        yield draft.fails(kind, f"{comment}, in a stanza behind a good one.")


def wrap_sections() -> Iterator[Case]:
    for name, threshold, count, share, comment in (
        ("threshold-0", 0, 1, 0, "The threshold is 0"),
        ("threshold-0-with-share-index", 0, 1, 1, "The threshold is 0, and a share index is set"),
        ("threshold-above-count", 2, 1, 1, "The threshold is 2 of 1"),
        ("count-0", 1, 0, 0, "The wrap section counts no stanza, and one follows"),
        ("count-too-high", 1, 2, 0, "The wrap section counts a stanza that is not there"),
    ):
        draft = Draft(f"wrap-section-{name}")
        draft.stanzas = [replace(draft.stanzas[0], share=share)]
        draft.threshold, draft.count = threshold, count
        yield draft.fails(Kind.MALFORMED, f"{comment}.")
    for threshold in (0, 1):
        draft = Draft(f"wrap-section-without-stanzas-threshold-{threshold}")
        draft.threshold, draft.stanzas = threshold, []
        yield draft.fails(Kind.MALFORMED, f"There is no stanza, and the threshold is {threshold}.")
    draft = Draft("wrap-section-count-too-low")
    draft.stanzas, draft.count = [*draft.stanzas, unknown_stanza()], 1
    yield draft.fails(Kind.MALFORMED, "A stanza that is not counted stands as padding.")
    draft = Draft("wrap-section-count-17")
    draft.stanzas *= 17
    yield draft.fails(Kind.OVER_LIMIT, "The wrap section has 17 stanzas.")
    for name, padding, comment in (
        ("first", b"\x01" + bytes(9), "first"),
        ("last", bytes(9) + b"\x80", "last"),
    ):
        draft = Draft(f"padding-{name}-byte-not-zero")
        draft.padding = padding
        yield draft.fails(Kind.MALFORMED, f"The {comment} byte of the padding is not zero.")

    # Offsets in a section of one local stanza, whose id has 22 bytes.
    for name, end, comment in (
        ("is-empty", 0, "is empty"),
        ("ends-after-threshold", 1, "ends after the threshold"),
        ("ends-after-count", 2, "ends after the count"),
        ("ends-after-algorithm", 3, "ends after the wrap algorithm"),
        ("ends-after-share-index", 4, "ends after the share index"),
        ("ends-in-provider", 9, "ends inside the provider"),
        ("ends-in-kek-id-length", 11, "ends inside the length of the KEK id"),
        ("ends-in-kek-id", 33, "ends inside the KEK id"),
        ("ends-before-version-length", 34, "ends before the length of the KEK version"),
        ("ends-in-wrapped-length", 36, "ends inside the length of the wrapped key"),
        ("ends-in-wrapped", 108, "ends inside the wrapped key"),
    ):
        draft = Draft(f"wrap-section-{name}")
        draft.section_override = draft.section()[:end]
        yield draft.fails(Kind.MALFORMED, f"The wrap section {comment}, and the body follows.")
    draft = Draft("wrap-section-ends-in-version")
    draft.stanzas = [unknown_stanza(version=b"12")]
    draft.section_override = draft.section()[: 2 + 2 + 12 + 7 + 1 + 1]
    yield draft.fails(
        Kind.MALFORMED, "The wrap section ends inside the KEK version, and the body follows."
    )
    for length in (wax.MAX_WRAP_SECTION + 1, 2**24 - 1):
        draft = Draft(f"wrap-section-of-{length}-bytes")
        data = draft.encode()
        yield draft.fails(
            Kind.OVER_LIMIT,
            f"The wrap section claims {length} bytes, of which few are there.",
            data=data[:5] + u24(length) + data[8:],
        )
    for change, name in ((1, "long"), (-1, "short")):
        draft = Draft(f"wrap-section-length-one-too-{name}", 3000)
        data = draft.encode()
        yield draft.fails(
            Kind.MALFORMED,
            f"The length of the wrap section is one byte too {name}.",
            data=data[:5] + u24(len(draft.section()) + change) + data[8:],
        )


def shares() -> Iterator[Case]:
    for name, index in (("1", 1), ("255", 255)):
        draft = Draft(f"share-index-{name}-under-threshold-1")
        draft.stanzas = [replace(draft.stanzas[0], share=index)]
        yield draft.fails(Kind.MALFORMED, f"The share index is {index} under threshold 1.")
    draft = Draft("share-index-1-beside-good")
    draft.stanzas.append(unknown_stanza(share=1))
    yield draft.fails(Kind.MALFORMED, "A second stanza has share index 1 under threshold 1.")

    draft = split_draft("threshold-2-of-3", (1, 2, 3))
    yield draft.fails(
        Kind.UNSUPPORTED,
        "A good threshold of 2 of 3, which a reader without shares parses and refuses.",
    )
    for name, indexes, comment in (
        ("index-0", (0, 1, 2), "A share has index 0, where the secret stands"),
        ("index-twice", (1, 2, 2), "Two shares have the same index"),
    ):
        draft = split_draft(f"threshold-2-of-3-{name}", indexes)
        yield draft.fails(Kind.MALFORMED, f"{comment}.")


def split_draft(name: str, indexes: tuple[int, ...]) -> Draft:
    """A draft whose DEK is shared, two of them needed, under one KEK for each share."""
    draft = Draft(name)
    slope = draft.random(32)
    draft.stanzas, draft.keys = [], []
    for index in indexes:
        share = bytes(d ^ gf_multiply(s, index) for d, s in zip(draft.dek, slope, strict=True))
        label = b"waxseal v1 share" + bytes([2, index])
        digest = hashlib.sha256(label + draft.digest).digest()
        kek = draft.random(32)
        draft.stanzas.append(replace(draft.wrap(share, kek=kek, digest=digest), share=index))
        draft.keys.append(("kek", kek.hex()))
    draft.threshold = 2
    return draft


def gf_multiply(a: int, b: int) -> int:
    """In GF(2^8) with the polynomial 0x11B."""
    product = 0
    while b:
        product ^= a if b & 1 else 0
        a = a << 1 ^ (0x11B if a & 0x80 else 0)
        b >>= 1
    return product


# --- Passphrases ---------------------------------------------------------------------


def passphrase_keys(passphrase: str, name: str, kdf: str) -> list[tuple[str, str]]:
    return [("passphrase", passphrase), ("passphrase-name", name), ("passphrase-kdf", kdf)]


def passphrases() -> Iterator[Case]:
    def draft(name: str, *keys: wax.Key, kdf: str = "pbkdf2", called: str = "passphrase") -> Draft:
        made = Draft(name)
        made.stanzas = [key.wrap(made.dek, made.digest, made.random) for key in keys]
        made.keys = passphrase_keys(PASSPHRASE, called, kdf)
        return made

    secret = PASSPHRASE.encode()
    yield draft("passphrase-pbkdf2-opens", wax.Pbkdf2Key(secret)).ok(
        "A passphrase through PBKDF2 with the fewest iterations."
    )
    unusual = "pa\u0308ssword \U0001f511"
    made = draft("passphrase-pbkdf2-named-opens", wax.Pbkdf2Key(unusual.encode(), "backup 2026"))
    made.keys = passphrase_keys(unusual, "backup 2026", "pbkdf2")
    yield made.ok("A passphrase with a name of its own; it is used as UTF-8, not normalised.")
    yield draft("passphrase-argon2id-opens", wax.Argon2idKey(secret), kdf="argon2id").ok(
        "A passphrase through Argon2id at the lowest cost."
    )
    made = draft("passphrase-two-beside-kek-opens")
    least_argon2id = u32(19_456) + u32(2) + u32(1)
    fillers = [local_wrap(made, 2, u32(600_000)), local_wrap(made, 3, least_argon2id)]
    made.stanzas = [*fillers, made.wrap()]
    made.keys = [("kek", made.kek.hex())]
    yield made.ok("Two passphrase stanzas, for which nothing is configured, are passed over.")

    made = draft("passphrase-wrong", wax.Pbkdf2Key(b"correct horse battery stable"))
    yield made.fails(Kind.CANNOT_OPEN, "The passphrase is another one.")
    made = draft("passphrase-name-not-configured", wax.Pbkdf2Key(secret), called="other")
    yield made.fails(Kind.NO_USABLE_KEY, "The passphrase is configured under another name.")
    made = draft("passphrase-of-another-kdf", wax.Pbkdf2Key(secret), kdf="argon2id")
    yield made.fails(Kind.NO_USABLE_KEY, "The passphrase is configured for Argon2id only.")
    made = draft("passphrase-iterations-changed", wax.Pbkdf2Key(secret))
    stanza = made.stanzas[0]
    made.stanzas = [replace(stanza, wrapped=u32(600_001) + stanza.wrapped[4:])]
    yield made.fails(Kind.CANNOT_OPEN, "The iterations were raised by one after wrapping.")

    # Real work where it is cheap, so that a reader without the check would open them.
    for iterations in (599_999, 1, 0, 10_000_001, 2**32 - 1):
        made = draft(f"passphrase-pbkdf2-iterations-{iterations}")
        made.stanzas = [local_wrap(made, 2, u32(iterations), work=0 < iterations < 600_000)]
        yield made.fails(Kind.OVER_LIMIT, f"PBKDF2 with {iterations} iterations is out of range.")
    for cost, work in (
        ((19_455, 2, 1), True),
        ((1_048_577, 2, 1), False),
        ((2**32 - 1, 2, 1), False),
        ((19_456, 1, 1), True),
        ((19_456, 17, 1), True),
        ((19_456, 2**32 - 1, 1), False),
        ((19_456, 2, 0), False),
        ((19_456, 2, 17), True),
    ):
        made = draft("passphrase-argon2id-cost-" + "-".join(map(str, cost)), kdf="argon2id")
        made.stanzas = [local_wrap(made, 3, b"".join(map(u32, cost)), work=work)]
        yield made.fails(
            Kind.OVER_LIMIT, f"Argon2id with memory, passes, lanes {cost} is out of range."
        )
    for algorithm, length, kdf in ((2, 91, "pbkdf2"), (2, 72, "pbkdf2"), (3, 101, "argon2id")):
        made = draft(f"passphrase-{kdf}-wrapped-of-{length}-bytes", kdf=kdf)
        cost_bytes = u32(600_000) if algorithm == 2 else least_argon2id
        stanza = local_wrap(made, algorithm, cost_bytes)
        made.stanzas = [replace(stanza, wrapped=(stanza.wrapped + b"\0")[:length])]
        yield made.fails(Kind.MALFORMED, f"A wrap of algorithm {algorithm} has {length} bytes.")
    made = draft("passphrase-three")
    made.stanzas = [local_wrap(made, 2, u32(600_000), work=True) for _ in range(3)]
    yield made.fails(Kind.OVER_LIMIT, "There are three passphrase stanzas, each of them good.")
    made = draft("passphrase-three-of-both-kdfs-beside-kek")
    made.stanzas = [made.wrap(), local_wrap(made, 2, u32(600_000)), *fillers]
    made.keys = [("kek", made.kek.hex())]
    yield made.fails(
        Kind.OVER_LIMIT, "Three passphrase stanzas of both KDFs stand behind a good stanza."
    )


def local_wrap(draft: Draft, algorithm: int, cost: bytes, *, work: bool = False) -> Stanza:
    """A passphrase stanza of any cost; without `work` it holds only bytes that look right."""
    parameters, rest = cost + draft.random(16), draft.random(72)
    if work:
        maker = {2: wax.Pbkdf2Key, 3: wax.Argon2idKey}[algorithm]
        kek = maker(PASSPHRASE.encode()).kek(parameters)
        nonce = rest[:24]
        rest = nonce + wax.xaes_seal(kek, nonce, draft.dek, wax.wrap_aad(draft.digest))
    return Stanza(algorithm, 0, b"local", b"passphrase", b"", parameters + rest)


def all_cases() -> list[Case]:
    groups = (
        sizes, aads, contexts, stored_contexts, fixed_fields, detached, truncations,
        trailing_bytes, moved_chunks, misbuilt_chunks, spliced, good_stanzas, bad_stanzas,
        wrap_sections, shares, passphrases,
    )  # fmt: skip
    cases = sorted((case for group in groups for case in group()), key=lambda case: case.name)
    names = [case.name for case in cases]
    assert len(set(names)) == len(names), "two cases have one name"
    return cases


def main() -> int:
    cases = all_cases()
    FOLDER.mkdir(exist_ok=True)
    for stale in FOLDER.glob("*.txt"):
        stale.unlink()
    for case in cases:
        (FOLDER / f"{case.name}.txt").write_text(case.text(), encoding="utf-8")
    failures = sum(case.expect != "ok" for case in cases)
    print(f"{len(cases)} cases, {failures} of them failures")
    return 0


if __name__ == "__main__":
    sys.exit(main())
