#!/usr/bin/env python3
"""A small Azure that misbehaves on request: azure.py PORT-FILE.

Answers have the shapes of Azure Resource Manager. It also is the login service (/TENANT/oauth2/v2.0/token) and the
metadata service (/metadata/…). POST /_set {"key": value} tells what goes wrong, GET /_state what there is. Keys:
  faults    [{"method", "path" (regular expression), "status", "code", "message", "times", "body", "delay", "lost", "after"}]
  capacity  {size: machines left}     quota  machines in all (0 = any)     late  capacity fails in the operation
  slow      polls that an operation takes          page  items per page
  expire    seconds that tokens last               revoke  forget all tokens
"""
import base64, json, os, re, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, parse_qsl, unquote, urlsplit

lock = threading.RLock()
settings = {"faults": [], "capacity": {}, "quota": 0, "slow": 1, "page": 100, "expire": 3600, "late": False}
things, operations, tokens, calls = {}, {}, set(), []  # things: by path in lower case
BASE = ""


class Fault(Exception):
    def __init__(self, status, code, message, details=None):
        self.status, self.code, self.message, self.details = status, code, message, details


def operation(error=None, finish=None):
    name = str(len(operations) + 1)
    operations[name] = {"left": settings["slow"], "error": error, "finish": finish}
    return {"Azure-AsyncOperation": f"{BASE}/subscriptions/s/providers/Microsoft.Compute/locations/x/operations/{name}?api-version=1", "Retry-After": "0"}


def kind_of(path):
    m = re.search(r"/providers/([^/]+/[^/]+)/[^/]+$", path)
    return m[1] if m else "group"


