"""Verifies the export of a key ring, from docs/spec/key-ring-v1.md alone.

    ring_reader.py RING-ID PUBLIC-KEY < EXPORT

Prints one line for each key: id, scope, slot, state. Ends with 1 and the reason if anything does not verify.
"""

import base64
import hashlib
import json
import sys
import unicodedata
import urllib.parse
import uuid

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

READER = 2


class Invalid(Exception):
    """Something does not verify."""


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def public_key(text):
    if not text.startswith("ed25519:"):
        raise Invalid("a public key begins with ed25519:")
    return base64.urlsafe_b64decode(text[8:] + "=")


def verify(ring, kind, signed, keys):
    """Returns the record of a signed body, and who has signed it."""
    body = signed["body"].encode()
    signer = base64.b64decode(signed["signer"], validate=True)
    if signer not in keys or len(body) > 262144:
        raise Invalid(f"the {kind} is not signed by an authority")
    message = b"waxseal ring v1\0" + ring + bytes([len(kind)]) + kind.encode() + body
    try:
        Ed25519PublicKey.from_public_bytes(signer).verify(base64.b64decode(signed["signature"]), message)
    except InvalidSignature:
        raise Invalid(f"the signature of the {kind} is wrong") from None
    record = json.loads(body)
    if record["min_reader"] > READER:
        raise Invalid(f"the {kind} needs a newer reader")
    return record, signer


def newest_authority(ring, trusted, successions):
    following = False
    for number, signed in enumerate(successions, 1):
        following = following or base64.b64decode(signed["signer"]) == trusted
        if following:
            record, _ = verify(ring, "succession", signed, [trusted])
            if record["number"] != number:
                raise Invalid("the successions are not in order")
            trusted = public_key(record["next"])
    return trusted


def node(nodes, path, digest):
    body = base64.b64decode(nodes.get(path, ""))
    actual = sha256(b"waxseal ring node v1\0", bytes([len(path)]), path.encode(), body) if body else bytes(32)
    if actual != digest:
        raise Invalid(f"the node {path!r} is not the one that the head signs")
    return body


def entries(nodes, root, scope):
    """What the tree says of a scope: id and kind to digest."""
    hashed = sha256(b"waxseal ring scope v1\0", scope.encode())
    path, digest = "", root
    for digit in hashed.hex()[:3]:
        body = node(nodes, path, digest)
        index = int(digit, 16)
        digest = body[index * 32 : index * 32 + 32] if body else bytes(32)
        path += digit
    bucket = node(nodes, path, digest)
    if len(bucket) % 81:
        raise Invalid("a bucket has a wrong length")
    found = {}
    for entry in (bucket[at : at + 81] for at in range(0, len(bucket), 81)):
        if entry[:32] == hashed:
            found[str(uuid.UUID(bytes=entry[32:48])), entry[48]] = entry[49:]
    return found


def all_ids(nodes, root):
    """The ids of all records that the tree has, of whatever scope; refuses nodes that are not of the tree."""
    found, seen, open_ = [], 0, [("", root)]
    while open_:
        path, digest = open_.pop()
        body = node(nodes, path, digest)
        if not body:
            continue
        seen += 1
        if len(path) == 3:
            found += [str(uuid.UUID(bytes=body[at + 32 : at + 48])) for at in range(0, len(body), 81)]
        else:
            children = ((f"{path}{index:x}", body[index * 32 : index * 32 + 32]) for index in range(16))
            open_ += [child for child in children if child[1] != bytes(32)]
    if seen != len(nodes):
        raise Invalid("the tree has nodes that the head does not sign")
    return found


def is_escaped(segment):
    """Whether a segment of a scope is what some value of a context becomes."""
    try:
        value = urllib.parse.unquote(segment, errors="strict")
    except UnicodeDecodeError:
        return False
    edges = {0, len(value) - 1}
    text = ""
    for index, char in enumerate(value):
        escapes = char in "%/{}" or unicodedata.category(char) == "Cc" or (index in edges and char.isspace())
        text += "".join(f"%{byte:02X}" for byte in char.encode()) if escapes else char
    return bool(value) and text == segment


def makes(template, scope):
    """Whether some context has this scope."""
    if "/" in (template, scope):
        return template == scope
    parts, segments = template.split("/"), scope.split("/")
    fits = (is_escaped(segment) if part.startswith("{") else part == segment for part, segment in zip(parts, segments))
    return len(parts) == len(segments) and all(fits)


def state_at(key, revision):
    states = [move["to"] for move in key["history"] if move["revision"] <= revision]
    return states[-1] if states else None


