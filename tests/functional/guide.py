"""The fenced blocks of docs/running-ray.md, for tests that carry them out.

guide.py block HEADING [N]    prints the Nth block (from 1) below that heading; of a session its commands alone
guide.py shown HEADING [N]    prints its lines of output alone: what follows commands, or all when there are none
guide.py compare HEADING N FILE [WORD...]
    each line of FILE must look like one that the guide shows in that block, and each shown line must have one in FILE.
    What differs from run to run (times, addresses, ids, sizes, prices) counts as its kind. Lines that the guide shows
    and that have a WORD in them may be missing in FILE.
guide.py within HEADING N FILE
    FILE has a line like each that the guide shows in that block, in the same order; others may stand between them.
"""
import os, re, sys

GUIDE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/running-ray.md")
PROMPT = re.compile(r"^(?:\S+@\S+:\S*)?\$ ")
KINDS = [
    (r"[A-Z][a-z]{2} [ \d]?\d \d\d:\d\d:\d\d\.\d{3}", r"[A-Z][a-z]{2} [ \\d]\\d \\d\\d:\\d\\d:\\d\\d\\.\\d{3}"),
    (r"Amazon us-west-1 m5\.large", r"\\S+ \\S+ \\S+"),
    (r"\bi-[0-9a-f]+", r"[^ ,]+"),
    (r"\d+\.\d+\.\d+\.\d+", r"\\d+\\.\\d+\\.\\d+\\.\\d+"),
    (r"\$[0-9.]+", r"\\$[0-9.]+"),
    (r"\b[0-9a-f]{12}\b", r"[0-9a-f]{12}"),
    (r"Up \d+ minutes", r"Up [A-Za-z0-9 ]+?"),
    (r"\d+ minutes? ago", r"[A-Za-z0-9 ]+ ago"),
    (r"rayctl/ray\b", r"\\S+"),
    (r"3\.14\d+", r"3\\.14\\d+"),
    (r"(?<=Machine-)\d+|(?<=machine=)\d+|^\d+(?= machines)|(?<=count=)\d+", r"\\d+"),
    (r"ray-(?:ms|wk)-\d+/\S+", r"ray-(?:ms|wk)-\\d+/\\S+"),
]


def blocks(heading):
    found, below, inside = [], False, None
    for line in open(GUIDE, encoding="utf-8").read().split("\n"):
        if line.startswith("```"):
            if inside is not None and below:
                found.append(inside)
            inside = [] if inside is None else None
        elif inside is not None:
            inside.append(line)
        elif line.startswith("#"):
            below = line.lstrip("#").strip() == heading
    if not found:
        sys.exit(f"guide.py: the guide has no block below '{heading}'")
    return found


def shown(block):
    return [l for l in block if not PROMPT.match(l)] if any(PROMPT.match(l) for l in block) else block


def pattern(line):
    pieces, rest = [], line
    marks = [(re.compile(k), r.replace("\\\\", "\\")) for k, r in KINDS]
    while rest:
        hits = [(m.start(), -m.end(), r, m) for k, r in marks if (m := k.search(rest)) and m.end() > m.start()]
        if not hits:
            pieces.append(re.escape(rest))
            break
        start, _, replacement, m = min(hits, key=lambda h: h[:2])
        pieces += [re.escape(rest[:start]), replacement]
        rest = rest[m.end():]
    return re.sub(r"(?:\\ ){2,}", " +", "".join(pieces))


def compare(lines, real, optional):
    patterns = [(line, re.compile(pattern(line) + r"\s*")) for line in lines if line.strip()]
    bad = 0
    for line in filter(str.strip, real):
        if not any(p.fullmatch(line) for _, p in patterns):
            print(f"the guide shows no line like: {line}")
            bad += 1
    for line, p in patterns:
        if not any(p.fullmatch(l) for l in real) and not any(word in line for word in optional):
            print(f"the guide shows: {line}\n  but no line looks like {p.pattern}")
            bad += 1
    return bad


def within(lines, real):
    rest = iter(real)
    for line in filter(str.strip, lines):
        wanted = re.compile(pattern(line) + r"\s*")
        if not any(wanted.fullmatch(l) for l in rest):
            print(f"the guide shows: {line}\n  but no line looks like {wanted.pattern} after those before it")
            return 1
    return 0


def main(argv):
    what, heading = argv[1], argv[2]
    number = int(argv[3]) if len(argv) > 3 else 1
    block = blocks(heading)[number - 1]
    if what == "block":
        commands = [PROMPT.sub("", l) for l in block if PROMPT.match(l)]
        print("\n".join(commands or block))
    elif what == "shown":
        print("\n".join(shown(block)))
    else:
        real = open(argv[4], encoding="utf-8").read().split("\n")
        if what == "within":
            sys.exit(within(shown(block), real))
        sys.exit(1 if compare(shown(block), real, argv[5:]) else 0)


main(sys.argv)
