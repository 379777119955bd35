"""Validates a bill of materials: `python cbom_check.py < bom.json`, with `cyclonedx-python-lib[json-validation]`.

By the official schema of CycloneDX 1.6, and by what that does not see: that each reference names something.
"""

import json
import sys

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

text = sys.stdin.read()
wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
if wrong is not None:
    sys.exit(f"the schema refuses it: {wrong}")
bom = json.loads(text)
names = [component["bom-ref"] for component in bom["components"]] + [bom["metadata"]["component"]["bom-ref"]]
if len(names) != len(set(names)):
    sys.exit("a bom-ref is there twice")


def references(node):
    if isinstance(node, dict):
        for name, value in node.items():
            if name in ("algorithmRef", "ref"):
                yield value
            elif name == "dependsOn":
                yield from value
            else:
                yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


dangling = set(references(bom)) - set(names)
if dangling:
    sys.exit(f"nothing is named {sorted(dangling)}")
kinds = [component["cryptoProperties"]["assetType"] for component in bom["components"]]
print(json.dumps({kind: kinds.count(kind) for kind in sorted(set(kinds))}))
