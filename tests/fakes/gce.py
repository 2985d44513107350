#!/usr/bin/env python3
"""A small Google Compute Engine that misbehaves on request: gce.py PORT-FILE PUBLIC-KEY.

Answers have the shapes of the v1 API. It also is the token endpoint (/token: service account assertions, whose RS256
signature openssl checks against PUBLIC-KEY, and refresh tokens) and the metadata server (/computeMetadata/…).
POST /_set {"key": value} tells what goes wrong, GET /_state what there is. Keys:
  faults    [{"method", "path" (regular expression), "status", "reason", "message", "times", "body", "delay", "lost"}]
  capacity  {"size@zone" or "size": machines left}     quota  machines in all (0 = any)
  lag       seconds that a new machine stays invisible  slow   polls that an operation takes
  page      items per page                              skew   seconds that the server's clock is ahead
  rate      calls a second, more are 403 rateLimitExceeded
"""
import base64, email.utils, json, os, re, subprocess, sys, tempfile, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, parse_qsl, unquote, urlsplit

lock = threading.RLock()
settings = {"faults": [], "capacity": {}, "quota": 0, "lag": 0, "slow": 1, "page": 500, "skew": 0, "rate": 0, "expire": 3600}
instances, firewalls, disks, operations, requests, tokens, calls, counters = {}, {}, {}, {}, {}, set(), [], {}
SELF = ""


class Fault(Exception):
    def __init__(self, status, reason, message):
        self.status, self.reason, self.message = status, reason, message


def operation(zone, target, error=None):
    name = f"operation-{len(operations) + 1}"
    operations[name] = {"kind": "compute#operation", "name": name, "status": "RUNNING", "targetLink": f"{SELF}/{target}",
                        "progress": 0, "left": settings["slow"], "failure": error}
    if zone:
        operations[name]["zone"] = f"{SELF}/projects/p/zones/{zone}"
    return show_operation(name)


def show_operation(name):
    op = operations[name]
    out = {k: v for k, v in op.items() if k not in ("left", "failure")}
    if op["left"] <= 0:
        out.update(status="DONE", progress=100)
        if op["failure"]:
            out["error"] = {"errors": [{"code": op["failure"][0], "message": op["failure"][1]}]}
            out.update(httpErrorStatusCode=503, httpErrorMessage="SERVICE UNAVAILABLE")
    op["left"] -= 1
    return out


def visible(i):
    return time.time() > i["born"] + settings["lag"]


def show(i):
    out = {k: v for k, v in i.items() if k not in ("born",)}
    out["status"] = i["status"] if i["status"] != "STAGING" or not visible(i) else "RUNNING"
    return out


