# SPDX-License-Identifier: Apache-2.0 OR MIT
"""A second reader and writer of waxseal envelopes, independent of the Rust crate.

It is written from docs/spec/envelope-v1.md alone, so that what one implementation
takes for granted the other can contradict. It knows suites 1 and 2, the local wrap
algorithms (1 XAES-256-GCM, 2 PBKDF2, 3 Argon2id) and threshold 1. It holds whole
messages in memory, and is meant for tests, not for production.

    python waxseal_reader.py seal --kek-hex HEX [--context k=v ...] IN OUT
    python waxseal_reader.py open --kek-hex HEX [--context k=v ...] IN OUT
    python waxseal_reader.py inspect IN

Exit code 0 on success; 1 with one line `error: <kind>` on stderr where the envelope
(or what was asked for) is refused; 2 for a command line that makes no sense.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import json
import os
import sys
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

MAGIC = b"WAX"
VERSION = 1
ATTACHED, DETACHED = 1, 2
AES_256_GCM, CHACHA20_POLY1305 = 1, 2
FLAG_STORED_CONTEXT = 0x01
KNOWN_FLAGS = FLAG_STORED_CONTEXT
XAES, PBKDF2, ARGON2ID = 1, 2, 3
AWS_KMS = 16
LOCAL = b"local"
PROVIDER_BYTES = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789-")

KEY_LENGTH = 32
TAG_LENGTH = 16
DEK_ID_LENGTH = 16
SESSION_ID_LENGTH = 16
COMMITMENT_LENGTH = 32
NONCE_LENGTH = 12
XAES_NONCE_LENGTH = 24
SALT_LENGTH = 16

# Every maximum, checked before the bytes it measures are looked at.
MAX_WRAP_SECTION = 65_536
MAX_STANZAS = 16
MAX_PASSPHRASE_STANZAS = 2
MAX_PROVIDER = 32
MAX_KEK_ID = 2_048
MAX_KEK_VERSION = 255
MAX_WRAPPED = 16_384
MAX_CONTEXT = 8_192
MAX_CONTEXT_PAIRS = 64
MAX_AAD = 65_536
MAX_CHUNKS = 2**32
MAX_MESSAGE = 2**46
MIN_EXPONENT, MAX_EXPONENT, DEFAULT_EXPONENT = 10, 24, 16

# What `wrapped` holds is of one exact length for each local algorithm. The KDF
# parameters, if any, stand before the XAES nonce, ciphertext and tag.
XAES_WRAPPED = XAES_NONCE_LENGTH + KEY_LENGTH + TAG_LENGTH
WRAPPED_LENGTH = {XAES: XAES_WRAPPED, PBKDF2: 20 + XAES_WRAPPED, ARGON2ID: 28 + XAES_WRAPPED}

# The cost parameters, each a u32, in the order in which they stand in `wrapped`.
COST_RANGES: dict[int, dict[str, range]] = {
    XAES: {},
    PBKDF2: {"iterations": range(600_000, 10_000_000 + 1)},
    ARGON2ID: {
        "memory-kib": range(19_456, 1_048_576 + 1),
        "passes": range(2, 16 + 1),
        "lanes": range(1, 16 + 1),
    },
}

AeadCipher = AESGCM | ChaCha20Poly1305
Random = Callable[[int], bytes]
Pairs = Sequence[tuple[str, str]]


class Kind(StrEnum):
    """Why an envelope was refused."""

    MALFORMED = "malformed"
    UNSUPPORTED_VERSION = "unsupported-version"
    UNSUPPORTED = "unsupported"
    OVER_LIMIT = "over-limit"
    NO_USABLE_KEY = "no-usable-key"
    CANNOT_OPEN = "cannot-open"
    CONTEXT_MISMATCH = "context-mismatch"


class EnvelopeError(Exception):
    def __init__(self, kind: Kind, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind


def malformed(detail: str) -> EnvelopeError:
    return EnvelopeError(Kind.MALFORMED, detail)


def over_limit(detail: str) -> EnvelopeError:
    return EnvelopeError(Kind.OVER_LIMIT, detail)


def unsupported(detail: str) -> EnvelopeError:
    return EnvelopeError(Kind.UNSUPPORTED, detail)


# --- Bytes ---------------------------------------------------------------------------


class Cursor:
    """Takes big-endian fields from the front of a byte string."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._at = 0

    def take(self, length: int, what: str) -> bytes:
        if length > self.left():
            raise malformed(f"the bytes end inside {what}")
        start, self._at = self._at, self._at + length
        return bytes(self._data[start : self._at])

    def number(self, width: int, what: str) -> int:
        return int.from_bytes(self.take(width, what), "big")

    def sized(self, width: int, maximum: int | None, what: str) -> bytes:
        length = self.number(width, f"the length of {what}")
        if maximum is not None and length > maximum:
            raise over_limit(f"{what} has {length} bytes, more than {maximum}")
        return self.take(length, what)

    def left(self) -> int:
        return len(self._data) - self._at

    def rest(self) -> bytes:
        return self.take(self.left(), "the rest")


