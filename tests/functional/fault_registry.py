#!/usr/bin/env python3
"""A registry that misbehaves: the repository's name says how. fault_registry.py DIRECTORY [CERT KEY]

Writes DIRECTORY/ports (HTTP, a second HTTP server, HTTPS), and DIRECTORY/log: one line a request. The second server is
where redirects lead; Authorization must not arrive there. Every repository holds the same image, with tag "1".
"""
import email.utils, gzip, hashlib, io, json, os, re, ssl, sys, tarfile, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

directory = sys.argv[1]
lock = threading.Lock()
counts = {}    # (repository, event) -> times
uploads = {}   # session -> bytes
pushed = {}    # (repository, digest) -> bytes
manifests = {} # (repository, tag or digest) -> (type, bytes)
OCI = 'application/vnd.oci.image.'


def digest_of(data):
    return 'sha256:' + hashlib.sha256(data).hexdigest()


def make_layer(seed, size):
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode='w') as t:
        for i in range(3):
            data = hashlib.shake_256(f'{seed}{i}'.encode()).digest(size)
            info = tarfile.TarInfo(f'dir/{seed}{i}')
            info.size = len(data)
            t.addfile(info, io.BytesIO(data))
    return tar.getvalue()


tars = [make_layer('a', 500000), make_layer('b', 100000)]
layers = [gzip.compress(t, 1, mtime=0) for t in tars]


def documents(diff_ids, extra_layer=False):
    config = json.dumps({'os': 'linux', 'architecture': 'amd64', 'config': {}, 'rootfs': {'type': 'layers', 'diff_ids': diff_ids}}).encode()
    manifest = {'schemaVersion': 2, 'mediaType': OCI + 'manifest.v1+json',
                'config': {'mediaType': OCI + 'config.v1+json', 'digest': digest_of(config), 'size': len(config)},
                'layers': [{'mediaType': OCI + 'layer.v1.tar+gzip', 'digest': digest_of(l), 'size': len(l)} for l in layers]}
    if extra_layer:
        manifest['manifests'] = []
    return config, json.dumps(manifest).encode()


right = documents([digest_of(t) for t in tars])
blobs = {digest_of(b): b for b in layers + [right[0]]}
special = {'diffid': documents([digest_of(b'x'), digest_of(tars[1])]), 'diffcount': documents([digest_of(tars[0])]),
           'confused': documents([digest_of(t) for t in tars], True)}
for c, _ in special.values():
    blobs[digest_of(c)] = c


def first(repository, event, times=1):
    """True the first `times` times."""
    with lock:
        counts[repository, event] = counts.get((repository, event), 0) + 1
        return counts[repository, event] <= times