class API:
    def __init__(self, query, body):
        self.query, self.body = query, body

    def call(self, method, path):  # -> status, body, headers
        if m := re.search(r"/operations/(\d+)$", path):
            op = operations[m[1]]
            op["left"] -= 1
            if op["left"] >= 0:
                return 200, {"status": "InProgress"}, {"Retry-After": "0"}
            if op["finish"]:
                op["finish"]()
                op["finish"] = None
            if op["error"]:
                return 200, {"status": "Failed", "error": {"code": op["error"][0], "message": op["error"][1]}}, {}
            return 200, {"status": "Succeeded"}, {}
        if path == "/subscriptions/s":
            return 200, {"displayName": "Pay as you go"}, {}
        if path.endswith("/vmSizes"):
            return 200, {"value": [{"name": "Standard_X6ps_v9", "numberOfCores": 6, "memoryInMB": 12288}]}, {}
        group = re.match(r"/subscriptions/s/resourceGroups/[^/]+", path)
        if not group:
            raise Fault(404, "InvalidResource", path)
        key = path.lower()
        if method == "PUT":
            return self.put(path, key, group[0])
        if path.endswith("/resources"):
            found = [t for k, t in things.items() if k.startswith(group[0].lower() + "/")]
            return 200, self.page([{k: t[k] for k in ("id", "name", "type", "location", "tags") if k in t} for t in found], path), {}
        if group[0].lower() not in things:
            raise Fault(404, "ResourceGroupNotFound", f"Resource group '{group[0].rsplit('/', 1)[1]}' could not be found.")
        if m := re.fullmatch(r"(.*)/providers/(Microsoft\.\w+/\w+)", path):
            found = [t for k, t in things.items() if k.startswith(key + "/")]
            return 200, self.page(found, path), {}
        if path.endswith("/retrieveBootDiagnosticsData"):
            return 200, {"serialConsoleLogBlobUri": f"{BASE}/blob/serial?sig=1"}, {}
        if key not in things:
            raise Fault(404, "ResourceNotFound", f"The Resource '{path}' was not found.")
        if method == "GET":
            return 200, things[key], {}
        if method == "DELETE":
            if path == group[0]:
                def finish():
                    for k in [k for k in things if k == key or k.startswith(key + "/")]:
                        del things[k]
                threading.Timer(0.2, finish).start()
                return 202, None, {"Location": f"{BASE}/subscriptions/s/operationresults/1"}
            thing = things.pop(key)
            if thing.get("type") == "Microsoft.Compute/virtualMachines":
                for nic in thing["properties"]["networkProfile"]["networkInterfaces"]:
                    nic = things.pop(nic["id"].lower(), None)
                    for c in (nic or {"properties": {"ipConfigurations": []}})["properties"]["ipConfigurations"]:
                        things.pop(c["properties"]["publicIPAddress"]["id"].lower(), None)
                things.pop(key.replace("virtualmachines", "disks") + "-disk", None)
            return 202, None, {}
        raise Fault(405, "MethodNotAllowed", method)

    def page(self, items, path):
        start = int(self.query.get("$skiptoken", "0"))
        out = {"value": items[start:start + settings["page"]]}
        if start + settings["page"] < len(items):
            out["nextLink"] = f"{BASE}{path}?api-version=1&$skiptoken={start + settings['page']}"
        return out

    def put(self, path, key, group):
        kind, body = kind_of(path), self.body
        if kind != "group" and group.lower() not in things:
            raise Fault(404, "ResourceGroupNotFound", "no such group")
        new = key not in things
        if kind != "group" and body.get("tags", {}).get("rayctl:cluster") is None:
            raise Fault(400, "InvalidRequest", "untagged")
        thing = {**body, "id": path, "name": path.rsplit("/", 1)[1], "type": kind}
        if kind == "Microsoft.Network/networkInterfaces":
            for c in body["properties"]["ipConfigurations"]:
                for part in (c["properties"]["publicIPAddress"]["id"], body["properties"]["networkSecurityGroup"]["id"],
                             c["properties"]["subnet"]["id"].rsplit("/subnets/", 1)[0]):
                    if part.lower() not in things:
                        raise Fault(400, "InvalidResourceReference", f"Resource {part} referenced by {path} was not found.")
                c["properties"]["privateIPAddress"] = f"10.240.0.{len(things) % 250 + 4}"
            thing["properties"] = body["properties"]
        if kind == "Microsoft.Network/publicIPAddresses":
            thing["properties"]["ipAddress"] = f"198.51.100.{len(things) % 250 + 1}"
        if kind != "Microsoft.Compute/virtualMachines":
            things[key] = thing
            return (201 if new else 200), thing, (operation() if kind.endswith("publicIPAddresses") and new else {})
        p = body["properties"]
        if not p["osProfile"]["linuxConfiguration"]["ssh"]["publicKeys"]:
            raise Fault(400, "InvalidParameter", "Authentication using either SSH or by user name and password must be enabled in Linux profile.")
        if len(base64.b64decode(p["osProfile"].get("customData", ""))) > 65535:
            raise Fault(400, "InvalidParameter", "Custom data in OSProfile must be in Base64 encoding and with a maximum length of 87380 characters.")
        size = p["hardwareProfile"]["vmSize"]
        vms = [k for k in things if "/virtualmachines/" in k]
        if settings["quota"] and len(vms) >= settings["quota"]:
            raise Fault(409, "OperationNotAllowed", "Operation could not be completed as it results in exceeding approved standardDSv5Family Cores quota.")
        if not new and things[key]["properties"]["hardwareProfile"]["vmSize"] != size:
            raise Fault(409, "PropertyChangeNotAllowed", "Changing property is not allowed.")
        error = None
        if settings["capacity"].get(size, 1000) < 1:
            if not settings["late"]:
                raise Fault(409, "SkuNotAvailable", f"The requested VM size for resource '{path}' is currently not available in location 'eastus'. Please try another size or deploy to a different location or different zone.")
            error = ("AllocationFailed", "Allocation failed. We do not have sufficient capacity for the requested VM size in this region.")
        elif new:
            settings["capacity"][size] = settings["capacity"].get(size, 1000) - 1
        thing["sent"] = json.loads(json.dumps(body))
        p["provisioningState"] = "Creating"
        p["timeCreated"] = time.strftime("%Y-%m-%dT%H:%M:%S.1234567+00:00", time.gmtime())
        things[key] = thing
        for nic in p["networkProfile"]["networkInterfaces"]:
            if nic["id"].lower() not in things:
                raise Fault(400, "InvalidResourceReference", "no such interface")
            things[nic["id"].lower()]["properties"]["virtualMachine"] = {"id": path.upper()}
        disk = path.replace("virtualMachines", "disks") + "-disk"
        things[disk.lower()] = {"id": disk, "name": disk.rsplit("/", 1)[1], "type": "Microsoft.Compute/disks", "location": body["location"]}

        def finish():
            p["provisioningState"] = "Failed" if error else "Succeeded"
        return (201 if new else 200), thing, operation(error, finish)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, status, body, headers=()):
        body = b"" if body is None else (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def new_token(self, text_number):
        text = f"eyJ.{len(tokens)}.{time.time()}"
        tokens.add(text)
        seconds = settings["expire"]
        self.answer(200, {"access_token": text, "token_type": "Bearer", "expires_in": str(seconds) if text_number else seconds})

    def handle_any(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        query = {k: v[0] for k, v in parse_qs(parts.query).items()}
        if path == "/_set":
            with lock:
                settings.update(json.loads(body))
                if settings.pop("revoke", None):
                    tokens.clear()
            return self.answer(200, {})
        if path == "/_put":
            thing = json.loads(body)
            with lock:
                things.pop(thing["id"].lower(), None)
                if not thing.get("gone"):
                    things[thing["id"].lower()] = thing
            return self.answer(200, {})
        if path == "/_state":
            with lock:
                return self.answer(200, {"things": list(things.values()), "calls": calls})
        if path == "/blob/serial":
            return self.answer(403, "") if self.headers.get("Authorization") else self.answer(200, "Linux version 6.8\nrayctl: joining\n")
        if path.endswith("/oauth2/v2.0/token"):
            form = dict(parse_qsl(body))
            if form["client_secret"] != "sesame" or form["scope"] != "https://management.azure.com/.default":
                return self.answer(401, {"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret provided.\r\nTrace ID: 1"})
            return self.new_token(False)
        if path.startswith("/metadata/"):
            if self.headers.get("Metadata") != "true":
                return self.answer(400, {"error": "Bad request. Required metadata header not specified"})
            if "identity" in path:
                return self.new_token(True)
            return self.answer(200, {"subscriptionId": "s"})
        try:
            if self.headers.get("Authorization", "").removeprefix("Bearer ") not in tokens:
                raise Fault(401, "ExpiredAuthenticationToken", "The access token expiry UTC time is earlier than current UTC time.")
            if "api-version" not in query:
                raise Fault(400, "MissingApiVersionParameter", "no version")
            if not path.startswith("/subscriptions/s/") and path != "/subscriptions/s":
                raise Fault(403, "AuthorizationFailed", "The client does not have authorization to perform action 'Microsoft.Resources/subscriptions/read'.")
            with lock:
                calls.append(f"{self.command} {path}")
                chosen = None
                for fault in settings["faults"]:
                    if fault.get("method", self.command) == self.command and re.search(fault["path"], path) and fault.get("times", 1) > 0:
                        fault["times"] = fault.get("times", 1) - 1
                        chosen = dict(fault)
                        break
            api = API(query, json.loads(body) if body else None)
            if chosen:
                time.sleep(chosen.get("delay", 0))
                if "lost" in chosen:
                    with lock:
                        api.call(self.command, path)
                    self.close_connection = True
                    return
                if "body" in chosen:
                    return self.answer(chosen.get("status", 200), chosen["body"])
                if "status" in chosen:
                    raise Fault(chosen["status"], chosen.get("code", ""), chosen.get("message", "no"), chosen.get("details"))
            with lock:
                status, result, headers = api.call(self.command, path)
            self.answer(status, result, headers)
        except Fault as f:
            error = {"code": f.code, "message": f.message, **({"details": f.details} if f.details else {})}
            self.answer(f.status, {"error": error}, {"Retry-After": "0"} if f.status == 429 else {})

    do_GET = do_POST = do_PUT = do_DELETE = handle_any


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    BASE = f"http://127.0.0.1:{server.server_port}"
    with open(sys.argv[1] + ".new", "w") as f:
        f.write(f"{server.server_port}\n")
    os.rename(sys.argv[1] + ".new", sys.argv[1])
    server.serve_forever()