class API:
    def __init__(self, query, body):
        self.query, self.body = query, body

    def page(self, items, kind="items"):
        start = int(self.query.get("pageToken", "0"))
        size = min(settings["page"], int(self.query.get("maxResults", "500")))
        return items[start:start + size], (str(start + size) if start + size < len(items) else None)

    def aggregated(self, things, key):
        label = re.fullmatch(r"labels\.rayctl-cluster=(.*)", self.query["filter"])[1]
        found = [t for t in things if t.get("labels", {}).get("rayctl-cluster") == label]
        part, token = self.page(found)
        scopes = {"zones/us-east1-d": {"warning": {"code": "NO_RESULTS_ON_PAGE", "message": "no results"}}}
        for t in part:
            scopes.setdefault("zones/" + t["zone"].rsplit("/", 1)[1], {}).setdefault(key, []).append(show(t) if key == "instances" else t)
        return {"kind": "aggregatedList", "items": scopes, **({"nextPageToken": token} if token else {})}

    def call(self, method, path):
        if method == "GET" and path == "":
            return {"name": "p"}
        if m := re.fullmatch(r"regions/(.+)", path):
            if m[1] == "us-nowhere1":
                raise Fault(404, "notFound", "The resource 'projects/p/regions/us-nowhere1' was not found")
            return {"name": m[1], "zones": [f"{SELF}/projects/p/zones/{m[1]}-{z}" for z in "bcd"]}
        if m := re.fullmatch(r"zones/([^/]+)/machineTypes/(.+)", path):
            if m[2] != "x9-special-6":
                raise Fault(404, "notFound", f"The resource '{path}' was not found")
            return {"name": m[2], "guestCpus": 6, "memoryMb": 12288, "architecture": "ARM64"}
        if path == "aggregated/instances":
            return self.aggregated([i for i in instances.values() if visible(i)], "instances")
        if path == "aggregated/disks":
            return self.aggregated(list(disks.values()), "disks")
        if m := re.fullmatch(r"zones/([^/]+)/instances", path):
            return self.insert(m[1])
        if m := re.fullmatch(r"zones/([^/]+)/instances/([^/]+)(/serialPort)?", path):
            i = instances.get(m[2])
            if not i or i["zone"].rsplit("/", 1)[1] != m[1]:
                raise Fault(404, "notFound", f"The resource '{path}' was not found")
            if m[3]:
                return {"contents": "Linux version 6.1\r\nrayctl: joining\r\n"}
            if method == "DELETE":
                del instances[m[2]]
                return operation(m[1], path)
            return show(i)
        if m := re.fullmatch(r"(?:global|zones/[^/]+)/operations/([^/]+)", path):
            return show_operation(m[1])
        if m := re.fullmatch(r"zones/([^/]+)/disks/([^/]+)", path):
            del disks[m[2]]
            return operation(m[1], path)
        if path == "global/firewalls" and method == "GET":
            pattern = re.fullmatch(r"name eq (.*)", self.query["filter"])[1]
            found = [f for f in firewalls.values() if re.fullmatch(pattern, f["name"])]
            return {"items": found} if found else {"kind": "compute#firewallList"}
        if path == "global/firewalls":
            if self.body["name"] in firewalls:
                raise Fault(409, "alreadyExists", "The resource already exists")
            firewalls[self.body["name"]] = self.body
            return operation("", path)
        if m := re.fullmatch(r"global/firewalls/(.+)", path):
            if method == "DELETE":
                del firewalls[m[1]]
            else:
                firewalls[m[1]] = self.body
            return operation("", path)
        raise Fault(404, "notFound", path)

    def insert(self, zone):
        b = self.body
        if self.query["requestId"] in requests:
            return show_operation(requests[self.query["requestId"]])
        if not re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", b["name"]):
            raise Fault(400, "invalid", f"Invalid value for field 'resource.name': '{b['name']}'")
        if "nowhere" in b["disks"][0]["initializeParams"]["sourceImage"]:
            raise Fault(404, "notFound", "The resource 'projects/nowhere/global/images/family/x' was not found")
        if any(n == b["name"] and i["zone"].endswith(zone) for n, i in instances.items()):
            raise Fault(409, "alreadyExists", f"The resource 'zones/{zone}/instances/{b['name']}' already exists")
        size = b["machineType"].rsplit("/", 1)[1]
        key = f"{size}@{zone}" if f"{size}@{zone}" in settings["capacity"] else size
        left = settings["capacity"].get(key, 100000)
        error = None
        if settings["quota"] and len(instances) >= settings["quota"]:
            error = ("QUOTA_EXCEEDED", "Quota 'CPUS' exceeded.  Limit: 24.0 in region us-east1.")
        elif left < 1:
            error = ("ZONE_RESOURCE_POOL_EXHAUSTED", f"The zone 'projects/p/zones/{zone}' does not have enough resources available to fulfill the request.")
        op = operation(zone, f"zones/{zone}/instances/{b['name']}", error)
        if not error:
            settings["capacity"][key] = left - 1
            n = len(requests)
            nic = [{"networkIP": f"10.142.{n // 250}.{n % 250 + 2}", "accessConfigs": [{"natIP": f"198.51.{n // 250}.{n % 250 + 2}"}]}]
            instances[b["name"]] = {**b, "zone": f"{SELF}/projects/p/zones/{zone}", "machineType": f"{SELF}/{b['machineType']}", "status": "STAGING",
                                    "networkInterfaces": nic, "born": time.time(), "creationTimestamp": "2025-03-01T10:00:00.123-08:00",
                                    "disks": [{"boot": True, "diskSizeGb": b["disks"][0]["initializeParams"]["diskSizeGb"]}], "sent": b}
        requests[self.query["requestId"]] = op["name"]
        return op


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, status, body, **headers):
        body = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response_only(status)
        self.send_header("Date", email.utils.formatdate(time.time() + settings["skew"], usegmt=True))
        self.send_header("Content-Type", "application/json; charset=UTF-8")
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def token(self, form):
        if form["grant_type"] == "refresh_token":
            if form["refresh_token"] != "refresh":
                return self.answer(400, {"error": "invalid_grant", "error_description": "Token has been expired or revoked."})
        else:
            head, claims, signature = form["assertion"].split(".")
            pad = lambda t: base64.urlsafe_b64decode(t + "=" * (-len(t) % 4))
            with tempfile.NamedTemporaryFile() as f:
                f.write(pad(signature))
                f.flush()
                good = subprocess.run(["openssl", "dgst", "-sha256", "-verify", sys.argv[2], "-signature", f.name],
                                      input=f"{head}.{claims}".encode(), capture_output=True).returncode == 0
            c = json.loads(pad(claims))
            if not good or json.loads(pad(head))["alg"] != "RS256" or c["iss"] != "ray@p.example" or not c["aud"].endswith("/token"):
                return self.answer(400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."})
            if abs(time.time() + settings["skew"] - c["iat"]) > 60:
                return self.answer(400, {"error": "invalid_grant", "error_description": "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe."})
        text = f"ya29.{len(tokens)}"
        tokens.add(text)
        self.answer(200, {"access_token": text, "expires_in": settings["expire"], "token_type": "Bearer"})

    def handle_any(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        if path == "/_set":
            with lock:
                settings.update(json.loads(body))
                if "revoke" in settings:
                    tokens.clear()
                    del settings["revoke"]
            return self.answer(200, {})
        if path == "/_state":
            with lock:
                return self.answer(200, {"instances": list(instances.values()), "firewalls": list(firewalls.values()), "calls": calls})
        if path == "/token":
            return self.token(dict(parse_qsl(body)))
        if path.startswith("/computeMetadata/v1/"):
            if self.headers.get("Metadata-Flavor") != "Google":
                return self.answer(403, "")
            if path.endswith("project-id"):
                return self.answer(200, "p", Metadata_Flavor="Google")
            tokens.add("ya29.machine")
            return self.answer(200, {"access_token": "ya29.machine", "expires_in": 3600}, Metadata_Flavor="Google")
        try:
            if self.headers.get("Authorization", "").removeprefix("Bearer ") not in tokens:
                raise Fault(401, "authError", "Request had invalid authentication credentials.")
            m = re.fullmatch(r"/compute/v1/projects/p(?:/(.*))?", path)
            if not m:
                raise Fault(403, "forbidden", "Required 'compute.instances.list' permission for 'projects/other'")
            with lock:
                calls.append(f"{self.command} {m[1]}")
                second = int(time.time())
                counters[second] = counters.get(second, 0) + 1
                if settings["rate"] and counters[second] > settings["rate"]:
                    raise Fault(403, "rateLimitExceeded", "Rate Limit Exceeded")
                chosen = None
                for fault in settings["faults"]:
                    if fault.get("method", self.command) == self.command and re.search(fault["path"], path) and fault.get("times", 1) > 0:
                        fault["times"] = fault.get("times", 1) - 1
                        chosen = dict(fault)
                        break
            api = API({k: v[0] for k, v in parse_qs(parts.query).items()}, json.loads(body) if body else None)
            if chosen:
                time.sleep(chosen.get("delay", 0))
                if "lost" in chosen:
                    with lock:
                        api.call(self.command, m[1] or "")
                    self.close_connection = True
                    return
                if "body" in chosen:
                    return self.answer(chosen.get("status", 200), chosen["body"])
                if "status" in chosen:
                    raise Fault(chosen["status"], chosen.get("reason", ""), chosen.get("message", "no"))
            with lock:
                result = api.call(self.command, m[1] or "")
            self.answer(200, result)
        except Fault as f:
            self.answer(f.status, {"error": {"code": f.status, "message": f.message, "errors": [{"message": f.message, "domain": "global", "reason": f.reason}]}})

    do_GET = do_POST = do_PUT = do_DELETE = handle_any


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    SELF = f"http://127.0.0.1:{server.server_port}/compute/v1"
    with open(sys.argv[1] + ".new", "w") as f:
        f.write(f"{server.server_port}\n")
    os.rename(sys.argv[1] + ".new", sys.argv[1])
    server.serve_forever()
