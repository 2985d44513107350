#!/usr/bin/env python3
"""A small EC2 that misbehaves on request: ec2.py PORT-FILE LOG-FILE.

Behaves as the real one where moto doesn't: client tokens, capacity by size and subnet, MinCount and MaxCount, spot
prices, 16 KiB of user-data, groups that are in use, lists that lag, pages. Every signature is checked, by botocore's
SigV4Auth where it is installed. What goes wrong is told by POST /_set {"key": value}; GET /_state tells what there is.
Keys of /_set:
  faults     [{"action", "code", "message", "status", "times", "body", "delay", "when": {parameter: value}}]
  capacity   {"size@subnet" or "size": machines left}
  lag        seconds that a new machine stays invisible
  held       seconds that a terminated machine holds its group
  price      spot price of everything
  page       machines per page of DescribeInstances
  rate       calls a second; more are answered with RequestLimitExceeded
  skew       seconds that the server's clock is ahead
  token      the session token that is accepted ("" = any)
  minutes    that the credentials last which a role gives
It is a metadata service (version 2 only) and a container's agent (/container) as well: each answer has another token.
"""
import base64, email.utils, json, os, re, sys, threading, time, uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

try:
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials
except ImportError:
    SigV4Auth = None

SECRETS = {"AKIDFAKE": "sesame", "ASIAFAKE": "sesame2"}
ZONES = ["a", "b", "c"]
lock = threading.RLock()
settings = {"faults": [], "capacity": {}, "lag": 0, "held": 0, "price": 0.04, "page": 1000, "rate": 0, "skew": 0, "token": "", "minutes": 60}
instances, groups, tokens, calls, given = {}, {}, {}, [], []
counters = {}


class Fault(Exception):
    def __init__(self, code, message="", status=400):
        self.code, self.message, self.status = code, message or code, status


def xml(value, name=None):
    if isinstance(value, dict):
        text = "".join(xml(v, k) for k, v in value.items())
    elif isinstance(value, list):
        text = "".join(xml(v, "item") for v in value)
    else:
        text = escape({True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool) else str(value))
    return f"<{name}>{text}</{name}>" if name else text


def indexed(p, prefix):
    """Filter.1.Name, Filter.2.Name -> the values of prefix N, in order"""
    found = {}
    for key, value in p.items():
        m = re.fullmatch(re.escape(prefix) + r"\.(\d+)(?:\.(.+))?", key)
        if m:
            found.setdefault(int(m[1]), {})[m[2] or ""] = value
    return [found[i] for i in sorted(found)]


def filters(p):
    return {f["Name"]: [v for k, v in f.items() if k.startswith("Value.")] for f in indexed(p, "Filter")}


def tags_of(p, kind):
    for spec in indexed(p, "TagSpecification"):
        if spec.get("ResourceType") == kind:
            return {spec[f"Tag.{i}.Key"]: spec[f"Tag.{i}.Value"] for i in range(1, 51) if f"Tag.{i}.Key" in spec}
    return {}


def tag_set(tags):
    return [{"key": k, "value": v} for k, v in tags.items()]


def matches(tags, other, wanted):
    for name, values in wanted.items():
        have = tags.get(name[4:]) if name.startswith("tag:") else other.get(name)
        if have not in values:
            return False
    return True


def instance_xml(i):
    out = {"instanceId": i["id"], "imageId": i["p"]["ImageId"], "instanceState": {"code": 0, "name": i["state"]},
           "amiLaunchIndex": i["index"], "instanceType": i["p"]["InstanceType"], "launchTime": i["time"],
           "placement": {"availabilityZone": i["zone"]}, "privateIpAddress": i["private"], "tagSet": tag_set(i["tags"])}
    if i["state"] == "running":
        out["ipAddress"] = i["public"]
    if i["p"].get("InstanceMarketOptions.MarketType") == "spot":
        out["instanceLifecycle"] = "spot"
    if i["state"] == "terminated":
        out["stateReason"] = {"code": "Client.UserInitiatedShutdown", "message": "Client.UserInitiatedShutdown: User initiated"}
    return out


def settle():
    now = time.time()
    for i in instances.values():
        if i["state"] == "pending" and now > i["born"] + settings["lag"]:
            i["state"] = "running"


def visible(i):
    return time.time() > i["born"] + settings["lag"]


