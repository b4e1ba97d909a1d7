#!/usr/bin/env bash
# SQLite 3.54.1 (APSW 3.54.1.0; the same with 3.40.1 of Debian 12): one child that waits for its parent, keys deferred.
#
# A deferred key lets a transaction store a child before its parent, which is what it is for.
#
# Expected: deferring costs a counter for each transaction, whatever the order. (Guess before the run: a waiting child makes each
# new parent scan, unless there is an index. Right, but for the index without a type.)
# Seen: as long as one child of the transaction still lacks its parent, every INSERT into the parent table, of any other parent
# too, looks through all the children without an index on the key: 3 steps of the virtual machine for each child. Parents first:
# the same few steps for 100 and 10 000 children. An index on the column helps if the column has the type of the parent's key; on
# a column without a type it is not used, and nothing says so.
#
# Why it matters: an import that stores a child before its parent, or that leaves one orphan until its end, turns quadratic
# without a single slow statement and without a query that names the child table.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "apsw==3.54.1.0"
cd "$work"
venv/bin/python - <<'PY'
import sys

import apsw

print("SQLite", apsw.sqlite_lib_version())


def steps(children, waiting, kind="INTEGER", index=False):
    """The steps that the virtual machine takes for one new parent that no child refers to."""
    con, count = apsw.Connection(":memory:"), 0
    con.execute("PRAGMA foreign_keys = ON")
    con.execute("CREATE TABLE film(id INTEGER PRIMARY KEY)")
    con.execute(f"CREATE TABLE score(film {kind} REFERENCES film(id) DEFERRABLE INITIALLY DEFERRED)")
    if index:
        con.execute("CREATE INDEX by_film ON score(film)")
    con.execute("INSERT INTO film VALUES (1)")
    con.executemany("INSERT INTO score VALUES (?)", [(1,)] * children)

    def step():
        nonlocal count
        count += 1
        return False

    con.execute("BEGIN")
    if waiting:
        con.execute("INSERT INTO score VALUES (77)")
    con.set_progress_handler(step, 1)
    con.execute("INSERT INTO film VALUES (2)")
    con.set_progress_handler(None)
    con.execute("INSERT INTO film VALUES (77)")
    con.execute("COMMIT")
    return count


seen = {}
for name, how in {
    "no child waits": {"waiting": False},
    "one waits": {"waiting": True},
    "one waits, index": {"waiting": True, "index": True},
    "one waits, index, no type": {"waiting": True, "index": True, "kind": ""},
}.items():
    few, many = steps(100, **how), steps(10_000, **how)
    seen[name] = many > 20 * few
    print(f"{name:26} a new parent takes {few} steps beside 100 children, {many} beside 10 000")
sys.exit(0 if list(seen.values()) == [False, True, False, True] else "the behaviour has changed")
PY
