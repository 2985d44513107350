# card.py LINK LINK: passes frames on as bytes, in which TCP's and UDP's sums are as unfinished as a card gets them, and
# finishes them; inside VXLAN only when there is a file `good`
import os, select, socket, sys
def total(b):
    if len(b) % 2: b += b'\0'
    s = sum(int.from_bytes(b[i:i + 2], 'big') for i in range(0, len(b), 2))
    while s >> 16: s = (s & 0xffff) + (s >> 16)
    return s
def finish(f):  # an IPv4 packet
    h = (f[0] & 15) * 4; end = int.from_bytes(f[2:4], 'big'); at = {6: 16, 17: 6}.get(f[9])
    if at is None: return f
    if f[9] == 17 and int.from_bytes(f[h + 2:h + 4], 'big') == 8472:
        if os.path.exists('good'): f = f[:h + 30] + finish(f[h + 30:])
    l4 = bytearray(f[h:end])
    if f[9] == 17 and l4[6:8] == b'\0\0': return f
    l4[at:at + 2] = b'\0\0'
    s = ~total(f[12:20] + bytes([0, f[9]]) + len(l4).to_bytes(2, 'big') + bytes(l4)) & 0xffff
    l4[at:at + 2] = (s or 0xffff).to_bytes(2, 'big')
    return f[:h] + bytes(l4)
ends = []
for link in sys.argv[1:]:
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    s.setsockopt(263, 23, 1)  # SOL_PACKET, PACKET_IGNORE_OUTGOING
    s.setsockopt(socket.SOL_SOCKET, 33, 1 << 24); s.bind((link, 3)); ends.append(s)
print('ready', flush=True)
while True:
    for s in select.select(ends, [], [])[0]:
        f = s.recv(65600)
        if f[12:14] == b'\x08\x00': f = f[:14] + finish(f[14:])
        try: ends[1 - ends.index(s)].send(f)
        except OSError: pass