class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    wbufsize = 1 << 16

    def log_message(self, *args):
        pass

    def answer(self, status, body=b'', length=None, **headers):
        self.send_response(status)
        self.send_header('Content-Length', str(len(body) if length is None else length))
        for key, value in headers.items():
            self.send_header(key.replace('_', '-'), value)
        self.end_headers()
        if self.command != 'HEAD':
            self.wfile.write(body)
        self.wfile.flush()

    def hang_up(self):
        self.wfile.flush()
        self.close_connection = True
        try:
            self.connection.shutdown(2)
        except OSError:
            pass

    def refuse(self, status, code, **headers):
        self.answer(status, json.dumps({'errors': [{'code': code, 'message': code.lower()}]}).encode(), **headers)

    def base(self):
        return f'http://127.0.0.1:{ports[0]}'

    def handle_one(self):
        size = int(self.headers.get('Content-Length') or 0)
        self.body = self.rfile.read(size) if size else b''
        authorization = self.headers.get('Authorization')
        with open(directory + '/log', 'a') as log:
            print(self.server.role, self.command, self.path, self.headers.get('Range') or '-', size, authorization or '-', file=log)
        if self.headers.get('Transfer-Encoding'):
            return self.refuse(400, 'CONTENT_LENGTH_INVALID')
        if self.server.role == 'second':
            if authorization:
                return self.refuse(400, 'LEAKED')
            if self.path == '/token':
                return self.answer(200, b'{"token":"stolen"}')
            if self.path.startswith('/upload/'):  # an upload's other half
                digest = re.search(r'digest=([^&]*)', self.path)[1].replace('%3A', ':')
                pushed['push-away', digest] = self.body
                return self.answer(201)
            return self.blob('plain', self.path.rsplit('/', 1)[1])
        if self.path.startswith('/token-'):
            kind = re.match(r'/(token-[a-z]+)', self.path)[1]
            if kind == 'token-away':  # credentials are for this host alone
                return self.answer(307, Location=f'http://127.0.0.1:{ports[1]}/token')
            return self.answer(200, {'token-html': b'<html>', 'token-deep': b'[' * 100000, 'token-huge': b'{"token":"' + b'x' * (2 << 20) + b'"}',
                                     'token-lines': b'{"token":"a\\r\\nX-Evil: b"}', 'token-none': b'{"token":{}}'}[kind])
        if self.path.startswith('/token'):
            return self.answer(200, json.dumps({'token': f'token-{time.monotonic_ns()}', 'expires_in': 60}).encode())
        if self.path.startswith('/loop'):
            return self.answer(307, Location=self.path + 'x')
        if self.path == '/v2/':
            return self.answer(200, b'{}')
        match = re.fullmatch(r'/v2/([a-z0-9-]+)/(manifests|blobs)/([^?]*)(?:\?(.*))?', self.path)
        if not match:
            return self.refuse(404, 'UNKNOWN')
        repository, kind, what, query = match.groups()
        self.query = query or ''
        if repository.startswith('token-') and repository not in ('token-expires', 'token-once'):
            return self.refuse(401, 'UNAUTHORIZED', WWW_Authenticate=f'Bearer realm="{self.base()}/{repository}",service="s"')
        if repository == 'push-500' and self.command in ('PUT', 'PATCH'):
            return self.answer(500, json.dumps({'errors': [{'code': 'UNKNOWN', 'message': 'the disk is on fire', 'detail': {'Err': 28}}]}).encode())
        if repository in ('auth-loop', 'token-once', 'push-away', 'token-expires', 'redirect', 'evil-realm', 'basic'):
            realm = 'http://169.254.169.254/token' if repository == 'evil-realm' else self.base() + '/token'
            ask = 'Basic realm="x"' if repository == 'basic' else f'Bearer realm="{realm}",service="s",scope="repository:{repository}:pull"'
            known = authorization and repository != 'auth-loop'
            if repository == 'token-expires' and kind == 'blobs' and authorization and first(repository, authorization, 1) is False:
                known = False
            if repository == 'token-once' and kind == 'blobs' and authorization and first(repository, authorization, 1) is False:
                known = False
            if repository == 'basic':
                known = authorization == 'Basic cmF5OnNlc2FtZQ=='
            if not known:
                return self.refuse(401, 'UNAUTHORIZED', WWW_Authenticate=ask)
        if kind == 'manifests':
            return self.put_manifest(repository, what) if self.command == 'PUT' else self.manifest(repository, what)
        if what.startswith('uploads/') or self.command in ('POST', 'PATCH', 'PUT'):
            return self.upload(repository, what)
        self.blob(repository, what)

    def manifest(self, repository, what):
        if (repository, what) in manifests:
            media_type, data = manifests[repository, what]
            return self.answer(200, data, Content_Type=media_type)
        if what == 'none' or repository.startswith('push'):
            return self.refuse(404, 'MANIFEST_UNKNOWN')
        if repository == 'busy-seconds' and first(repository, 'm'):
            return self.refuse(429, 'TOOMANYREQUESTS', Retry_After='1')
        if repository == 'busy-date' and first(repository, 'm'):
            return self.refuse(429, 'TOOMANYREQUESTS', Retry_After=email.utils.formatdate(time.time() + 1, usegmt=True))
        if repository == 'endless':
            self.send_response(200)
            self.send_header('Content-Type', OCI + 'manifest.v1+json')
            self.send_header('Connection', 'close')
            self.end_headers()
            try:
                while True:
                    self.wfile.write(b' ' * 65536)
            except OSError:
                return self.hang_up()
        if repository == 'deep':
            return self.answer(200, b'{"a":' * 50000, Content_Type=OCI + 'manifest.v1+json')
        if repository == 'deep-refusal':
            return self.answer(400, b'[' * 500000)
        if repository == 'down':
            return self.refuse(503, 'UNAVAILABLE')
        data = special.get(repository, right)[1]
        media_type = OCI + 'manifest.v1+json; charset=utf-8'
        if repository == 'wrong-manifest':
            data += b' '
        if repository == 'wrong-type':
            media_type = OCI + 'index.v1+json'
        if repository == 'huge':
            data = b'{"a":"' + b'x' * (9 << 20) + b'"}'
        self.answer(200, data, Content_Type=media_type)

    def blob(self, repository, digest):
        data = pushed.get((repository, digest)) or (None if repository.startswith('push') else blobs.get(digest))
        if data is None:
            return self.refuse(404, 'BLOB_UNKNOWN')
        if self.command == 'HEAD':
            return self.answer(200, length=len(data))
        if repository == 'redirect':
            return self.answer(307, Location=f'http://127.0.0.1:{ports[1]}/blobs/{digest}')
        if repository == 'redirect-loop':
            return self.answer(307, Location='/loop')
        if repository == 'downgrade':
            return self.answer(307, Location=f'http://127.0.0.1:{ports[1]}/blobs/{digest}')
        start = 0
        last = len(data) - 1
        match = re.fullmatch(r'bytes=(\d+)-(\d*)', self.headers.get('Range') or '')
        if match:
            start = int(match[1])
            last = int(match[2] or last)
        if repository == 'wrong-digest' and len(data) > 1000:
            data = data[:5000] + bytes([data[5000] ^ 1]) + data[5001:]
        if repository == 'wrong-tail' and len(data) > 1000:
            data = data[:-4] + bytes(4)
        if repository == 'short':
            data = data[:-10]
        if repository == 'long':
            data += b'0123456789'
        if repository == 'encoded':
            return self.answer(200, data, Content_Encoding='gzip')
        if repository == 'chopped' or (repository in ('cut', 'shifted', 'no-range', 'range-416', 'token-expires') and len(data) > 200000):
            limit = 250000 if not match or not match[2] else 100000
            if repository == 'no-range' and start:
                return self.answer(200, data)
            if repository == 'range-416' and start:
                return self.refuse(416, 'RANGE_INVALID')
            if repository in ('range-416', 'shifted', 'no-range') and not start and not first(repository, digest):
                return self.answer(200, data)
            shift = 7 if repository == 'shifted' and start else 0
            piece = data[start - shift:last + 1 - shift][:limit]
            self.send_response(206 if match else 200)
            self.send_header('Content-Length', str(last + 1 - start))
            if match:
                self.send_header('Content-Range', f'bytes {start - shift}-{last - shift}/{len(data)}')
            self.end_headers()
            self.wfile.write(piece)
            return self.hang_up() if start + limit < last + 1 else None
        if repository == 'loris' and len(data) > 1000 and first(repository, digest):
            self.send_response(200)
            self.send_header('Content-Length', str(len(data)))
            self.end_headers()
            for i in range(60):
                self.wfile.write(data[i:i + 1])
                self.wfile.flush()
                time.sleep(0.5)
            return self.hang_up()
        if match:
            return self.answer(206, data[start:last + 1], Content_Range=f'bytes {start}-{last}/{len(data)}')
        self.answer(200, data)

    def put_manifest(self, repository, what):
        document = json.loads(self.body)
        wanted = [document['config']['digest']] + [l['digest'] for l in document['layers']]
        if not all((repository, d) in pushed for d in wanted):
            return self.refuse(400, 'MANIFEST_BLOB_UNKNOWN')
        if self.headers['Content-Type'] != document['mediaType']:
            return self.refuse(400, 'MANIFEST_INVALID')
        for name in (what, digest_of(self.body)):
            manifests[repository, name] = (self.headers['Content-Type'], self.body)
        self.answer(201)

    def upload(self, repository, what):
        session = what.partition('/')[2]
        digest = re.search(r'digest=([^&]*)', self.query)
        digest = digest and digest[1].replace('%3A', ':')
        location = '' if repository == 'push-relative' else self.base()
        if self.command == 'POST':
            if 'mount=' in self.query and repository == 'push-mount':
                return self.answer(202, Location=f'{self.base()}/v2/{repository}/blobs/uploads/m{time.monotonic_ns()}?_state=a')
            session = str(time.monotonic_ns())
            uploads[session] = b''
            if repository == 'push-away':
                return self.answer(202, Location=f'http://127.0.0.1:{ports[1]}/upload/{session}?_state=a')
            return self.answer(202, Location=f'{location}/v2/{repository}/blobs/uploads/{session}?_state=a%2Fb')
        uploads.setdefault(session, b'')
        if '_state=' not in self.query:
            return self.refuse(404, 'BLOB_UPLOAD_UNKNOWN')
        if self.command == 'GET':
            return self.answer(204, Location=f'{location}/v2/{repository}/blobs/uploads/{session}?_state=g', Range=f'0-{len(uploads[session]) - 1}')
        if self.command == 'PATCH':
            if repository == 'push-gar':
                return self.refuse(405, 'UNSUPPORTED')
            if repository == 'push-ghcr' and len(self.body) > 4 << 20:
                return self.refuse(416, 'SIZE_INVALID')
            if repository == 'push-416' and first(repository, 'patch'):
                uploads[session] += self.body[:1000]
                return self.refuse(416, 'RANGE_INVALID')
            start = int(re.fullmatch(r'(\d+)-\d+', self.headers['Content-Range'])[1])
            if start != len(uploads[session]):
                return self.refuse(416, 'RANGE_INVALID')
            uploads[session] += self.body
            there = 1000 if repository == 'push-ecr' else len(uploads[session])
            return self.answer(202, Location=f'{location}/v2/{repository}/blobs/uploads/{session}?_state=p{there}', Range=f'0-{there - 1}')
        if self.command == 'PUT':
            if self.body and repository in ('push-acr', 'push-ghcr', 'push-ecr', 'push-416') and len(self.body) > 1000:
                return self.refuse(413, 'SIZE_INVALID')
            if self.body and repository == 'push-503' and first(repository, digest):
                return self.refuse(503, 'UNAVAILABLE')
            data = uploads.pop(session) + self.body
            if digest != digest_of(data):
                return self.refuse(400, 'DIGEST_INVALID')
            pushed[repository, digest] = data
            if repository == 'push-lost' and first(repository, digest):
                return self.hang_up()
            return self.answer(201)
        self.refuse(405, 'UNSUPPORTED')

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = handle_one


servers = [ThreadingHTTPServer(('127.0.0.1', 0), Handler) for _ in range(3 if len(sys.argv) > 3 else 2)]
for server, role in zip(servers, ('first', 'second', 'tls')):
    server.role = role
    server.daemon_threads = True
if len(servers) > 2:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[2], sys.argv[3])
    servers[2].socket = context.wrap_socket(servers[2].socket, server_side=True)
ports = [s.server_address[1] for s in servers]
open(directory + '/log', 'w').close()
for server in servers:
    threading.Thread(target=server.serve_forever, daemon=True).start()
with open(directory + '/ports.new', 'w') as f:
    print(*ports, digest_of(right[1]), file=f)
os.rename(directory + '/ports.new', directory + '/ports')
threading.Event().wait()
