# A seccomp agent: seccomp_agent.py SOCKET LOG. Takes one listener after the other, writes the state that came with
# it to LOG, and answers: mkdir of a path that holds "fake" succeeds without being done, all else is done.
import array, fcntl, json, os, select, socket, struct, sys

RECV, SEND = 0xC0502100, 0xC0182101
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen(8)
log = open(sys.argv[2], "a", buffering=1)
listeners = []


def accept():
    connection, _ = server.accept()
    text, control, _, _ = connection.recvmsg(65536, socket.CMSG_SPACE(4))
    listeners.append(array.array("i", control[0][2])[0])
    print(json.dumps(json.loads(text)), file=log)


def answer(fd):
    request = bytearray(80)
    try:
        fcntl.ioctl(fd, RECV, request)
    except OSError:
        listeners.remove(fd)
        os.close(fd)
        return
    ident, pid, _, number, _, _, path = struct.unpack_from("=QIIiIQQ", request)
    flags = 1  # SECCOMP_USER_NOTIF_FLAG_CONTINUE
    if number == 83:
        with open(f"/proc/{pid}/mem", "rb") as memory:
            memory.seek(path)
            if b"fake" in memory.read(64).split(b"\0")[0]:
                flags = 0
    try:
        fcntl.ioctl(fd, SEND, struct.pack("=QqiI", ident, 0, 0, flags))
    except OSError:
        pass


while True:
    for ready in select.select([server] + listeners, [], [])[0]:
        accept() if ready is server else answer(ready)
