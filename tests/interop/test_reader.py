# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Self-tests of waxseal_reader.py: `python3 tests/interop/test_reader.py`."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
import unittest
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import make_corpus  # noqa: E402
import make_vectors  # noqa: E402
import vector_draft  # noqa: E402
import waxseal_reader as wax  # noqa: E402
from waxseal_reader import Kind  # noqa: E402

KEK = wax.LocalKek(bytes(range(32)))
OTHER_KEK = wax.LocalKek(bytes(32))
CONTEXT = [("tenant", "acme"), ("table", "invoices")]


class RefusalTestCase(unittest.TestCase):
    def assert_refused(self, kind, function, *arguments, **keywords):
        with self.assertRaises(wax.EnvelopeError) as caught:
            function(*arguments, **keywords)
        self.assertEqual(caught.exception.kind, kind)


class Xaes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = os.environ.get("WAXSEAL_VECTORS_DIR")
        path = Path(folder or ".") / "xaes-256-gcm" / "xaes-256-gcm.json"
        if not folder or not path.is_file():
            reason = "WAXSEAL_VECTORS_DIR does not lead to xaes-256-gcm/xaes-256-gcm.json"
            print(f"skipped XAES-256-GCM vectors: {reason}", file=sys.stderr)
            raise unittest.SkipTest(reason)
        cls.vectors = json.loads(path.read_text())

    def test_single(self):
        for test in self.vectors["tests"]:
            fields = ("key", "nonce", "plaintext", "aad", "ciphertext")
            key, nonce, plaintext, aad, box = (bytes.fromhex(test[field]) for field in fields)
            with self.subTest(key=test["key"], nonce=test["nonce"]):
                self.assertEqual(wax.xaes_seal(key, nonce, plaintext, aad), box)
                self.assertEqual(wax.xaes_open(key, nonce, box, aad), plaintext)
                self.assertIsNone(wax.xaes_open(key, nonce, box, aad + b"x"))

    def test_accumulated(self):
        iterations = 10_000
        source = io.BytesIO(hashlib.shake_128().digest(iterations * (32 + 24 + 2 * 256)))
        boxes = hashlib.shake_128()
        for _ in range(iterations):
            key, nonce = source.read(32), source.read(24)
            plaintext = source.read(source.read(1)[0])
            aad = source.read(source.read(1)[0])
            boxes.update(wax.xaes_seal(key, nonce, plaintext, aad))
        self.assertEqual(boxes.hexdigest(32), self.vectors["accumulated"][str(iterations)])


