"""Counts what a report of a ring says from the inventory and the receipts themselves:
`python report_counts.py ring.db report.json [receipt.json ...]`.

Shares no code with the command. Ends with 1 and names what differs.
"""

import json
import sqlite3
import sys
from collections import Counter

base = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True)
report = json.load(open(sys.argv[2]))
receipts = [json.load(open(name)) for name in sys.argv[3:]]

bodies = [body for (body,) in base.execute("select body from waxseal_row where kind = 'key'")]
taken = {scope for (scope,) in base.execute("select distinct scope from waxseal_row")}
bodies += [body for body, scope in base.execute("select body, scope from waxseal_provisioned") if scope not in taken]
keys = [json.loads(body) for body in bodies]


def algorithm(key):
    """That of the weakest wrap that a branch key ever had: here, one with RSA in its name."""
    if not key.get("branch"):
        return key["algorithm"]
    all = [key["branch"]["wrapped"]["algorithm"]] + [one["algorithm"] for one in key["branch"].get("former", [])]
    return next((name for name in all if "rsa" in name), all[0])


DATES = {"active": ("rotation", "next_rotation"), "deprecated": ("retirement", "retirement_due"), "destroying": ("destruction", "destruction_due")}
due = set()
for key in keys:
    what, member = DATES.get(key["state"], (None, None))
    if what and key.get(member):
        due.add((key["id"], what, key[member], key[member] <= report["at"]))


def counted(key):
    """What the receipts have counted under a key, by its id."""
    found = [count for receipt in receipts for count in receipt["keys"] if count["key"] == key["id"]]
    branches = sum(count.get("branches", 0) for count in found)
    of_branches = {"items": branches, "sole": branches, "bytes": sum(count.get("branch_bytes", 0) for count in found)}
    own = [sum(count[member] for count in found) - of_branches[member] for member in ("items", "sole", "bytes")]
    return own + [branches]


out_of_use = ("deprecated", "retired", "compromised", "destroying")
left = {key["id"]: counted(key) for key in keys if key["state"] in out_of_use and any(counted(key))}
told = [(one["key"], one["what"], one["at"], one["overdue"]) for one in report["due"]]
objects = lambda one: [one["objects"][member] for member in ("items", "sole", "bytes", "branches")]
pairs = {
    "ids": (sorted(key["id"] for key in keys), sorted(key["id"] for key in report["keys"])),
    "scopes": (len({key["scope"] for key in keys}), report["scopes"]),
    "states": (dict(Counter(key["state"] for key in keys)), report["states"]),
    "algorithms": (
        dict(Counter(algorithm(key) for key in keys if key["state"] != "destroyed")),
        {one["algorithm"]: one["keys"] for one in report["algorithms"]},
    ),
    "due": (due, set(told)),
    "left": (left, {one["key"]: objects(one) for one in report["left"] or []}),
    "objects": (
        {key["id"]: counted(key) for key in keys} if receipts else {},
        {one["id"]: objects(one) for one in report["keys"] if one["objects"]},
    ),
    "censuses": (sum(receipt["items"] for receipt in receipts), sum(one["items"] for one in report["censuses"])),
}
differ = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
for name, (own, theirs) in differ.items():
    print(f"{name}: counted {own}, reported {theirs}", file=sys.stderr)
sys.exit(1 if differ else 0)
