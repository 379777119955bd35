# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Makes the envelope test vectors in tests/vectors: `python3 tests/interop/make_vectors.py`.

What each case expects is written by hand, from docs/spec/envelope-v1.md, in
vector_bodies.py and vector_wraps.py; test_reader.py holds waxseal_reader.py to it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import vector_bodies as bodies
import vector_wraps as wraps
from vector_draft import Case

FOLDER = Path(__file__).resolve().parent.parent / "vectors"


def all_cases() -> list[Case]:
    groups = (
        bodies.sizes, bodies.aads, bodies.contexts, bodies.stored_contexts, bodies.fixed_fields,
        bodies.detached, bodies.truncations, bodies.trailing_bytes, bodies.moved_chunks,
        bodies.misbuilt_chunks, bodies.spliced, wraps.good_stanzas, wraps.bad_stanzas,
        wraps.wrap_sections, wraps.shares, wraps.passphrases,
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