class RoundTrips(RefusalTestCase):
    def test_sizes(self):
        for suite in (wax.AES_256_GCM, wax.CHACHA20_POLY1305):
            for size in (0, 1, 1023, 1024, 1025, 2047, 2048, 2049, 300 * 1024):
                with self.subTest(suite=suite, size=size):
                    plaintext = vector_draft.plaintext(size)
                    sealed = wax.seal(
                        plaintext, [KEK], context=CONTEXT, aad=b"row 1", suite=suite, exponent=10
                    )
                    opened = wax.open(sealed, [KEK], context=CONTEXT[::-1], aad=b"row 1")
                    self.assertEqual(opened, plaintext)
                    self.assertEqual(wax.parse(sealed).encode(), sealed)

    def test_every_truncation_is_refused(self):
        sealed = wax.seal(bytes(1100), [KEK], exponent=10, store_context=True, context=CONTEXT)
        for length in range(len(sealed)):
            with self.subTest(length=length), self.assertRaises(wax.EnvelopeError) as caught:
                wax.open(sealed[:length], [KEK], context=CONTEXT)
            self.assertIn(caught.exception.kind, (Kind.MALFORMED, Kind.CANNOT_OPEN))

    def test_every_changed_byte_is_refused(self):
        sealed = wax.seal(bytes(1100), [KEK], exponent=10, store_context=True, context=CONTEXT)
        for at in range(len(sealed)):
            changed = bytearray(sealed)
            changed[at] ^= 1
            with self.subTest(at=at), self.assertRaises(wax.EnvelopeError):
                wax.open(bytes(changed), [KEK], context=CONTEXT)

    def test_overhead(self):
        self.assertEqual(len(wax.seal(b"", [KEK])), 197)
        attached = wax.parse(wax.seal(b"", [KEK]))
        detached = wax.Envelope(
            None, bytes(16), attached.head, attached.commitment, attached.nonce, None, bytes(16)
        )
        self.assertEqual(len(detached.encode()), 104)
        self.assertEqual(wax.parse(detached.encode()), detached)

    def test_any_one_key_opens(self):
        passphrase = wax.Pbkdf2Key(b"horse", "backup")
        for hide_id in (False, True):
            sealed = wax.seal(b"x", [KEK, passphrase], padding=7, hide_id=hide_id)
            self.assertEqual(wax.open(sealed, [OTHER_KEK, KEK]), b"x")
            self.assertEqual(wax.open(sealed, [passphrase]), b"x")
        self.assert_refused(Kind.CANNOT_OPEN, wax.open, sealed, [OTHER_KEK])
        self.assert_refused(Kind.NO_USABLE_KEY, wax.open, sealed, [wax.Argon2idKey(b"horse")])

    def test_argon2id(self):
        key = wax.Argon2idKey(b"horse")
        try:
            sealed = wax.seal(b"x", [key])
        except wax.EnvelopeError as error:
            self.skipTest(str(error))
        self.assertEqual(wax.open(sealed, [key]), b"x")
        self.assert_refused(Kind.NO_USABLE_KEY, wax.open, sealed, [wax.Pbkdf2Key(b"horse")])

    def test_ten_mebibytes(self):
        plaintext = bytes(10 << 20)
        self.assertEqual(wax.open(wax.seal(plaintext, [KEK]), [KEK]), plaintext)


