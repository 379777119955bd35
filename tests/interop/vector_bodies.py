# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Cases about the body: sizes, AAD, context, fixed fields, lengths and chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import waxseal_reader as wax
from vector_draft import (
    AAD,
    CHUNK,
    CONTEXT,
    OTHER_CONTEXT,
    THREE,
    TWO,
    Case,
    Draft,
    flip,
    raw_context,
)
from waxseal_reader import Kind, lv16, u8, u16


# --- Envelopes that open -------------------------------------------------------------


def sizes() -> Iterator[Case]:
    for suite, cipher, lengths in (
        (1, "aes", (0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, THREE)),
        (2, "chacha", (0, CHUNK + 1)),
    ):
        for size in lengths:
            draft = Draft(f"size-{cipher}-{size:04}", size, suite=suite)
            chunks = len(draft.chunks)
            plural = "" if chunks == 1 else "s"
            yield draft.ok(f"{size} bytes in {chunks} chunk{plural} under suite {suite}.")
    for suite, exponent, size in ((1, 16, 100), (2, 24, 5)):
        draft = Draft(f"exponent-{exponent}-suite-{suite}", size, suite=suite, exponent=exponent)
        yield draft.ok(f"Chunk exponent {exponent} with {size} bytes under suite {suite}.")


def aads() -> Iterator[Case]:
    yield Draft("aad-none", aad=b"").ok("Sealed with an empty AAD.")
    for size, name in ((40, "single"), (TWO, "multi")):
        draft = Draft(f"aad-wrong-{name}", size)
        yield draft.fails(Kind.CANNOT_OPEN, "The AAD is that of another row.", aad=b"invoice 8")
    draft = Draft("aad-missing")
    yield draft.fails(Kind.CANNOT_OPEN, "No AAD is given to the reader.", aad=b"")
    draft = Draft("aad-not-expected", aad=b"")
    yield draft.fails(Kind.CANNOT_OPEN, "An AAD is given where none was sealed with.", aad=AAD)
    draft = Draft("aad-on-first-chunk-only", TWO)
    draft.seal_pieces(aads=[AAD, b""])
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
        ("missing", (), "The empty context is given instead of the one sealed with."),
    ):
        draft = Draft(f"context-{name}")
        yield draft.fails(Kind.CANNOT_OPEN, comment, context=given)
    draft = Draft("context-boundary-moved", context=(("ab", "c"),))
    yield draft.fails(
        Kind.CANNOT_OPEN,
        "Key and value join to the same text, but split elsewhere.",
        context=(("a", "bc"),),
    )
    draft = Draft("context-is-not-normalized", context=(("caf\u00e9", "1"),))
    yield draft.fails(
        Kind.CANNOT_OPEN,
        "The key given is another Unicode normal form of the one sealed with.",
        context=(("cafe\u0301", "1"),),
    )


def stored_contexts() -> Iterator[Case]:
    yield Draft("stored-context-opens", store=True).ok("The context is stored.")
    yield Draft("stored-context-multi-chunk", TWO, store=True, suite=2).ok(
        "The context is stored in a message of several chunks."
    )
    yield Draft("stored-context-empty", store=True, context=()).ok("The empty context is stored.")

    yield Draft("stored-context-of-another-digest", store=True).fails(
        Kind.CONTEXT_MISMATCH, "The context in use is not the stored one.", context=OTHER_CONTEXT
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
            "empty-key",
            Kind.MALFORMED,
            raw_context([(b"", b"x"), table, tenant]),
            "has an empty key",
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
        (
            "of-65-pairs",
            Kind.OVER_LIMIT,
            raw_context([(b"k%02d" % i, b"") for i in range(65)]),
            "has 65 pairs",
        ),
    ):
        draft = Draft(f"stored-context-{name}", store=True)
        draft.stored = lv16(stored)
        yield draft.fails(kind, f"The stored context {comment}.")
    draft = Draft("stored-context-of-8193-bytes", store=True)
    draft.stored = u16(wax.MAX_CONTEXT + 1) + raw_context([table, tenant])
    yield draft.fails(
        Kind.OVER_LIMIT, "The stored context claims 8193 bytes, of which few are there."
    )


# --- The fixed fields ----------------------------------------------------------------


