# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Cases about the wrap section: stanzas, thresholds, shares and passphrases."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace

import waxseal_reader as wax
from vector_draft import (
    CONTEXT,
    OTHER_CONTEXT,
    PASSPHRASE,
    PRIVATE_ALGORITHM,
    Case,
    Draft,
    flip,
    unknown_stanza,
)
from waxseal_reader import Kind, Stanza, u16, u24, u32


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
    draft = Draft("stanza-planted-in-front-opens")
    draft.stanzas.insert(0, draft.wrap(draft.random(32)))
    yield draft.ok("A stanza in front unwraps under the same KEK, but to another DEK.")
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
    for length in (71, 73):
        draft = Draft(f"stanza-wrapped-of-{length}-bytes-in-front-opens")
        broken = draft.wrap()
        draft.stanzas.insert(0, replace(broken, wrapped=(broken.wrapped + b"\0")[:length]))
        yield draft.ok(f"A stanza in front is for the configured KEK, and has {length} bytes.")
    draft = Draft("stanza-wrapped-of-1-byte-behind-opens")
    draft.stanzas.append(replace(draft.wrap(kek=draft.random(32)), wrapped=b"\0"))
    yield draft.ok("A stanza behind is of the wrong length, and for a KEK not configured.")
    draft = Draft("padding-of-300-opens")
    draft.padding = bytes(300)
    yield draft.ok("The wrap section ends in 300 zeros of padding.")


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
    draft = Draft("stanza-of-another-algorithm")
    draft.stanzas = [replace(draft.stanzas[0], algorithm=PRIVATE_ALGORITHM)]
    yield draft.fails(Kind.NO_USABLE_KEY, "A good wrap claims an algorithm not configured.")
    draft = Draft("stanza-planted-only")
    draft.stanzas = [draft.wrap(draft.random(32)) for _ in range(3)]
    yield draft.fails(Kind.CANNOT_OPEN, "Every stanza unwraps, and each to a wrong DEK.")

    for name, at in (("nonce", 0), ("tag", 71)):
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
        ("aad-is-canonical", lambda d: b"waxseal v1 wrap" + wax.canonical_context(CONTEXT),
         "the canonical context in place of its digest"),
    ):  # fmt: skip
        draft = Draft(f"wrap-{name}")
        nonce = draft.random(24)
        box = wax.xaes_seal(draft.kek, nonce, draft.dek, aad(draft))
        draft.stanzas = [replace(draft.stanzas[0], wrapped=nonce + box)]
        yield draft.fails(Kind.CANNOT_OPEN, f"The DEK is wrapped with {comment}.")

    for length in (71, 73):
        draft = Draft(f"wrapped-of-{length}-bytes")
        stanza = draft.stanzas[0]
        draft.stanzas = [replace(stanza, wrapped=(stanza.wrapped + b"\0")[:length])]
        yield draft.fails(Kind.MALFORMED, f"The only wrap, of algorithm 1, has {length} bytes.")
    draft = Draft("wrapped-of-73-bytes-not-configured")
    draft.stanzas = [replace(draft.wrap(kek=draft.random(32)), wrapped=bytes(73))]
    yield draft.fails(
        Kind.NO_USABLE_KEY, "The only wrap has 73 bytes, and is for a KEK not configured."
    )
    draft = Draft("wrapped-of-73-bytes-beside-altered")
    stanza = draft.stanzas[0]
    altered = replace(stanza, wrapped=flip(stanza.wrapped, 50))
    draft.stanzas = [replace(stanza, wrapped=bytes(73)), altered]
    yield draft.fails(
        Kind.CANNOT_OPEN, "Of two wraps one has 73 bytes, and one is altered, which weighs more."
    )

    for name, kind, stanza, comment in (
        ("wrapped-empty", Kind.MALFORMED, unknown_stanza(wrapped=b""), "A wrapped key is empty"),
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
            "kek-id-newline",
            Kind.MALFORMED,
            unknown_stanza(kek_id=b"key\n1"),
            "A KEK id has a control character",
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
    ):
        draft = Draft(f"stanza-{name}")
        draft.stanzas.append(stanza)
        yield draft.fails(kind, f"{comment}, in a stanza behind a good one.")

    # Lengths over their limit are refused for what they claim: few of the bytes are there.
    for name, stanza, claim, comment in (
        ("kek-id-of-2049-bytes", b"\xe0\0\x01p", u16(2049), "A KEK id claims 2049 bytes"),
        ("wrapped-of-16385-bytes", b"\xe0\0\x01p\0\0\0", u16(16_385), "A wrap claims 16385 bytes"),
    ):
        draft = Draft(f"stanza-{name}")
        draft.count = 2
        draft.section_override = draft.section() + stanza + claim + bytes(20)
        yield draft.fails(
            Kind.OVER_LIMIT, f"{comment}, of which few are there, in a stanza behind a good one."
        )


