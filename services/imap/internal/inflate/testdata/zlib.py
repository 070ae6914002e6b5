# Writes zlib.json: python3 testdata/zlib.py > testdata/zlib.json
#
# Each stream is made by one compressor of zlib, and flushed behind each piece; the last one is ended. A step is what came of a
# piece, and what zlib's own decompressor has given out when it has read it: how many octets in all, and their CRC-32.
import base64, json, sys, zlib

seed = 1


def rand(n):
    global seed
    seed = (seed * 1103515245 + 12345) & 0x7FFFFFFF
    return (seed >> 12) % n


def words(n):
    return b"".join(b"abcdefghijklmnopqrstuvwxyz0123456789 \r\n{}*"[rand(42):][: 1 + rand(9)] for _ in range(n))


commands = [b"a1 NOOP\r\n", b'a2 LIST "" "*" RETURN (STATUS (MESSAGES UNSEEN))\r\n', b"a3 UID FETCH 1:* (UID FLAGS)\r\n", b"\xff" * 300, b""]
small = lambda: commands + [words(12)] + commands
# More than two windows, with repetitions of all distances, and every piece ends elsewhere in a window.
far = [words(700) for _ in range(7)]
large = lambda: [p[i:] + b"z" * rand(600) for i in range(4) for p in far] + commands

flushes = {"Z_PARTIAL_FLUSH": zlib.Z_PARTIAL_FLUSH, "Z_SYNC_FLUSH": zlib.Z_SYNC_FLUSH, "Z_FULL_FLUSH": zlib.Z_FULL_FLUSH, "Z_BLOCK": zlib.Z_BLOCK}
strategies = {"Z_FILTERED": zlib.Z_FILTERED, "Z_HUFFMAN_ONLY": zlib.Z_HUFFMAN_ONLY, "Z_RLE": zlib.Z_RLE, "Z_FIXED": zlib.Z_FIXED}


def stream(name, flush, pieces, level=6, strategy=zlib.Z_DEFAULT_STRATEGY, memory=8):
    z = zlib.compressobj(level, zlib.DEFLATED, -15, memory, strategy)
    back = zlib.decompressobj(-15)
    put, out, steps = b"", b"", []
    for i, p in enumerate(pieces):
        last = i == len(pieces) - 1
        octets = z.compress(p) + z.flush(zlib.Z_FINISH if last else flushes[flush])
        put, out = put + p, out + back.decompress(octets)
        if flush != "Z_BLOCK" or last:  # it keeps up to 7 bits, which may be of a symbol
            assert put == out, name
        steps.append({"octets": base64.b64encode(octets).decode(), "out": len(out), "crc": zlib.crc32(out)})
    return {"name": name + ", " + flush, "steps": steps}


streams = []
for flush in flushes:
    streams += [stream("level %d" % n, flush, small(), level=n) for n in range(10)]
    streams += [stream(s, flush, small(), strategy=strategies[s]) for s in strategies]
    if flush != "Z_FULL_FLUSH":  # which forgets what was before
        streams.append(stream("many windows", flush, large(), level=9))
    streams.append(stream("small blocks", flush, large()[:4], memory=1))
json.dump(streams, sys.stdout, indent=0)
print()