def fixed_fields() -> Iterator[Case]:
    draft = Draft("magic-wrong")
    draft.magic = b"WAY\x01"
    yield draft.fails(Kind.MALFORMED, "The magic is not that of an envelope.")
    draft = Draft("version-2")
    draft.magic = b"WAX\x02"
    yield draft.fails(Kind.UNSUPPORTED_VERSION, "The format version is 2.")
    draft = Draft("kind-3")
    draft.kind = 3
    yield draft.fails(Kind.UNSUPPORTED, "No kind 3 is known.")
    for suite in (0, 3):
        draft = Draft(f"suite-{suite}", suite=suite)
        yield draft.fails(Kind.UNSUPPORTED, f"No suite {suite} is known.")
    for exponent in (9, 25):
        # Sealed as one chunk, of which only the range check can disapprove.
        draft = Draft(f"exponent-{exponent}", size=1, exponent=exponent)
        yield draft.fails(Kind.UNSUPPORTED, f"The chunk exponent is {exponent}.")
    draft = Draft("flags-80", flags=0x80)
    yield draft.fails(Kind.UNSUPPORTED, "The flags are 0x80, of which none is known.")
    draft = Draft("flags-unknown-beside-known", flags=0x02, store=True)
    yield draft.fails(
        Kind.UNSUPPORTED, "An unknown flag is set beside the one of a stored context."
    )
    draft = Draft("zero-byte-01", zero=0x01)
    yield draft.fails(Kind.MALFORMED, "The byte that must be zero is 0x01.")

    for name, at, mask, size, comment in (
        ("suite-swapped", 0, 0x03, 40, "The suite was changed from 1 to 2 after sealing."),
        ("exponent-changed", 1, 0x01, 40, "The chunk exponent was changed from 10 to 11."),
        ("session-id-bit-flipped", 4, 0x80, 40, "One bit of the session id differs."),
    ):
        draft = Draft(name, size)
        draft.head = flip(draft.head, at, mask)
        yield draft.fails(Kind.CANNOT_OPEN, comment)
    draft = Draft("commitment-bit-flipped", TWO)
    draft.commitment = flip(draft.commitment, 31)
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
    for size, form in ((40, "single"), (TWO, "multi")):
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
    yield draft("detached-multi-chunk", TWO, suite=2).ok(
        "A detached envelope of several chunks, opened with its DEK."
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
    yield draft("detached-id-of-17-bytes", dek_id=17).fails(
        Kind.MALFORMED, "The DEK id has 17 bytes, not 16."
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
        ("in-wrap-length", lambda d: 7, "The bytes end inside the length of the wrap section"),
        ("in-wrap-section", lambda d: 60, "The bytes end inside the wrap section"),
        ("after-wrap-section", lambda d: d.body_at(), "The bytes end after the wrap section"),
        ("in-commitment", lambda d: d.body_at() + 51, "The bytes end inside the commitment"),
        ("before-chunks", lambda d: d.chunks_at(), "There is no chunk"),
        ("to-15-chunk-bytes", lambda d: d.chunks_at() + 15, "The chunk is shorter than a tag"),
    ]
    for name, where, comment in single:
        draft = Draft(f"truncated-{name}")
        yield draft.fails(Kind.MALFORMED, f"{comment}.", data=draft.encode()[: where(draft)])
    for name, length, comment in (
        ("to-16-chunk-bytes", 16, "The chunk is cut to 16 bytes, as if of an empty plaintext"),
        ("in-only-tag", 40 + 15, "The bytes end one short of the end of the only tag"),
    ):
        draft = Draft(f"truncated-{name}")
        data = draft.encode()[: draft.chunks_at() + length]
        yield draft.fails(Kind.CANNOT_OPEN, f"{comment}.", data=data)

    for name, length, comment in (
        ("in-length", -1, "inside the length of the stored context"),
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
            "16-bytes-into-second",
            Kind.MALFORMED,
            chunk + 16,
            "A final chunk as long as a tag is left",
        ),
        ("after-second-of-three", Kind.CANNOT_OPEN, 2 * chunk, "The final chunk is missing"),
        (
            "in-final-tag",
            Kind.CANNOT_OPEN,
            THREE + 3 * 16 - 1,
            "The bytes end one short of the end of the final tag",
        ),
    ):
        draft = Draft(f"truncated-{name}", THREE)
        data = draft.encode()[: draft.chunks_at() + length]
        yield draft.fails(kind, f"{comment}.", data=data)


