#!/usr/bin/env python3
"""Writes an OCI layout whose images try to break out, or are odd: hostile_layers.py DIRECTORY VICTIM. Prints their names."""
import gzip, hashlib, io, json, os, sys, tarfile

out, victim = sys.argv[1:3]
blobs = out + '/blobs/sha256'
os.makedirs(blobs)


def blob(data, media_type):
    digest = hashlib.sha256(data).hexdigest()
    with open(f'{blobs}/{digest}', 'wb') as f:
        f.write(data)
    return {'mediaType': 'application/vnd.oci.image.' + media_type, 'digest': 'sha256:' + digest, 'size': len(data)}


def entry(name, data=b'evil', type=tarfile.REGTYPE, link='', mode=0o644, xattrs={}, **more):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = type, link, mode
    info.size = len(data) if type == tarfile.REGTYPE else 0
    info.pax_headers = {'SCHILY.xattr.' + k: v for k, v in xattrs.items()}
    for key, value in more.items():
        setattr(info, key, value)
    return info, data


def directory(name, **more): return entry(name, type=tarfile.DIRTYPE, **{'mode': 0o755, **more})
def symlink(name, to): return entry(name, type=tarfile.SYMTYPE, link=to)
def hardlink(name, to, **more): return entry(name, type=tarfile.LNKTYPE, link=to, **more)


def tar(entries):
    if isinstance(entries, bytes):
        return entries
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode='w', format=tarfile.PAX_FORMAT) as t:
        for info, data in entries:
            t.addfile(info, io.BytesIO(data) if info.type == tarfile.REGTYPE else None)
    return buffer.getvalue()


def sparse_bomb():  # old GNU format: 200 000 pieces of a file, in 9 500 headers
    header = bytearray(512)
    header[0:4] = b'bomb'
    header[100:108], header[108:116], header[116:124] = b'0000644\0', b'0000000\0', b'0000000\0'
    header[124:136], header[136:148], header[156:157], header[257:265] = b'%011o\0' % 0, b'%011o\0' % 0, b'S', b'ustar  \0'
    header[482:483], header[483:495] = b'\1', b'%011o\0' % 0
    header[148:156] = b' ' * 8
    header[148:156] = b'%06o\0 ' % sum(header)
    more = (b''.join(b'%011o\0%011o\0' % (i, 0) for i in range(21)) + b'\1').ljust(512, b'\0')
    return bytes(header) + more * 9500 + bytes(1536)


etc = [directory('etc'), entry('etc/f', b'lower'), entry('etc/g', b'lower'), directory('etc/sub'), entry('etc/sub/h', b'lower')]
cases = {  # name: layers
    'root-symlink': [[symlink('.', victim)], [entry('f')]],
    'climb': [[entry('../f'), entry('/../../f'), entry('a/../../../f'), entry(victim + '/f')]],
    'symlink-parent': [[symlink('etc', victim), entry('etc/f'), entry('etc/.wh.f', b''), entry('etc/.wh..wh..opq', b''), hardlink('etc/n', 'etc/f')]],
    'symlink-below': [[symlink('etc', victim)], [entry('etc/f'), entry('etc/.wh.f', b'')]],
    'hardlink-out': [[hardlink('x', victim + '/f')]],
    'hardlink-symlink': [[symlink('s', victim + '/f'), hardlink('h', 's', mode=0o777)]],
    'bare-whiteout': [etc, [entry('.wh.', b'')]],
    'parent-whiteout': [etc, [entry('etc/.wh...', b'')]],
    'whiteout': [etc, [entry('etc/.wh.f', b''), entry('etc/.wh.sub', b''), directory('etc/sub'), entry('etc/sub/new', b'new')]],
    'opaque': [etc, [directory('etc'), entry('etc/new', b'new'), entry('etc/.wh..wh..opq', b'')]],
    'opaque-root': [etc, [entry('new', b'new'), entry('.wh..wh..opq', b'')]],
    'forged': [etc, [entry('etc/f', type=tarfile.CHRTYPE), directory('etc', xattrs={'trusted.overlay.opaque': 'y', 'trusted.overlay.redirect': '/x'})]],
    'metadata': [[directory('tmp', mode=0o1777), entry('bin/su', b'x', mode=0o4755, uid=5, gid=7, mtime=1e9),
                  entry('bin/ping', b'x', mode=0o755, xattrs={'security.capability': '\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00'}),
                  entry('dev/null', type=tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666)], [entry('tmp/x', b'x')]],
    'replace': [[symlink('a', 'etc'), directory('b'), entry('b/f'), entry('c')], [entry('a', b'file'), symlink('b', 'a'), directory('c'), entry('c/f', b'new')]],
    'sparse-bomb': [sparse_bomb()],
    'zeros': [bytes(1200 << 20)],
    'trailing': [[entry('trailing')]],
    'truncated': [tar(etc)[:700]],
}
index = []
for name, layers in cases.items():
    tars = [tar(l) for l in layers]
    packed = [gzip.compress(t, 9 if name == 'zeros' else 1, mtime=0) + (b'garbage' if name == 'trailing' else b'') for t in tars]
    config = {'os': 'linux', 'architecture': 'amd64', 'config': {}, 'rootfs': {'type': 'layers', 'diff_ids': ['sha256:' + hashlib.sha256(t).hexdigest() for t in tars]}}
    manifest = {'schemaVersion': 2, 'mediaType': 'application/vnd.oci.image.manifest.v1+json', 'config': blob(json.dumps(config).encode(), 'config.v1+json'),
                'layers': [blob(p, 'layer.v1.tar+gzip') for p in packed]}
    index.append(blob(json.dumps(manifest).encode(), 'manifest.v1+json') | {'annotations': {'org.opencontainers.image.ref.name': name}})
with open(out + '/index.json', 'w') as f:
    json.dump({'schemaVersion': 2, 'manifests': index}, f)
with open(out + '/oci-layout', 'w') as f:
    f.write('{"imageLayoutVersion":"1.0.0"}')
