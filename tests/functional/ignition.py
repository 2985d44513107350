"""Checks a document against the rules of Ignition's configuration specification 3.4.0, as far as rayctl uses it: known
fields alone, absolute and unique paths, modes, data URLs, hashes, unit names. Prints one file a line: MODE PATH SIZE."""
import base64, gzip, json, re, sys, urllib.parse

RESOURCE = {"source", "compression", "httpHeaders", "verification"}
FIELDS = {
    "": {"ignition", "kernelArguments", "passwd", "storage", "systemd"},
    "ignition": {"version", "config", "timeouts", "security", "proxy"},
    "storage": {"disks", "raid", "filesystems", "files", "directories", "links", "luks"},
    "file": {"path", "overwrite", "contents", "append", "mode", "user", "group"},
    "contents": RESOURCE,
    "link": {"path", "target", "hard", "overwrite", "user", "group"},
    "directory": {"path", "overwrite", "mode", "user", "group"},
    "passwd": {"users", "groups"},
    "user": {"name", "passwordHash", "sshAuthorizedKeys", "uid", "gecos", "homeDir", "noCreateHome", "primaryGroup",
             "groups", "noUserGroup", "noLogInit", "shell", "shouldExist", "system"},
    "group": {"name", "gid", "passwordHash", "shouldExist", "system"},
    "systemd": {"units"},
    "unit": {"name", "enabled", "mask", "contents", "dropins"},
}
SUFFIXES = "service socket device mount automount swap target path timer snapshot slice scope".split()


def must(good, text):
    if not good:
        sys.exit(f"ignition.py: {text}")


def fields(kind, thing):
    must(isinstance(thing, dict), f"{kind or 'the document'} is no object")
    unknown = set(thing) - FIELDS[kind]
    must(not unknown, f"{kind or 'the document'} has no field {sorted(unknown)}")
    return thing


def decoded(resource):
    fields("contents", resource)
    source = resource.get("source")
    must(source is not None, "contents without a source")
    url = urllib.parse.urlsplit(source)
    must(url.scheme in ("http", "https", "tftp", "s3", "arn", "gs", "data"), f"unsupported scheme '{url.scheme}'")
    hash_ = resource.get("verification", {}).get("hash")
    must(hash_ is None or re.fullmatch(r"sha512-[0-9a-f]{128}|sha256-[0-9a-f]{64}", hash_), f"bad hash {hash_}")
    if url.scheme != "data":
        must(url.netloc, f"no host in {source}")
        return None
    meta, comma, payload = source[len("data:"):].partition(",")
    must(comma, "a data URL without a comma")
    data = urllib.parse.unquote_to_bytes(payload)
    if meta.endswith(";base64"):
        data = base64.b64decode(data, validate=True)
    compression = resource.get("compression", "")
    must(compression in ("", "gzip"), f"unknown compression {compression}")
    return gzip.decompress(data) if compression else data


document = fields("", json.load(sys.stdin))
ignition = fields("ignition", document["ignition"])
must(re.fullmatch(r"3\.[0-4]\.0", ignition["version"]), f"version {ignition['version']} is newer than 3.4.0")
storage = fields("storage", document.get("storage", {}))
paths = []
for kind, plural in (("file", "files"), ("directory", "directories"), ("link", "links")):
    for thing in storage.get(plural, []):
        fields(kind, thing)
        path = thing["path"]
        must(path.startswith("/") and not re.search(r"//|/\.\.?(/|$)|/$", path), f"bad path '{path}'")
        paths.append(path)
        if "mode" in thing:
            must(type(thing["mode"]) is int and 0 <= thing["mode"] <= 0o7777, f"bad mode of {path}")
        if kind == "file":
            data = decoded(thing["contents"]) if "contents" in thing else b""
            print(f"{thing.get('mode', 0o644):o} {path} {'-' if data is None else len(data)}")
must(len(paths) == len(set(paths)), "a path stands there twice")
users = fields("passwd", document.get("passwd", {})).get("users", [])
for user in users:
    must(fields("user", user).get("name"), "a user without a name")
    keys = user.get("sshAuthorizedKeys", [])
    must(all(re.match(r"(ssh|ecdsa|sk)-\S+ \S+", key) for key in keys), "bad ssh key")
    must(len(keys) == len(set(keys)), "an ssh key stands there twice")
names = [fields("unit", unit)["name"] for unit in fields("systemd", document.get("systemd", {})).get("units", [])]
must(len(names) == len(set(names)), "a unit stands there twice")
for unit in document.get("systemd", {}).get("units", []):
    must(unit["name"].rsplit(".", 1)[-1] in SUFFIXES, f"bad unit name {unit['name']}")
    section = None
    for line in unit.get("contents", "").split("\n"):
        if re.fullmatch(r"\[[A-Za-z-]+\]", line):
            section = line
        elif line.strip() and line[0] not in "#;":
            must(section and "=" in line, f"{unit['name']}: bad line '{line}'")
    must(not unit.get("enabled") or "[Install]" in unit.get("contents", "[Install]"),
         f"{unit['name']} is enabled and has no [Install]")
