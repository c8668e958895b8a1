#!/usr/bin/env python3
"""Compares what Autobahn found with what is expected.

usage: compare.py EXPECTED OUTDIR [--unexpected]

Results of OUTDIR/again, where there are any, take the place of the first ones. Prints counts per section and each difference, and
ends with 1 if there is one. With --unexpected it only lists the cases that differ.
"""
import collections, json, os, sys

expected_path, out = sys.argv[1:3]
expected = {}
for line in open(expected_path):
    words = line.split("#")[0].split()
    if words:
        expected[words[0]] = words[1]

found = json.load(open(out + "/index.json"))["server"]
cases = json.load(open(out + "/run.json"))["cases"]
again = out + "/again/index.json"
if os.path.exists(again):
    found.update(json.load(open(again))["server"])

sections = collections.OrderedDict()
wrong = []
for case in cases:
    result = found.get(case, {"behavior": "did not run", "behaviorClose": "", "result": ""})
    behavior, closed = result["behavior"], result["behaviorClose"]
    wanted = expected.get(case, "OK")
    counts = sections.setdefault(int(case.split(".")[0]), collections.Counter())
    counts[behavior] += 1
    # A case for information does not say how the connection must end.
    is_closed = closed == "OK" or behavior == "INFORMATIONAL"
    if behavior != wanted or not is_closed:
        wrong.append(case)
        if "--unexpected" not in sys.argv:
            print("%s: %s, close %s, expected %s: %s" % (case, behavior, closed, wanted, result["result"]))

if "--unexpected" in sys.argv:
    print(",".join(wrong))
    sys.exit(0)
for section, counts in sections.items():
    print("%5d  %s" % (section, ", ".join("%d %s" % (count, kind) for kind, count in sorted(counts.items()))))
print("%d cases, %d other than expected" % (len(cases), len(wrong)))
sys.exit(1 if wrong or not cases else 0)