class EC2:
    def RunInstances(self, p, region):
        if p.get("DryRun") == "true":
            raise Fault("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)
        token = p["ClientToken"]
        plain = {k: v for k, v in p.items() if k != "Action"}
        if token in tokens:
            old, ids = tokens[token]
            if old != plain:
                raise Fault("IdempotentParameterMismatch", "The client token has been used with other parameters")
            return {"reservationId": "r-1", "instancesSet": [instance_xml(instances[i]) for i in ids]}
        if len(base64.b64decode(p.get("UserData", ""))) > 16384:
            raise Fault("InvalidParameterValue", "User data is limited to 16384 bytes")
        if p.get("MetadataOptions.HttpTokens") != "required" or p.get("MetadataOptions.HttpPutResponseHopLimit") != "1":
            raise Fault("InvalidParameterValue", "this account wants IMDSv2 with one hop")
        size, subnet, group = p["InstanceType"], p["NetworkInterface.1.SubnetId"], p["NetworkInterface.1.SecurityGroupId.1"]
        if group not in groups or groups[group]["region"] != region:
            raise Fault("InvalidGroup.NotFound", f"The security group '{group}' does not exist")
        spot = p.get("InstanceMarketOptions.MarketType") == "spot"
        limit = p.get("InstanceMarketOptions.SpotOptions.MaxPrice")
        if spot and limit and float(limit) < settings["price"]:
            raise Fault("SpotMaxPriceTooLow", f"Your Spot request price of {limit} is lower than the minimum required price of {settings['price']}.")
        low, high = int(p["MinCount"]), int(p["MaxCount"])
        key = f"{size}@{subnet}" if f"{size}@{subnet}" in settings["capacity"] else size
        left = settings["capacity"].get(key, 100000)
        if left < low:
            raise Fault("InsufficientInstanceCapacity", f"We currently do not have sufficient {size} capacity in the Availability Zone you requested. Our system will be working on provisioning additional capacity.", 500)
        count = min(left, high)
        settings["capacity"][key] = left - count
        ids = []
        for index in range(count):
            n = len(instances) + 1
            i = {"id": f"i-{n:017x}", "p": p, "region": region, "zone": region + subnet[-1], "state": "pending", "index": index,
                 "born": time.time(), "time": time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime()), "tags": tags_of(p, "instance"),
                 "private": f"10.0.{n // 250}.{n % 250 + 4}", "public": f"198.51.{n // 250}.{n % 250 + 4}", "group": group}
            instances[i["id"]] = i
            ids.append(i["id"])
        tokens[token] = (plain, ids)
        return {"reservationId": "r-1", "instancesSet": [instance_xml(instances[i]) for i in ids]}

    def DescribeInstances(self, p, region):
        found = [i for i in instances.values() if i["region"] == region and visible(i)
                 and matches(i["tags"], {"instance-id": i["id"]}, filters(p))]
        start = int(p.get("NextToken", "0"))
        end = start + min(settings["page"], int(p.get("MaxResults", "1000")))
        out = {"reservationSet": [{"reservationId": "r", "instancesSet": [instance_xml(i)]} for i in found[start:end]]}
        if end < len(found):
            out["nextToken"] = str(end)
        return out

    def TerminateInstances(self, p, region):
        for item in indexed(p, "InstanceId"):
            i = instances.get(item[""])
            if not i or i["region"] != region or not visible(i):
                raise Fault("InvalidInstanceID.NotFound", f"The instance ID '{item['']}' does not exist")
        for item in indexed(p, "InstanceId"):
            instances[item[""]].update(state="terminated", died=time.time())
        return {"instancesSet": [{"instanceId": item[""]} for item in indexed(p, "InstanceId")]}

    def DescribeSubnets(self, p, region):
        return {"subnetSet": [{"subnetId": f"subnet-{z}", "vpcId": "vpc-1", "availabilityZone": region + z, "defaultForAz": True} for z in ZONES]}

    def DescribeImages(self, p, region):
        arch = filters(p).get("architecture", ["x86_64"])[0]
        if p.get("ImageId.1") == "ami-none":
            raise Fault("InvalidAMIID.NotFound", "The image id '[ami-none]' does not exist")
        return {"imagesSet": [{"imageId": "ami-" + d, "name": "n" + d, "creationDate": f"2025-0{d}-01T00:00:00.000Z", "architecture": arch,
                               "rootDeviceName": "/dev/xvda", "blockDeviceMapping": [{"deviceName": "/dev/xvda", "ebs": {"volumeSize": 8}}]} for d in "132"]}

    def DescribeInstanceTypes(self, p, region):
        name = p["InstanceType.1"]
        if name != "x9.special":
            raise Fault("InvalidInstanceType", f"The following supplied instance types do not exist: [{name}]")
        return {"instanceTypeSet": [{"instanceType": name, "vCpuInfo": {"defaultVCpus": 6}, "memoryInfo": {"sizeInMiB": 12288},
                                     "processorInfo": {"supportedArchitectures": ["arm64"]}}]}

    def DescribeRegions(self, p, region):
        return {"regionInfo": [{"regionName": r} for r in ("us-west-1", "us-east-1", "eu-west-1")]}

    def CreateSecurityGroup(self, p, region):
        if any(g["name"] == p["GroupName"] and g["region"] == region for g in groups.values()):
            raise Fault("InvalidGroup.Duplicate", "The security group already exists")
        g = {"id": f"sg-{len(groups) + 1:08x}", "name": p["GroupName"], "region": region, "rules": [], "tags": tags_of(p, "security-group")}
        groups[g["id"]] = g
        return {"groupId": g["id"]}

    def DescribeSecurityGroups(self, p, region):
        found = [g for g in groups.values() if g["region"] == region
                 and matches(g["tags"], {"group-name": g["name"], "vpc-id": "vpc-1"}, filters(p))]
        def rule(g, r):
            return {"ipProtocol": r["IpProtocol"], **({"fromPort": r["FromPort"], "toPort": r["ToPort"]} if "FromPort" in r else {}),
                    "groups": [{"groupId": r["Groups.1.GroupId"]}] if "Groups.1.GroupId" in r else [],
                    "ipRanges": [{"cidrIp": r["IpRanges.1.CidrIp"]}] if "IpRanges.1.CidrIp" in r else [],
                    "ipv6Ranges": [{"cidrIpv6": r["Ipv6Ranges.1.CidrIpv6"]}] if "Ipv6Ranges.1.CidrIpv6" in r else []}
        return {"securityGroupInfo": [{"groupId": g["id"], "groupName": g["name"], "vpcId": "vpc-1", "tagSet": tag_set(g["tags"]),
                                       "ipPermissions": [rule(g, r) for r in g["rules"]]} for g in found]}

    def AuthorizeSecurityGroupIngress(self, p, region):
        g = groups[p["GroupId"]]
        new = indexed(p, "IpPermissions")
        if any(r in g["rules"] for r in new):
            raise Fault("InvalidPermission.Duplicate", "the specified rule already exists")
        g["rules"] += new
        return {"return": True}

    def RevokeSecurityGroupIngress(self, p, region):
        g = groups[p["GroupId"]]
        for r in indexed(p, "IpPermissions"):
            if r not in g["rules"]:
                raise Fault("InvalidPermission.NotFound", "The specified rule does not exist")
            g["rules"].remove(r)
        return {"return": True}

    def DeleteSecurityGroup(self, p, region):
        if p["GroupId"] not in groups:
            raise Fault("InvalidGroup.NotFound", "The security group does not exist")
        for i in instances.values():
            if i["group"] == p["GroupId"] and (i["state"] != "terminated" or time.time() < i["died"] + settings["held"]):
                raise Fault("DependencyViolation", "resource has a dependent object")
        del groups[p["GroupId"]]
        return {"return": True}

    def GetConsoleOutput(self, p, region):
        if p["InstanceId"] not in instances:
            raise Fault("InvalidInstanceID.NotFound", "no such instance")
        return {"instanceId": p["InstanceId"], "output": base64.b64encode(b"Linux version 6.1\r\nrayctl: joining\r\n").decode()}

    def empty(self, p, region):
        return {}

    DescribeVolumes = DescribeNetworkInterfaces = DescribeSpotInstanceRequests = empty

    def GetCallerIdentity(self, p, region):
        return {"GetCallerIdentityResult": {"Arn": "arn:aws:iam::123456789012:user/ray", "Account": "123456789012"}}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, status, body, kind="text/xml"):
        body = body if isinstance(body, bytes) else body.encode()
        self.send_response_only(status)
        self.send_header("Date", email.utils.formatdate(time.time() + settings["skew"], usegmt=True))
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def fault(self, f):
        self.answer(f.status, f'<?xml version="1.0" encoding="UTF-8"?>\n<Response><Errors><Error><Code>{f.code}</Code><Message>{escape(f.message)}</Message></Error></Errors><RequestID>1</RequestID></Response>')

    def check_signature(self, body):
        m = re.fullmatch(r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request, SignedHeaders=([^,]+), Signature=([0-9a-f]{64})",
                         self.headers.get("Authorization", ""))
        if not m:
            raise Fault("MissingAuthenticationToken", status=403)
        key, day, region, service, names, signature = m.groups()
        if key not in SECRETS:
            raise Fault("AuthFailure", "AWS was not able to validate the provided access credentials", 401)
        if settings["token"] and self.headers.get("X-Amz-Security-Token") != settings["token"]:
            raise Fault("ExpiredToken", "The security token included in the request is expired", 400)
        stamp = self.headers["X-Amz-Date"]
        age = time.time() + settings["skew"] - time.mktime(time.strptime(stamp + " UTC", "%Y%m%dT%H%M%SZ %Z")) + time.timezone
        if abs(age) > 300:
            raise Fault("RequestExpired", "Request has expired. Timestamp date is " + stamp)
        if SigV4Auth:
            request = AWSRequest("POST", f"http://{self.headers['Host']}{self.path}", data=body,
                                 headers={n: self.headers[n] for n in names.split(";") if n != "host"})
            request.context["timestamp"] = stamp
            auth = SigV4Auth(Credentials(key, SECRETS[key]), service, region)
            theirs = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
            if theirs != signature:
                raise Fault("SignatureDoesNotMatch", "botocore computes another signature", 403)
        return region

    def do_PUT(self):
        good = self.path == "/latest/api/token" and self.headers.get("X-aws-ec2-metadata-token-ttl-seconds")
        self.answer(200 if good else 400, "imds-token", "text/plain")

    def role(self):
        given.append(f"session-{len(given) + 1}")
        expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 60 * settings["minutes"]))
        self.answer(200, json.dumps({"Code": "Success", "AccessKeyId": "ASIAFAKE", "SecretAccessKey": "sesame2",
                                     "Token": given[-1], "Expiration": expires}), "application/json")

    def do_GET(self):
        if self.path == "/container":
            return self.role() if self.headers.get("Authorization") == "Bearer agent" else self.answer(401, "no")
        if self.path.startswith("/latest/meta-data/"):
            if self.headers.get("X-aws-ec2-metadata-token") != "imds-token":
                return self.answer(401, "version 2 only", "text/plain")
            if self.path.endswith("/security-credentials/"):
                return self.answer(200, "ray-role\n", "text/plain")
            return self.role() if self.path.endswith("/security-credentials/ray-role") else self.answer(404, "no")
        with lock:
            self.answer(200, json.dumps({"instances": list(instances.values()), "groups": list(groups.values()), "calls": calls,
                                         "botocore": bool(SigV4Auth), "given": given}), "application/json")

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self.path == "/_set":
            with lock:
                settings.update(json.loads(body))
            return self.answer(200, "{}")
        try:
            region = self.check_signature(body)
            if "X-Amz-Target" in self.headers:
                calls.append("GetParameter")
                return self.answer(200, json.dumps({"Parameter": {"Value": "ami-ssm"}}), "application/x-amz-json-1.1")
            p = dict(parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True))
            action = p["Action"]
            with lock:
                calls.append(action)
                log.write(f"{region} {action} {p.get('InstanceType', '')} {p.get('NetworkInterface.1.SubnetId', '')}\n")
                log.flush()
                second = int(time.time())
                counters[second] = counters.get(second, 0) + 1
                if settings["rate"] and counters[second] > settings["rate"]:
                    raise Fault("RequestLimitExceeded", "Request limit exceeded.", 503)
                chosen = None
                for fault in settings["faults"]:
                    if fault["action"] == action and fault.get("times", 1) > 0 and all(p.get(k) == v for k, v in fault.get("when", {}).items()):
                        fault["times"] = fault.get("times", 1) - 1
                        chosen = dict(fault)
                        break
            if chosen:
                if chosen.get("delay"):
                    time.sleep(chosen["delay"])
                if "lost" in chosen:  # done, but the answer never arrives
                    with lock:
                        getattr(EC2(), action)(p, region)
                    self.close_connection = True
                    return
                if "body" in chosen:
                    return self.answer(chosen.get("status", 200), chosen["body"])
                if "code" in chosen:
                    raise Fault(chosen["code"], chosen.get("message", ""), chosen.get("status", 400))
            with lock:
                settle()
                if not hasattr(EC2, action):
                    raise Fault("InvalidAction", "no such action")
                result = getattr(EC2(), action)(p, region)
            self.answer(200, '<?xml version="1.0" encoding="UTF-8"?>\n' + xml({"requestId": str(uuid.uuid4()), **result}, action + "Response"))
        except Fault as f:
            self.fault(f)


if __name__ == "__main__":
    log = open(sys.argv[2], "w")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    with open(sys.argv[1] + ".new", "w") as f:
        f.write(f"{server.server_port}\n")
    os.rename(sys.argv[1] + ".new", sys.argv[1])
    server.serve_forever()
