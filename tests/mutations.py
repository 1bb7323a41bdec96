"""Files changed at random: bits, bytes, words that parsers stumble over, parts that are cut off or repeated."""

import random

# fmt: off
WORDS = [
    b"", b"nan", b"inf", b"-1", b"0", b"1e999", b"9" * 5000, b"1_0", b"x", b"X", b"Qq", b"79", b"?", b".", b"'",
    b'"', b";", b"#", b"\n;\n", b"loop_", b"data_", b"data_b\n", b"_x", b"\0", b"\xff", b"\xef\xbb\xbf", b"\r",
    b"(", b")", b"{", b"}", b"[", b"Lattice=", b"Properties=species:S:1:pos:R:3 ", b"pbc=", b"0.5(3)", b"1,5",
    b"\xd9\xa3", b"=",
]
# fmt: on


def mutated(generator: random.Random, data: bytes) -> bytes:
    """Change bytes, insert or replace words, cut or repeat a part."""
    data = bytearray(data)
    for _ in range(generator.randint(1, 3)):
        start = generator.randrange(len(data) + 1)
        stop = min(len(data), start + generator.choice([0, 1, 1, 4, 30]))
        other = generator.randrange(len(data) + 1)
        word = generator.choice(WORDS)
        data[start:stop] = generator.choice([generator.randbytes(1), word, b" " + word + b" ", data[other:][:40]])
        if generator.random() < 0.1:
            del data[generator.randrange(len(data) + 1) :]
    return bytes(data)


def damaged(generator: random.Random, data: bytes) -> bytes:
    """Change bits or bytes in their places, or as `mutated` does, after which all that follows is elsewhere."""
    if generator.random() < 0.4:
        return mutated(generator, data)
    changed = bytearray(data)
    for _ in range(generator.randint(1, 3)):
        place = generator.randrange(len(data))
        changed[place] = generator.choice([changed[place] ^ 1 << generator.randrange(8), generator.randrange(256), 0])
    return bytes(changed)