def provisioned(ring, head, settings, row, keys):
    """Refuses a key that a provisioner may not have made. `keys` are those of the tree, by their ids."""
    scope, provision = row["scope"], settings["provision"]
    key, _ = verify(ring, "provisioned", row["signed"], [public_key(text) for text in provision["keys"]])
    if (key["id"], key["scope"], key["slot"]) != (row["id"], scope, row["slot"]):
        raise Invalid(f"a column of {row['id']} is no copy")
    branch, since, move = key["branch"], key["in_ring_since"], key["history"][0]
    parent = keys.get(branch["parent"])
    if parent is None or parent.get("branch") or (parent["scope"], parent["slot"]) != (provision["parent"], "default"):
        raise Invalid(f"the parent of the provisioned key {key['id']} is missing")
    kek, wrapped = parent["provenance"], branch["wrapped"]
    wanted = {
        "the scope": makes(settings["scope_template"], scope),
        "the slot": key["slot"] == "default",
        "the state": (key["state"], key["revision"], len(key["history"])) == ("active", 1, 1),
        "the move": "from" not in move or move["from"] is None,
        "the time": key["created"] == key["activated"] == move["at"],
        "the revision": 0 < since == move["revision"] <= head["revision"] and state_at(parent, since) == "active",
        "the end": since < provision.get("closed_since", since + 1),
        "the parent's scope": branch["parent_scope"] == provision["parent"] and not branch.get("former"),
        "the class": wrapped["algorithm"] == parent["algorithm"] and key["protection"] == parent["protection"],
        "the wrap": (wrapped["provider"], wrapped["id"]) == (kek["provider"], kek["id"]),
        "the id": (key["provenance"]["provider"], key["provenance"]["id"]) == ("branch", key["id"]),
        "the rest": key["has_wrapped"] and not any(
            key.get(member)
            for member in ("predecessor", "successor", "canary", "staged", "labels", "deprecated", "shredded", "taken_back")
        ),
    }
    wrong = [name for name, is_good in wanted.items() if not is_good]
    if wrong:
        raise Invalid(f"the provisioned key {key['id']} is wrong: {', '.join(wrong)}")
    return key


def main():
    ring_id, trusted = sys.argv[1], public_key(sys.argv[2])
    export = json.load(sys.stdin)
    ring = uuid.UUID(ring_id).bytes
    authority = newest_authority(ring, trusted, export["successions"])
    head, _ = verify(ring, "head", export["head"], [authority])
    if (head["ring"], head["revision"]) != (ring_id, export["revision"]) or head["successions"] != len(export["successions"]):
        raise Invalid("the head is of another ring or revision")
    settings, _ = verify(ring, "settings", export["settings"], [authority])
    if sha256(export["settings"]["body"].encode()).hex() != head["settings"] or settings["ring"] != ring_id:
        raise Invalid("the settings are not those of the head")
    authorities = [public_key(key) for key in settings["authorities"]]
    scopes, keys = {}, {}
    for row in export["rows"]:
        scopes.setdefault(row["scope"], []).append(row)
    for scope, rows in sorted(scopes.items()):
        expected = entries(export["nodes"], bytes.fromhex(head["root"]), scope)
        for row in rows:
            kind = {"key": 1, "intent": 2, "tombstone": 3}[row["kind"]]
            digest = expected.pop((row["id"], kind), None)
            if digest != sha256(row["signed"]["body"].encode()):
                raise Invalid(f"the {row['kind']} {row['id']} of {scope} is not the one that the head signs")
            record, _ = verify(ring, row["kind"], row["signed"], authorities)
            if (record["id"], record["scope"], record["slot"]) != (row["id"], scope, row["slot"]):
                raise Invalid(f"a column of {row['id']} is no copy")
            if kind == 1:
                keys[record["id"]] = record
                print(record["id"], scope, record["slot"], record["state"])
        if expected:
            raise Invalid(f"records of {scope} are missing: {sorted(expected)}")
    there = {row["id"] for row in export["rows"]}
    missing = [record for record in all_ids(export["nodes"], bytes.fromhex(head["root"])) if record not in there]
    if missing:
        raise Invalid(f"records are missing with all of their scope: {sorted(missing)}")
    first = set()
    for row in export.get("provisioned", []):
        if entries(export["nodes"], bytes.fromhex(head["root"]), row["scope"]) or row["scope"] in first:
            raise Invalid(f"the provisioned key {row['id']} is not the only record of {row['scope']}")
        first.add(row["scope"])
        key = provisioned(ring, head, settings, row, keys)
        print(key["id"], key["scope"], key["slot"], key["state"])


try:
    main()
except (Invalid, KeyError, ValueError, TypeError) as error:
    sys.exit(f"{type(error).__name__}: {error}")