def u8(value: int) -> bytes:
    return value.to_bytes(1, "big")


def u16(value: int) -> bytes:
    return value.to_bytes(2, "big")


def u24(value: int) -> bytes:
    return value.to_bytes(3, "big")


def u32(value: int) -> bytes:
    return value.to_bytes(4, "big")


def u64(value: int) -> bytes:
    return value.to_bytes(8, "big")


def lv8(data: bytes) -> bytes:
    return u8(len(data)) + data


def lv16(data: bytes) -> bytes:
    return u16(len(data)) + data


def require_utf8(data: bytes, what: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise malformed(f"{what} is not UTF-8") from None


def require_name(data: bytes, what: str) -> None:
    text = require_utf8(data, what)
    if any(unicodedata.category(char) == "Cc" for char in text):
        raise malformed(f"{what} has a control character")


# --- Context -------------------------------------------------------------------------


def canonical_context(pairs: Iterable[tuple[str, str]]) -> bytes:
    """The canonical bytes of a caller's pairs, given in any order."""
    try:
        encoded = sorted((key.encode(), value.encode()) for key, value in pairs)
    except UnicodeEncodeError:
        raise malformed("the context is not Unicode text") from None
    if len(encoded) > MAX_CONTEXT_PAIRS:
        raise over_limit(f"the context has {len(encoded)} pairs")
    size = 2 + sum(4 + len(key) + len(value) for key, value in encoded)
    if size > MAX_CONTEXT:
        raise over_limit(f"the canonical context has {size} bytes")
    canonical = u16(len(encoded)) + b"".join(lv16(key) + lv16(value) for key, value in encoded)
    parse_context(canonical)
    return canonical


def parse_context(canonical: bytes) -> list[tuple[str, str]]:
    """The pairs of canonical bytes; refused unless they are canonical."""
    if len(canonical) > MAX_CONTEXT:
        raise over_limit(f"the context has {len(canonical)} bytes")
    cursor = Cursor(canonical)
    count = cursor.number(2, "the number of context pairs")
    if count > MAX_CONTEXT_PAIRS:
        raise over_limit(f"the context has {count} pairs")
    pairs: list[tuple[str, str]] = []
    previous = b""  # keys are not empty, so every first key is above this
    for _ in range(count):
        key = cursor.sized(2, None, "a context key")
        value = cursor.sized(2, None, "a context value")
        if not key:
            raise malformed("a context key is empty")
        if key <= previous:
            raise malformed("the context keys are not in strictly ascending order")
        pairs.append((require_utf8(key, "a context key"), require_utf8(value, "a context value")))
        previous = key
    if cursor.left():
        raise malformed("bytes follow the last context pair")
    return pairs


def context_digest(canonical: bytes) -> bytes:
    return hashlib.sha256(b"waxseal v1 context" + canonical).digest()


def wrap_aad(digest: bytes) -> bytes:
    return b"waxseal v1 wrap" + digest


# --- The envelope as bytes -----------------------------------------------------------


@dataclass(frozen=True)
class Stanza:
    """One claim that a KEK wraps the DEK. Names stay bytes: that is how they compare."""

    algorithm: int
    share: int
    provider: bytes
    kek_id: bytes
    version: bytes
    wrapped: bytes

    def encode(self) -> bytes:
        names = lv8(self.provider) + lv16(self.kek_id) + lv8(self.version)
        return u8(self.algorithm) + u8(self.share) + names + lv16(self.wrapped)


@dataclass(frozen=True)
class WrapSection:
    threshold: int
    stanzas: tuple[Stanza, ...]
    padding: int = 0

    def encode(self) -> bytes:
        stanzas = b"".join(stanza.encode() for stanza in self.stanzas)
        return u8(self.threshold) + u8(len(self.stanzas)) + stanzas + bytes(self.padding)


@dataclass(frozen=True)
class Head:
    suite: int
    exponent: int
    flags: int
    session_id: bytes

    def encode(self) -> bytes:
        return bytes([self.suite, self.exponent, self.flags, 0]) + self.session_id


@dataclass(frozen=True)
class Envelope:
    """A parsed envelope: `wraps` where it is attached, `dek_id` where it is detached."""

    wraps: WrapSection | None
    dek_id: bytes | None
    head: Head
    commitment: bytes
    nonce: bytes
    stored_context: bytes | None
    chunks: bytes

    def encode(self) -> bytes:
        if self.wraps is not None:
            kind, section = ATTACHED, self.wraps.encode()
        else:
            assert self.dek_id is not None
            kind, section = DETACHED, self.dek_id
        stored = b"" if self.stored_context is None else lv16(self.stored_context)
        return b"".join(
            (
                MAGIC + u8(VERSION) + u8(kind) + u24(len(section)) + section,
                self.head.encode() + self.commitment + self.nonce + stored,
                self.chunks,
            )
        )


def parse(data: bytes) -> Envelope:
    """Checks everything that can be checked without a key."""
    cursor = Cursor(data)
    if cursor.take(3, "the magic") != MAGIC:
        raise malformed("this is no envelope")
    version = cursor.number(1, "the version")
    if version != VERSION:
        raise EnvelopeError(Kind.UNSUPPORTED_VERSION, f"version {version}")
    kind = cursor.number(1, "the kind")
    if kind not in (ATTACHED, DETACHED):
        raise unsupported(f"kind {kind}")
    section = cursor.sized(3, MAX_WRAP_SECTION, "the wrap section")
    wraps, dek_id = None, None
    if kind == ATTACHED:
        wraps = parse_wrap_section(section)
    elif len(section) == DEK_ID_LENGTH:
        dek_id = section
    else:
        raise malformed(f"a DEK id has {DEK_ID_LENGTH} bytes, not {len(section)}")
    head = parse_head(cursor)
    commitment = cursor.take(COMMITMENT_LENGTH, "the commitment")
    nonce = cursor.take(NONCE_LENGTH, "the nonce")
    stored = None
    if head.flags & FLAG_STORED_CONTEXT:
        stored = cursor.sized(2, MAX_CONTEXT, "the stored context")
        parse_context(stored)
    chunks = cursor.rest()
    chunk_lengths(len(chunks), head.exponent)
    return Envelope(wraps, dek_id, head, commitment, nonce, stored, chunks)


def parse_head(cursor: Cursor) -> Head:
    suite, exponent, flags, zero = cursor.take(4, "the head")
    if suite not in (AES_256_GCM, CHACHA20_POLY1305):
        raise unsupported(f"suite {suite}")
    if not MIN_EXPONENT <= exponent <= MAX_EXPONENT:
        raise unsupported(f"chunk exponent {exponent}")
    if flags & ~KNOWN_FLAGS:
        raise unsupported(f"flags {flags:#04x}")
    if zero:
        raise malformed("the last byte before the session id is not zero")
    return Head(suite, exponent, flags, cursor.take(SESSION_ID_LENGTH, "the session id"))


def parse_wrap_section(section: bytes) -> WrapSection:
    cursor = Cursor(section)
    threshold = cursor.number(1, "the threshold")
    count = cursor.number(1, "the number of stanzas")
    if count > MAX_STANZAS:
        raise over_limit(f"{count} stanzas")
    if not 1 <= threshold <= count:
        raise malformed(f"threshold {threshold} of {count}")
    stanzas = tuple(parse_stanza(cursor) for _ in range(count))
    padding = cursor.rest()
    if any(padding):
        raise malformed("the padding is not all zeros")
    check_shares(threshold, [stanza.share for stanza in stanzas])
    if threshold > 1 and any(stanza.algorithm == AWS_KMS for stanza in stanzas):
        raise malformed("a share under an algorithm that does not bind its index")
    if sum(stanza.algorithm in (PBKDF2, ARGON2ID) for stanza in stanzas) > MAX_PASSPHRASE_STANZAS:
        raise over_limit(f"more than {MAX_PASSPHRASE_STANZAS} passphrase stanzas")
    return WrapSection(threshold, stanzas, len(padding))


def parse_stanza(cursor: Cursor) -> Stanza:
    algorithm = cursor.number(1, "a wrap algorithm")
    share = cursor.number(1, "a share index")
    provider = cursor.sized(1, MAX_PROVIDER, "a provider")
    if not provider or not PROVIDER_BYTES.issuperset(provider):
        raise malformed(f"provider {provider!r}")
    kek_id = cursor.sized(2, MAX_KEK_ID, "a KEK id")
    require_name(kek_id, "a KEK id")
    version = cursor.sized(1, MAX_KEK_VERSION, "a KEK version")
    require_name(version, "a KEK version")
    wrapped = cursor.sized(2, MAX_WRAPPED, "a wrapped key")
    if not wrapped:
        raise malformed("a wrapped key is empty")
    return Stanza(algorithm, share, provider, kek_id, version, wrapped)


def check_local_wrap(stanza: Stanza) -> None:
    """The length of a local wrap, and its cost, both before any of it is worked on.

    Content, not structure: a fault here is that of one stanza, and never of the section.
    """
    expected = WRAPPED_LENGTH[stanza.algorithm]
    if len(stanza.wrapped) != expected:
        raise malformed(f"a wrap of {len(stanza.wrapped)} bytes, not {expected}")
    check_cost(stanza.algorithm, stanza.wrapped)


def check_cost(algorithm: int, wrapped: bytes) -> None:
    for name, value in cost(algorithm, wrapped).items():
        allowed = COST_RANGES[algorithm][name]
        if value not in allowed:
            raise over_limit(f"{name} {value}, outside {allowed.start}..={allowed.stop - 1}")


def cost(algorithm: int, wrapped: bytes) -> dict[str, int]:
    cursor = Cursor(wrapped)
    return {name: cursor.number(4, name) for name in COST_RANGES.get(algorithm, {})}


def check_shares(threshold: int, shares: list[int]) -> None:
    if threshold == 1:
        if any(shares):
            raise malformed("a share index other than 0 under threshold 1")
    elif 0 in shares or len(set(shares)) != len(shares):
        raise malformed("share indexes are from 1 and distinct")


def chunk_lengths(length: int, exponent: int) -> list[int]:
    """The lengths, tags included, of the chunks that `length` bytes must be."""
    if length < TAG_LENGTH:
        raise malformed("fewer bytes than one tag")
    full = (1 << exponent) + TAG_LENGTH
    count = -(-length // full)
    if count > MAX_CHUNKS or length - count * TAG_LENGTH > MAX_MESSAGE:
        raise over_limit("the message is too long")
    final = length - (count - 1) * full
    if count > 1 and final <= TAG_LENGTH:
        raise malformed("the final chunk is empty, or shorter than its tag")
    return [full] * (count - 1) + [final]


# --- Keys and chunks -----------------------------------------------------------------


def expand(key: bytes, info: bytes, length: int) -> bytes:
    return HKDFExpand(algorithm=SHA256(), length=length, info=info).derive(key)


def derive_session(dek: bytes, head: bytes, digest: bytes) -> tuple[bytes, bytes]:
    """The session key and the commitment."""
    out = expand(dek, b"waxseal v1 session" + head + digest, KEY_LENGTH + COMMITMENT_LENGTH)
    return out[:KEY_LENGTH], out[KEY_LENGTH:]


def derive_message_key(dek: bytes, head: bytes, nonce: bytes, digest: bytes) -> bytes:
    return expand(dek, b"waxseal v1 message" + head + nonce + digest, KEY_LENGTH)


def aead(suite: int, key: bytes) -> AeadCipher:
    return AESGCM(key) if suite == AES_256_GCM else ChaCha20Poly1305(key)


def chunk_nonce(index: int, last: bool) -> bytes:
    return bytes(3) + u64(index) + u8(last)


def chunk_plan(
    envelope: Envelope, dek: bytes, session_key: bytes, digest: bytes, count: int
) -> tuple[AeadCipher, list[bytes]]:
    """The cipher of a message of `count` chunks, and the nonce of each."""
    head = envelope.head
    if count == 1:
        return aead(head.suite, session_key), [envelope.nonce]
    key = derive_message_key(dek, head.encode(), envelope.nonce, digest)
    return aead(head.suite, key), [chunk_nonce(i, i == count - 1) for i in range(count)]


def open_chunks(
    envelope: Envelope, dek: bytes, session_key: bytes, digest: bytes, aad: bytes
) -> bytes:
    lengths = chunk_lengths(len(envelope.chunks), envelope.head.exponent)
    cipher, nonces = chunk_plan(envelope, dek, session_key, digest, len(lengths))
    cursor = Cursor(envelope.chunks)
    try:
        return b"".join(
            cipher.decrypt(nonce, cursor.take(length, "a chunk"), aad)
            for nonce, length in zip(nonces, lengths, strict=True)
        )
    except InvalidTag:
        raise EnvelopeError(Kind.CANNOT_OPEN, "a chunk is not authentic") from None


# --- Wraps ---------------------------------------------------------------------------


def _xaes(key: bytes, nonce: bytes) -> tuple[AESGCM, bytes]:
    """The AES-256-GCM instance and nonce that XAES-256-GCM (C2SP) derives."""
    block = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    last = int.from_bytes(block.update(bytes(16)), "big")
    k1 = (last << 1) & (2**128 - 1) ^ (0x87 if last >> 127 else 0)

    def derive(counter: int) -> bytes:
        message = u16(counter) + b"X\0" + nonce[:12]
        return block.update((int.from_bytes(message, "big") ^ k1).to_bytes(16, "big"))

    return AESGCM(derive(1) + derive(2)), nonce[12:]


def xaes_seal(key: bytes, nonce: bytes, plaintext: bytes, aad: bytes) -> bytes:
    cipher, short_nonce = _xaes(key, nonce)
    return cipher.encrypt(short_nonce, plaintext, aad)


def xaes_open(key: bytes, nonce: bytes, box: bytes, aad: bytes) -> bytes | None:
    cipher, short_nonce = _xaes(key, nonce)
    try:
        return cipher.decrypt(short_nonce, box, aad)
    except InvalidTag:
        return None


class Key(ABC):
    """A configured local key: it serves one algorithm, whatever an envelope says."""

    algorithm: int
    kek_id: bytes

    @abstractmethod
    def new_parameters(self, random: Random) -> bytes:
        """What stands in `wrapped` before the XAES nonce."""

    @abstractmethod
    def kek(self, parameters: bytes) -> bytes:
        """The 256-bit KEK that `parameters` lead to."""

    def serves(self, stanza: Stanza) -> bool:
        """An empty id is a hidden one: every key of the algorithm may be the one."""
        return (
            stanza.algorithm == self.algorithm
            and stanza.provider == LOCAL
            and stanza.kek_id in (b"", self.kek_id)
        )

    def wrap(self, dek: bytes, digest: bytes, random: Random, hide_id: bool = False) -> Stanza:
        parameters = self.new_parameters(random)
        check_cost(self.algorithm, parameters)
        nonce = random(XAES_NONCE_LENGTH)
        box = xaes_seal(self.kek(parameters), nonce, dek, wrap_aad(digest))
        kek_id = b"" if hide_id else self.kek_id
        return Stanza(self.algorithm, 0, LOCAL, kek_id, b"", parameters + nonce + box)

    def unwrap(self, stanza: Stanza, digest: bytes) -> bytes | None:
        check_local_wrap(stanza)
        cursor = Cursor(stanza.wrapped)
        parameters = cursor.take(len(stanza.wrapped) - XAES_WRAPPED, "the parameters")
        nonce = cursor.take(XAES_NONCE_LENGTH, "the nonce")
        return xaes_open(self.kek(parameters), nonce, cursor.rest(), wrap_aad(digest))


class LocalKek(Key):
    algorithm = XAES

    def __init__(self, kek: bytes) -> None:
        if len(kek) != KEY_LENGTH:
            raise ValueError(f"a KEK has {KEY_LENGTH} bytes")
        self._kek = kek
        self.kek_id = base64.urlsafe_b64encode(hashlib.sha256(kek).digest()[:16]).rstrip(b"=")

    def new_parameters(self, random: Random) -> bytes:
        return b""

    def kek(self, parameters: bytes) -> bytes:
        return self._kek


class Pbkdf2Key(Key):
    algorithm = PBKDF2

    def __init__(
        self, passphrase: bytes, name: str = "passphrase", iterations: int = 600_000
    ) -> None:
        self._passphrase = passphrase
        self._iterations = iterations
        self.kek_id = name.encode()

    def new_parameters(self, random: Random) -> bytes:
        return u32(self._iterations) + random(SALT_LENGTH)

    def kek(self, parameters: bytes) -> bytes:
        cursor = Cursor(parameters)
        iterations = cursor.number(4, "the iterations")
        return hashlib.pbkdf2_hmac(
            "sha256", self._passphrase, cursor.rest(), iterations, KEY_LENGTH
        )


class Argon2idKey(Key):
    algorithm = ARGON2ID

    def __init__(
        self,
        passphrase: bytes,
        name: str = "passphrase",
        memory_kib: int = 19_456,
        passes: int = 2,
        lanes: int = 1,
    ) -> None:
        self._passphrase = passphrase
        self._cost = (memory_kib, passes, lanes)
        self.kek_id = name.encode()

    def new_parameters(self, random: Random) -> bytes:
        return b"".join(map(u32, self._cost)) + random(SALT_LENGTH)

    def kek(self, parameters: bytes) -> bytes:
        cursor = Cursor(parameters)
        memory, passes, lanes = (cursor.number(4, "the cost") for _ in range(3))
        try:
            kdf = Argon2id(
                salt=cursor.rest(),
                length=KEY_LENGTH,
                iterations=passes,
                lanes=lanes,
                memory_cost=memory,
            )
        except UnsupportedAlgorithm:
            raise unsupported("this OpenSSL has no Argon2id") from None
        return kdf.derive(self._passphrase)


# --- Sealing and opening -------------------------------------------------------------


def check_aad(aad: bytes) -> None:
    if len(aad) > MAX_AAD:
        raise over_limit(f"the AAD has {len(aad)} bytes")


def seal(
    plaintext: bytes,
    keys: Sequence[Key],
    *,
    context: Pairs = (),
    aad: bytes = b"",
    suite: int = AES_256_GCM,
    exponent: int = DEFAULT_EXPONENT,
    store_context: bool = False,
    padding: int = 0,
    hide_id: bool = False,
    random: Random = os.urandom,
) -> bytes:
    """An attached envelope that any one of `keys` opens, in a session of its own."""
    check_aad(aad)
    canonical = canonical_context(context)
    digest = context_digest(canonical)
    dek = random(KEY_LENGTH)
    wraps = WrapSection(1, tuple(key.wrap(dek, digest, random, hide_id) for key in keys), padding)
    flags = FLAG_STORED_CONTEXT if store_context else 0
    head = Head(suite, exponent, flags, random(SESSION_ID_LENGTH))
    if len(wraps.encode()) > MAX_WRAP_SECTION:
        raise over_limit("the wrap section is too long")
    parse_wrap_section(wraps.encode())
    parse_head(Cursor(head.encode()))

    session_key, commitment = derive_session(dek, head.encode(), digest)
    nonce = random(NONCE_LENGTH)
    stored = canonical if store_context else None
    unsealed = Envelope(wraps, None, head, commitment, nonce, stored, b"")
    pieces = cut(plaintext, exponent)
    cipher, nonces = chunk_plan(unsealed, dek, session_key, digest, len(pieces))
    chunks = b"".join(
        cipher.encrypt(piece_nonce, piece, aad)
        for piece_nonce, piece in zip(nonces, pieces, strict=True)
    )
    return Envelope(wraps, None, head, commitment, nonce, stored, chunks).encode()


def cut(plaintext: bytes, exponent: int) -> list[bytes]:
    """Pieces of 2^exponent bytes; only an empty plaintext has an empty piece."""
    size = 1 << exponent
    return [plaintext[at : at + size] for at in range(0, max(len(plaintext), 1), size)]


def open(
    data: bytes,
    keys: Sequence[Key] = (),
    *,
    dek: bytes | None = None,
    context: Pairs = (),
    aad: bytes = b"",
) -> bytes:
    """The plaintext, once all of it is authentic. With `dek` no wrap is looked at."""
    check_aad(aad)
    digest = context_digest(canonical_context(context))
    envelope = parse(data)
    stored = envelope.stored_context
    if stored is not None and not hmac.compare_digest(context_digest(stored), digest):
        raise EnvelopeError(Kind.CONTEXT_MISMATCH, "the stored context is another one")
    if dek is not None:
        session_key = committed_session_key(envelope, dek, digest)
        if session_key is None:
            raise EnvelopeError(Kind.CANNOT_OPEN, "the DEK is not the one committed to")
    else:
        dek, session_key = find_dek(envelope, keys, digest)
    return open_chunks(envelope, dek, session_key, digest, aad)


def committed_session_key(envelope: Envelope, dek: bytes, digest: bytes) -> bytes | None:
    session_key, commitment = derive_session(dek, envelope.head.encode(), digest)
    return session_key if hmac.compare_digest(commitment, envelope.commitment) else None


def find_dek(envelope: Envelope, keys: Sequence[Key], digest: bytes) -> tuple[bytes, bytes]:
    """The DEK and session key from the first stanza that reproduces the commitment.

    A stanza no key serves costs nothing; one that fails is passed over, and a failed
    unwrap is not told from a DEK that the body does not commit to. Where every attempt
    failed on the length or cost of its stanza, the first of them says why.
    """
    if envelope.wraps is None:
        raise unsupported("a detached envelope opens by its DEK only")
    if envelope.wraps.threshold > 1:
        raise unsupported("shares")
    failures: list[EnvelopeError] = []
    for stanza in envelope.wraps.stanzas:
        for key in keys:
            if not key.serves(stanza):
                continue
            try:
                dek = key.unwrap(stanza, digest)
            except EnvelopeError as error:
                failures.append(error)
                continue
            session_key = None if dek is None else committed_session_key(envelope, dek, digest)
            if dek is not None and session_key is not None:
                return dek, session_key
            failures.append(EnvelopeError(Kind.CANNOT_OPEN, "no stanza opened"))
    if not failures:
        raise EnvelopeError(Kind.NO_USABLE_KEY, "no stanza is for a configured key")
    # Something that does not open outweighs something that is broken.
    raise max(failures, key=lambda failure: failure.kind == Kind.CANNOT_OPEN)


# --- Command line --------------------------------------------------------------------


def describe(envelope: Envelope) -> dict[str, object]:
    """What an envelope shows to someone without a key."""
    lengths = chunk_lengths(len(envelope.chunks), envelope.head.exponent)
    shown: dict[str, object] = {"version": VERSION}
    if envelope.dek_id is not None:
        shown |= {"kind": "detached", "dek-id": envelope.dek_id.hex()}
    if envelope.wraps is not None:
        shown |= {
            "kind": "attached",
            "threshold": envelope.wraps.threshold,
            "stanzas": [describe_stanza(stanza) for stanza in envelope.wraps.stanzas],
            "padding": envelope.wraps.padding,
        }
    shown |= {
        "suite": envelope.head.suite,
        "chunk-exponent": envelope.head.exponent,
        "flags": envelope.head.flags,
        "session-id": envelope.head.session_id.hex(),
        "commitment": envelope.commitment.hex(),
        "nonce": envelope.nonce.hex(),
    }
    if envelope.stored_context is not None:
        shown["stored-context"] = dict(parse_context(envelope.stored_context))
        shown["stored-context-digest"] = context_digest(envelope.stored_context).hex()
    shown["chunks"] = len(lengths)
    shown["plaintext-length"] = sum(lengths) - TAG_LENGTH * len(lengths)
    return shown


def describe_stanza(stanza: Stanza) -> dict[str, object]:
    broken = WRAPPED_LENGTH.get(stanza.algorithm, 0) > len(stanza.wrapped)
    return {
        "algorithm": stanza.algorithm,
        "share-index": stanza.share,
        "provider": stanza.provider.decode(),
        "kek-id": stanza.kek_id.decode(),
        "kek-version": stanza.version.decode(),
        "wrapped-length": len(stanza.wrapped),
    } | ({} if broken else cost(stanza.algorithm, stanza.wrapped))


def _hex32(text: str) -> bytes:
    value = bytes.fromhex(text)
    if len(value) != KEY_LENGTH:
        raise argparse.ArgumentTypeError(f"{KEY_LENGTH} bytes are needed")
    return value


def _natural(text: str) -> int:
    value = int(text)
    if not 0 <= value < 2**32:
        raise argparse.ArgumentTypeError("a number of 32 bits is needed")
    return value


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError("KEY=VALUE is needed")
    return key, value


def _from_environment(name: str) -> bytes:
    if name not in os.environ:
        raise argparse.ArgumentTypeError(f"{name} is not set")
    return os.fsencode(os.environ[name])


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)

    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--kek-hex", type=_hex32, action="append", default=[], metavar="HEX")
    common.add_argument("--passphrase-env", type=_from_environment, metavar="NAME")
    common.add_argument("--passphrase-name", default="passphrase", metavar="NAME")
    common.add_argument("--context", type=_pair, action="append", default=[], metavar="KEY=VALUE")
    aad = common.add_mutually_exclusive_group()
    aad.add_argument("--aad", type=os.fsencode, default=b"", metavar="TEXT")
    aad.add_argument("--aad-file", type=Path, metavar="PATH")
    files = argparse.ArgumentParser(add_help=False)
    files.add_argument("input", type=Path, metavar="IN")
    files.add_argument("output", type=Path, metavar="OUT")

    sealing = commands.add_parser("seal", parents=[common, files], help="make an envelope")
    sealing.add_argument("--kdf", choices=("pbkdf2", "argon2id"), default="pbkdf2")
    sealing.add_argument("--pbkdf2-iterations", type=_natural, default=600_000, metavar="N")
    sealing.add_argument("--suite", type=int, choices=(1, 2), default=AES_256_GCM)
    sealing.add_argument(
        "--chunk-exponent",
        type=int,
        choices=range(MIN_EXPONENT, MAX_EXPONENT + 1),
        default=DEFAULT_EXPONENT,
        metavar="N",
    )
    sealing.add_argument("--store-context", action="store_true")
    sealing.add_argument("--padding", type=_natural, default=0, metavar="N")
    sealing.add_argument("--hide-id", action="store_true")

    opening = commands.add_parser("open", parents=[common, files], help="open an envelope")
    opening.add_argument(
        "--kdf",
        choices=("pbkdf2", "argon2id"),
        help="what the passphrase is for; without this, two keys are configured from it",
    )
    opening.add_argument("--dek-hex", type=_hex32, metavar="HEX", help="open without any wrap")

    inspecting = commands.add_parser("inspect", help="print what an envelope shows as JSON")
    inspecting.add_argument("input", type=Path, metavar="IN")
    return parser


def _keys(options: argparse.Namespace) -> list[Key]:
    keys: list[Key] = [LocalKek(kek) for kek in options.kek_hex]
    if options.passphrase_env is not None:
        if options.kdf != "argon2id":
            iterations = getattr(options, "pbkdf2_iterations", 600_000)
            keys.append(Pbkdf2Key(options.passphrase_env, options.passphrase_name, iterations))
        if options.kdf != "pbkdf2":
            keys.append(Argon2idKey(options.passphrase_env, options.passphrase_name))
    return keys


def _run(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    data = options.input.read_bytes()
    if options.command == "inspect":
        print(json.dumps(describe(parse(data)), indent=2))
        return
    keys = _keys(options)
    if not keys and getattr(options, "dek_hex", None) is None:
        parser.error("a key is needed: --kek-hex or --passphrase-env")
    aad = options.aad if options.aad_file is None else options.aad_file.read_bytes()
    if options.command == "open":
        out = open(data, keys, dek=options.dek_hex, context=options.context, aad=aad)
    else:
        out = seal(
            data,
            keys,
            context=options.context,
            aad=aad,
            suite=options.suite,
            exponent=options.chunk_exponent,
            store_context=options.store_context,
            padding=options.padding,
            hide_id=options.hide_id,
        )
    options.output.write_bytes(out)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _arguments()
    options = parser.parse_args(arguments)
    try:
        _run(options, parser)
    except EnvelopeError as error:
        print(f"error: {error.kind}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