def trailing_bytes() -> Iterator[Case]:
    for name, size, extra, kind, comment in (
        ("one", 40, bytes(1), Kind.CANNOT_OPEN, "One byte follows the only chunk"),
        ("one-after-full", CHUNK, bytes(1), Kind.MALFORMED, "One byte follows a full chunk"),
        ("one-after-two", TWO, bytes(1), Kind.CANNOT_OPEN, "One byte follows the final chunk"),
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
        ("duplicated", (0, 0, 2), "The first chunk stands in place of the second as well"),
        ("shifted", (1, 2, 0), "Every chunk moved one place to the front"),
    ):
        # Full chunks only, so that the length gives none of these away.
        draft = Draft(f"chunk-{name}", 3 * CHUNK)
        draft.chunks = [draft.chunks[i] for i in order]
        yield draft.fails(Kind.CANNOT_OPEN, f"{comment}.")
    draft = Draft("chunk-final-repeated", 2 * CHUNK)
    draft.chunks = [draft.chunks[i] for i in (0, 1, 1)]
    yield draft.fails(Kind.CANNOT_OPEN, "The final chunk is there twice.")

    draft = Draft("chunk-first-dropped-nonce-counted-up", 3 * CHUNK)
    draft.chunks = draft.chunks[1:]
    draft.nonce = (int.from_bytes(draft.nonce, "big") + 1).to_bytes(12, "big")
    yield draft.fails(
        Kind.CANNOT_OPEN, "The first chunk is missing, and the message nonce is one higher."
    )
    draft = Draft("chunk-final-alone-under-its-nonce", 3 * CHUNK)
    draft.chunks = draft.chunks[2:]
    draft.nonce = wax.chunk_nonce(2, last=True)
    yield draft.fails(
        Kind.CANNOT_OPEN, "Only the final chunk is left, with its chunk nonce as message nonce."
    )
    draft = Draft("chunk-tag-bit-flipped", TWO)
    draft.chunks[1] = flip(draft.chunks[1], -1)
    yield draft.fails(Kind.CANNOT_OPEN, "One bit of the tag of the final chunk differs.")
    draft = Draft("chunk-only-bit-flipped")
    draft.chunks[0] = flip(draft.chunks[0], 0, 0x80)
    yield draft.fails(Kind.CANNOT_OPEN, "One bit of the only chunk differs.")
    draft = Draft("chunk-empty-message-tag-flipped", 0)
    draft.chunks[0] = flip(draft.chunks[0], 15)
    yield draft.fails(Kind.CANNOT_OPEN, "One bit of the tag of an empty message differs.")


def misbuilt_chunks() -> Iterator[Case]:
    """Messages by a writer who has the DEK and does not keep to the rules."""
    draft = Draft("chunk-empty-final-after-full", CHUNK)
    draft.seal_pieces([draft.plaintext, b""])
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
    draft = Draft("multi-chunk-under-session-key", TWO)
    draft.seal_pieces(key=draft.session_key)
    yield draft.fails(Kind.CANNOT_OPEN, "Several chunks are sealed under the session key.")
    draft = Draft("multi-chunk-first-in-single-style", TWO)
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
    little = [bytes(3) + i.to_bytes(8, "little") + u8(i == 1) for i in range(2)]
    last_ff = [*nonces((0, no)), wax.chunk_nonce(1, no)[:-1] + b"\xff"]
    for name, given, comment in (
        ("last-flag-missing", nonces((0, no), (1, no)), "No chunk is marked as the last"),
        ("last-flag-early", nonces((0, yes), (1, yes)), "Two chunks are marked as last"),
        ("last-flag-ff", last_ff, "The mark of the last chunk is 0xff instead of 1"),
        ("counter-from-one", nonces((1, no), (2, yes)), "The chunks count from 1"),
        ("counter-little-endian", little, "The counter of the chunks is little-endian"),
    ):
        draft = Draft(f"chunk-{name}", TWO)
        draft.seal_pieces(nonces=given)
        yield draft.fails(Kind.CANNOT_OPEN, f"{comment}.")
    draft = Draft("chunk-short-before-the-last", TWO)
    draft.seal_pieces([draft.plaintext[:1000], draft.plaintext[1000:]])
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
    first, other = pair("wraps-of-another-envelope", TWO)
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
