#!/usr/bin/env python3
# Writes vectors.txt: WireGuard's handshake and first packets, computed from its white paper with Python's hashlib and
# the `cryptography` package, independently of src/wg. Run by hand when a vector is added.
import hashlib, hmac, struct, sys
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives import serialization

H = lambda *a: hashlib.blake2s(b''.join(a)).digest()
MAC = lambda key, data: hashlib.blake2s(data, key=key, digest_size=16).digest()
HMAC = lambda key, data: hmac.new(key, data, hashlib.blake2s).digest()
PUB = lambda k: X25519PrivateKey.from_private_bytes(k).public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
DH = lambda k, p: X25519PrivateKey.from_private_bytes(k).exchange(X25519PublicKey.from_public_bytes(p))

def KDF(n, key, data):
    root, out, last = HMAC(key, data), [], b''
    for i in range(1, n + 1):
        last = HMAC(root, last + bytes([i])); out.append(last)
    return out

class Chosen:
    def __init__(self, name):
        self.name = name
    def seal(self, key, counter, plain, ad):
        if self.name == 'AESGCM':
            return AESGCM(key).encrypt(b'\0' * 4 + struct.pack('>Q', counter), plain, ad)
        return ChaCha20Poly1305(key).encrypt(b'\0' * 4 + struct.pack('<Q', counter), plain, ad)

def rotl(x, n): return ((x << n) | (x >> (32 - n))) & 0xffffffff
def hchacha(key, nonce16):
    s = list(struct.unpack('<16I', b'expand 32-byte k' + key + nonce16))
    def q(a, b, c, d):
        for x, y, z, n in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            s[x] = (s[x] + s[y]) & 0xffffffff; s[z] = rotl(s[z] ^ s[x], n)
    for _ in range(10):
        q(0, 4, 8, 12); q(1, 5, 9, 13); q(2, 6, 10, 14); q(3, 7, 11, 15)
        q(0, 5, 10, 15); q(1, 6, 11, 12); q(2, 7, 8, 13); q(3, 4, 9, 14)
    return struct.pack('<8I', *(s[:4] + s[12:]))
def xseal(key, nonce, plain, ad):
    return ChaCha20Poly1305(hchacha(key, nonce[:16])).encrypt(b'\0' * 4 + nonce[16:], plain, ad)

fixed = lambda seed: hashlib.sha256(seed.encode()).digest()
def handshake(cipher, prefix):
    c = Chosen(cipher)
    si, sr, ei, er, psk = (fixed(x) for x in ('initiator', 'responder', 'ephemeral i', 'ephemeral r', 'preshared'))
    stamp = struct.pack('>QI', (1 << 62) + 10 + 1700000000, 0x3b000000 & ~0xffffff)
    say = lambda name, value: print(f'{prefix}.{name} {value.hex()}')
    ck = H(b'Noise_IKpsk2_25519_' + cipher.encode() + b'_BLAKE2s')
    h = H(ck, b'WireGuard v1 zx2c4 Jason@zx2c4.com'); h = H(h, PUB(sr))
    m = struct.pack('<II', 1, 0x11223344) + PUB(ei)
    h = H(h, PUB(ei)); ck, = KDF(1, ck, PUB(ei))
    ck, k = KDF(2, ck, DH(ei, PUB(sr))); x = c.seal(k, 0, PUB(si), h); h = H(h, x); m += x
    ck, k = KDF(2, ck, DH(si, PUB(sr))); x = c.seal(k, 0, stamp, h); h = H(h, x); m += x
    mac1 = MAC(H(b'mac1----', PUB(sr)), m); cookie = fixed('cookie')[:16]
    m += mac1; m += MAC(cookie, m)
    say('initiation', m)
    nonce = fixed('nonce')[:24]
    say('cookie_reply', struct.pack('<II', 3, 0x11223344) + nonce + xseal(H(b'cookie--', PUB(sr)), nonce, cookie, mac1))
    r = struct.pack('<III', 2, 0x55667788, 0x11223344) + PUB(er)
    h = H(h, PUB(er)); ck, = KDF(1, ck, PUB(er))
    ck, = KDF(1, ck, DH(er, PUB(ei))); ck, = KDF(1, ck, DH(er, PUB(si)))
    ck, tau, k = KDF(3, ck, psk); h = H(h, tau); x = c.seal(k, 0, b'', h); h = H(h, x); r += x
    r += MAC(H(b'mac1----', PUB(si)), r); r += b'\0' * 16
    say('response', r)
    ti, tr = KDF(2, ck, b'')
    say('initiator_sends', ti); say('responder_sends', tr)
    for counter in (0, 1, 0x0102030405060708):
        say(f'data{counter}', struct.pack('<IIQ', 4, 0x55667788, counter) + c.seal(ti, counter, b'sixteen bytes...', b''))

sys.stdout = open(__file__.replace('.py', '.txt'), 'w')
handshake('ChaChaPoly', 'chacha')
handshake('AESGCM', 'aes')
print('mac.abc', MAC(b'key', b'abc').hex())
print('hash.abc', H(b'abc').hex())
for n, key in enumerate(KDF(3, fixed('key'), b'input'), 1):
    print(f'kdf.{n}', key.hex())
print('hchacha', hchacha(bytes(range(32)), bytes.fromhex('000000090000004a0000000031415927')).hex())