class Limits(RefusalTestCase):
    def test_largest_wrap_section(self):
        room = wax.MAX_WRAP_SECTION - len(wax.WrapSection(1, (self.stanza(),)).encode())
        self.assertEqual(wax.open(wax.seal(b"x", [KEK], padding=room), [KEK]), b"x")
        self.assert_refused(Kind.OVER_LIMIT, wax.seal, b"x", [KEK], padding=room + 1)

    def stanza(self):
        return KEK.wrap(bytes(32), bytes(32), os.urandom)

    def test_names(self):
        def parse(**fields):
            given = {"algorithm": 224, "share": 0, "provider": b"p", "kek_id": b"", "version": b""}
            stanza = wax.Stanza(**(given | {"wrapped": b"w"} | fields))
            return wax.parse_wrap_section(wax.WrapSection(1, (stanza,)).encode())

        for fields in (
            {"provider": b"p" * 32},
            {"kek_id": b"i" * 2048},
            {"version": b"v" * 255},
            {"wrapped": b"w" * 16_384},
            {"kek_id": "schl\u00fcssel \U0001f511".encode()},
        ):
            parse(**fields)
        for kind, fields in (
            (Kind.OVER_LIMIT, {"provider": b"p" * 33}),
            (Kind.OVER_LIMIT, {"kek_id": b"i" * 2049}),
            (Kind.OVER_LIMIT, {"wrapped": b"w" * 16_385}),
            (Kind.MALFORMED, {"provider": b""}),
            (Kind.MALFORMED, {"provider": b"AWS"}),
            (Kind.MALFORMED, {"wrapped": b""}),
            (Kind.MALFORMED, {"kek_id": b"\x7f"}),
            (Kind.MALFORMED, {"version": "\u0085".encode()}),
            (Kind.MALFORMED, {"version": b"\xff"}),
        ):
            with self.subTest(fields=fields):
                self.assert_refused(kind, parse, **fields)

    def test_context(self):
        largest = [("k", "v" * (wax.MAX_CONTEXT - 2 - 4 - 1))]
        self.assertEqual(len(wax.canonical_context(largest)), wax.MAX_CONTEXT)
        self.assertEqual(wax.parse_context(wax.canonical_context(largest)), largest)
        pairs = [(f"{i:02}", "") for i in range(65)]
        self.assertEqual(wax.parse_context(wax.canonical_context(pairs[:64])), pairs[:64])
        self.assertEqual(wax.canonical_context([]), bytes(2))
        for kind, refused in (
            (Kind.OVER_LIMIT, [("kk", largest[0][1])]),
            (Kind.OVER_LIMIT, pairs),
            (Kind.MALFORMED, [("", "v")]),
            (Kind.MALFORMED, [("k", "v"), ("k", "w")]),
            (Kind.MALFORMED, [("\ud800", "v")]),
        ):
            self.assert_refused(kind, wax.canonical_context, refused)

    def test_aad(self):
        sealed = wax.seal(b"x", [KEK], aad=bytes(65_536))
        self.assertEqual(wax.open(sealed, [KEK], aad=bytes(65_536)), b"x")
        self.assert_refused(Kind.OVER_LIMIT, wax.open, sealed, [KEK], aad=bytes(65_537))
        self.assert_refused(Kind.OVER_LIMIT, wax.seal, b"x", [KEK], aad=bytes(65_537))

    def test_chunk_lengths(self):
        full = 1024 + 16
        for length, expected in (
            (16, [16]),
            (full, [full]),
            (full + 17, [full, 17]),
            (2 * full, [full, full]),
            (2 * full + 17, [full, full, 17]),
        ):
            self.assertEqual(wax.chunk_lengths(length, 10), expected)
        for length in (0, 15, full + 1, full + 16, 2 * full + 16):
            self.assert_refused(Kind.MALFORMED, wax.chunk_lengths, length, 10)
        self.assert_refused(Kind.OVER_LIMIT, wax.chunk_lengths, 2**32 * full + 17, 10)
        self.assert_refused(Kind.OVER_LIMIT, wax.chunk_lengths, 2**47, 24)

    def test_cost_is_checked_before_work(self):
        key = wax.Pbkdf2Key(b"horse", iterations=2**32 - 1)
        self.assert_refused(Kind.OVER_LIMIT, wax.seal, b"x", [key])