def wrap_sections() -> Iterator[Case]:
    for name, threshold, count, share, comment in (
        ("threshold-0", 0, 1, 0, "The threshold is 0"),
        ("threshold-above-count", 2, 1, 1, "The threshold is 2 of 1"),
        ("count-0", 1, 0, 0, "The wrap section counts no stanza, and one follows"),
        ("count-too-high", 1, 2, 0, "The wrap section counts a stanza that is not there"),
    ):
        draft = Draft(f"wrap-section-{name}")
        draft.stanzas = [replace(draft.stanzas[0], share=share)]
        draft.threshold, draft.count = threshold, count
        yield draft.fails(Kind.MALFORMED, f"{comment}.")
    draft = Draft("wrap-section-without-stanzas")
    draft.stanzas = []
    yield draft.fails(Kind.MALFORMED, "There is no stanza.")
    draft = Draft("wrap-section-count-too-low")
    draft.stanzas, draft.count = [*draft.stanzas, unknown_stanza()], 1
    yield draft.fails(Kind.MALFORMED, "A stanza that is not counted stands as padding.")
    draft = Draft("wrap-section-count-17")
    draft.stanzas += [unknown_stanza(kek_id=b"", version=b"", wrapped=b"w")] * 16
    yield draft.fails(Kind.OVER_LIMIT, "The wrap section has 17 stanzas.")
    draft = Draft("padding-last-byte-not-zero")
    draft.padding = bytes(9) + b"\x80"
    yield draft.fails(Kind.MALFORMED, "The last byte of the padding is not zero.")

    # Offsets in a section of one local stanza, whose id has 22 bytes.
    for name, end, comment in (
        ("is-empty", 0, "is empty"),
        ("ends-in-kek-id", 33, "ends inside the KEK id"),
        ("ends-in-wrapped-length", 36, "ends inside the length of the wrapped key"),
        ("ends-in-wrapped", 108, "ends inside the wrapped key"),
    ):
        draft = Draft(f"wrap-section-{name}")
        draft.section_override = draft.section()[:end]
        yield draft.fails(Kind.MALFORMED, f"The wrap section {comment}, and the body follows.")
    draft = Draft("wrap-section-of-65537-bytes")
    data = draft.encode()
    yield draft.fails(
        Kind.OVER_LIMIT,
        "The wrap section claims 65537 bytes, of which few are there.",
        data=data[:5] + u24(wax.MAX_WRAP_SECTION + 1) + data[8:],
    )
    for change, name in ((1, "long"), (-1, "short")):
        draft = Draft(f"wrap-section-length-one-too-{name}")
        data = draft.encode()
        yield draft.fails(
            Kind.MALFORMED,
            f"The length of the wrap section is one byte too {name}.",
            data=data[:5] + u24(len(draft.section()) + change) + data[8:],
        )


def shares() -> Iterator[Case]:
    draft = Draft("share-index-under-threshold-1")
    draft.stanzas = [replace(draft.stanzas[0], share=1)]
    yield draft.fails(Kind.MALFORMED, "The share index is 1 under threshold 1.")
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
    draft = split_draft("threshold-2-of-3-algorithm-16", (1, 2, 3))
    draft.stanzas[1] = replace(draft.stanzas[1], algorithm=16, provider=b"aws-kms")
    yield draft.fails(
        Kind.MALFORMED, "A share is under algorithm 16, which does not bind it to its index."
    )


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
    yield made.ok("A passphrase with a name of its own; it is used as UTF-8, not normalized.")
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
    for iterations in (599_999, 10_000_001):
        made = draft(f"passphrase-pbkdf2-iterations-{iterations}")
        made.stanzas = [local_wrap(made, 2, u32(iterations), work=0 < iterations < 600_000)]
        yield made.fails(Kind.OVER_LIMIT, f"PBKDF2 with {iterations} iterations is out of range.")
    for cost, work in (
        ((19_455, 2, 1), True),
        ((1_048_577, 2, 1), False),
        ((19_456, 1, 1), True),
        ((19_456, 17, 1), True),
        ((19_456, 2, 0), False),
        ((19_456, 2, 17), True),
    ):
        made = draft("passphrase-argon2id-cost-" + "-".join(map(str, cost)), kdf="argon2id")
        made.stanzas = [local_wrap(made, 3, b"".join(map(u32, cost)), work=work)]
        yield made.fails(
            Kind.OVER_LIMIT, f"Argon2id with memory, passes, lanes {cost} is out of range."
        )
    for algorithm, length, kdf in ((2, 91, "pbkdf2"), (3, 101, "argon2id")):
        made = draft(f"passphrase-{kdf}-wrapped-of-{length}-bytes", kdf=kdf)
        cost_bytes = u32(600_000) if algorithm == 2 else least_argon2id
        stanza = local_wrap(made, algorithm, cost_bytes)
        made.stanzas = [replace(stanza, wrapped=(stanza.wrapped + b"\0")[:length])]
        yield made.fails(Kind.MALFORMED, f"A wrap of algorithm {algorithm} has {length} bytes.")

    # A cost out of range is the fault of one stanza, which then does not open.
    for algorithm, cost_bytes, name in (
        (2, u32(599_999), "passphrase-cost-too-low-in-front-opens"),
        (3, u32(19_456) + u32(17) + u32(1), "passphrase-cost-too-high-in-front-opens"),
    ):
        made = draft(name, kdf={2: "pbkdf2", 3: "argon2id"}[algorithm])
        bad = local_wrap(made, algorithm, cost_bytes, work=True)
        made.stanzas = [bad, made.wrap()]
        made.keys = [("kek", made.kek.hex()), *made.keys]
        yield made.ok("A passphrase stanza of a cost out of range stands before a good one.")
    made = draft("passphrase-cost-too-low-not-configured")
    made.stanzas = [local_wrap(made, 2, u32(1))]
    made.keys = [("kek", made.kek.hex())]
    yield made.fails(
        Kind.NO_USABLE_KEY, "The only stanza has a cost out of range, and is for no configured key."
    )
    made = draft("passphrase-three-beside-kek")
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
