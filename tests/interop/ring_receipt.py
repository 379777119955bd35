"""Verifies a census receipt, from docs/spec/key-ring-v1.md alone.

    ring_receipt.py RING-ID REVISION PUBLIC-KEY... < RECEIPT

The public keys are those that may sign. Prints one line for each key: id, items, sole. Ends with 1 and the reason if it does not verify.
"""

import base64
import hashlib
import json
import sys
import uuid

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def fail(why):
    sys.exit(why)


def main():
    ring_id, revision, keys = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    given = sys.stdin.buffer.read().removesuffix(b"\n")
    text, mark, rest = given.rpartition(b',"signature":"')
    if not mark or not rest.endswith(b'"}') or len(rest) != 140:
        fail("no signature at its end")
    text += b"}"
    signer, _, signature = rest[:-2].decode().rpartition(":")
    if signer not in keys:
        fail("signed by somebody else")
    body = hashlib.sha256(text).digest()
    message = b"waxseal ring v1\0" + uuid.UUID(ring_id).bytes + b"\x07receipt" + body
    public = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(signer[8:] + "="))
    try:
        public.verify(base64.urlsafe_b64decode(signature + "=="), message)
    except InvalidSignature:
        fail("the signature is wrong")
    receipt = json.loads(text)
    if receipt["schema"] != 1 or receipt["ring"] != ring_id or receipt["revision"] > revision:
        fail("of another ring or revision")
    covered = {entry["kind"] for entry in receipt["covers"]}
    expected = ["backups"]
    expected += [] if "branch-keys" in covered else ["branch-keys"]
    expected += [] if "dek-store" in covered else ["dek-stores"]
    if receipt["not_covered"] != expected or receipt["whole"] != (receipt["failed_items"] == 0):
        fail("it contradicts itself")
    if any(place["items"] > receipt["items"] for place in receipt["covers"]) or len(receipt["head"]) != 64:
        fail("it contradicts itself")
    for key in receipt["keys"]:
        print(key["key"], key["items"], key["sole"])


main()