class CommandLine(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.plain, self.sealed, self.opened = (Path(folder.name) / name for name in "pso")
        self.plain.write_bytes(b"a payload")
        self.kek = bytes(range(32)).hex()

    def run_main(self, *arguments):
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = wax.main([str(argument) for argument in arguments])
        return code, out.getvalue(), err.getvalue()

    def test_seal_inspect_open(self):
        context = ["--context", "tenant=acme", "--context", "note=a=b"]
        self.assertEqual(
            self.run_main(
                *["seal", "--kek-hex", self.kek, *context, "--aad", "row 1", "--suite", "2"],
                *["--chunk-exponent", "10", "--store-context", "--padding", "5", "--hide-id"],
                *[self.plain, self.sealed],
            ),
            (0, "", ""),
        )
        code, out, _ = self.run_main("inspect", self.sealed)
        shown = json.loads(out)
        self.assertEqual(code, 0)
        self.assertEqual(shown["stored-context"], {"tenant": "acme", "note": "a=b"})
        self.assertEqual((shown["suite"], shown["padding"]), (2, 5))
        self.assertEqual(shown["stanzas"][0]["kek-id"], "")

        opening = ["open", "--kek-hex", self.kek, self.sealed, self.opened, "--aad", "row 1"]
        self.assertEqual(self.run_main(*opening, *context), (0, "", ""))
        self.assertEqual(self.opened.read_bytes(), b"a payload")
        self.assertEqual(self.run_main(*opening), (1, "", "error: context-mismatch\n"))

    def test_a_refused_envelope_leaves_no_output(self):
        self.run_main("seal", "--kek-hex", self.kek, self.plain, self.sealed)
        opening = ["open", "--kek-hex", bytes(32).hex(), self.sealed, self.opened]
        self.assertEqual(self.run_main(*opening), (1, "", "error: no-usable-key\n"))
        self.assertFalse(self.opened.exists())

    def test_as_a_program_with_a_passphrase(self):
        environment = os.environ | {"SECRET": "horse"}
        program = [sys.executable, HERE / "waxseal_reader.py"]
        for command, source, target in (
            ("seal", self.plain, self.sealed),
            ("open", self.sealed, self.opened),
        ):
            arguments = [command, "--passphrase-env", "SECRET", source, target]
            subprocess.run([*program, *arguments], env=environment, check=True)
        self.assertEqual(self.opened.read_bytes(), b"a payload")


class Vectors(RefusalTestCase):
    """The files on disk are what the generator makes, and the reader agrees with them."""

    def test_files_are_current(self):
        made = {f"{case.name}.txt": case.text() for case in make_vectors.all_cases()}
        there = {
            path.name: path.read_text(encoding="utf-8")
            for path in make_vectors.FOLDER.glob("*.txt")
        }
        self.assertEqual(sorted(made), sorted(there))
        for name, text in made.items():
            self.assertEqual(text, there[name], name)

    def test_corpus_is_current(self):
        for target, seeds in make_corpus.TARGETS.items():
            files = (make_corpus.FOLDER / target).iterdir()
            self.assertEqual({path.name: path.read_bytes() for path in files}, dict(seeds()))

    def test_reader_agrees(self):
        for path in sorted(make_vectors.FOLDER.glob("*.txt")):
            with self.subTest(path.name):
                header, data = read_vector(path)
                arguments = vector_arguments(header)
                expect = header["expect"][0]
                if expect != "ok":
                    self.assert_refused(expect, wax.open, data, **arguments)
                    continue
                opened = wax.open(data, **arguments)
                length = int(header["plaintext-length"][0])
                self.assertEqual(opened, vector_draft.plaintext(length))
                digest = hashlib.sha256(opened).hexdigest()
                self.assertEqual(digest, header["plaintext-sha256"][0])
                self.assertEqual(wax.parse(data).encode(), data)
                self.check_secrets(header, wax.parse(data))

    def check_secrets(self, header, envelope):
        dek, digest = (bytes.fromhex(header[name][0]) for name in ("dek", "context-digest"))
        head = envelope.head.encode()
        session_key, commitment = wax.derive_session(dek, head, digest)
        self.assertEqual(session_key.hex(), header["session-key"][0])
        self.assertEqual(commitment.hex(), header["commitment"][0])
        several = int(header["plaintext-length"][0]) > 1 << envelope.head.exponent
        self.assertEqual(several, "message-key" in header)
        if several:
            message_key = wax.derive_message_key(dek, head, envelope.nonce, digest)
            self.assertEqual(message_key.hex(), header["message-key"][0])


def read_vector(path):
    text, _, body = path.read_text(encoding="utf-8").partition("\n\n")
    header = {}
    for line in text.splitlines():
        key, _, value = line.partition(": ")
        header.setdefault(key.removesuffix(":"), []).append(value)
    return header, bytes.fromhex(body)


def vector_arguments(header):
    keys = [wax.LocalKek(bytes.fromhex(kek)) for kek in header.get("kek", [])]
    for passphrase in header.get("passphrase", []):
        makers = {"pbkdf2": wax.Pbkdf2Key, "argon2id": wax.Argon2idKey}
        maker = makers[header["passphrase-kdf"][0]]
        keys.append(maker(passphrase.encode(), header["passphrase-name"][0]))
    dek = header.get("open-with-dek")
    context = [line.split("=") for line in header.get("context", [])]
    return {
        "keys": keys,
        "dek": bytes.fromhex(dek[0]) if dek else None,
        "context": [tuple(bytes.fromhex(half).decode() for half in pair) for pair in context],
        "aad": bytes.fromhex(header.get("aad", [""])[0]),
    }


if __name__ == "__main__":
    unittest.main()
