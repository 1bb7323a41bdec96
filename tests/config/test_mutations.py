"""No text at all makes `load_config` raise anything but ConfigError: configurations changed at random.

DPTT_MUTATIONS sets their number, as in ``DPTT_MUTATIONS=10000 pytest tests/config/test_mutations.py``.
"""

import functools
import os
import random
import tempfile
from pathlib import Path

import pytest
import yaml
from config_files import COMPLETE, write_config

from dptt.config import Config, ConfigError, config_from_yaml, config_yaml, load_config

COUNT = int(os.environ.get("DPTT_MUTATIONS", "200"))
# fmt: off
WORDS = [
    "", "~", "null", "true", "yes", "off", "010", "0006", "-0", "1_0", "1:30", "1e5", "1e999", "-1", "0", "1.5",
    ".5", ".nan", ".inf", "2024-01-01", "2024-99-99T99:99:99", "9" * 5000, "9" * 25, "0x1F", "0b2", "0o9", "-",
    "?", ":", "[", "]", "{", "}", "[]", "{}", "[[]]", "{a: b}", "[1, 2, 3]", "{1: 2}", "{[a]: b}", "<<", "<<: *a",
    "<<: {}", "&a x", "*a", "*missing", "&a [*a]", "&a {b: *a}", "[" * 400, "{a: " * 400, "- " * 400, "!!binary x",
    "!!set {a}", "!!timestamp x", "!!int x", "!!float x", "!!python/name:os.system ''", "!!omap [1]",
    "!!pairs [1]", "!x y", "! 5", "!!bool x", "!!null x", "|", ">", "|9\n x", "'", '"', '"\\ud800"',
    '"\\UFFFFFFFF"', '"\\x00"', '"\\x1b"', "\x00", "\t", "\x85", "\u2028", "\ufeff", "é", "−60", "😀", "%YAML 1.1",
    "%YAML 9" + "9" * 5000, "---", "...", "#", "@x", "~nobody/x", "${UNSET_VARIABLE}", "$$", "~", "n" * 300,
    "a/../b", "kind", "path", "auto", "none", "x: y: z", "=",
]
# fmt: on


def leaves(tree, at=()):
    """Return the place of every value and section in a tree of mappings and lists."""
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [at] * bool(at) + [place for key, value in inner for place in leaves(value, (*at, key))]


def changed_bytes(generator, data):
    """Change, insert, remove or repeat bytes of `data`."""
    data = bytearray(data)
    for _ in range(generator.randint(1, 4)):
        start = generator.randrange(len(data) + 1)
        stop = min(len(data), start + generator.choice([0, 1, 1, 3, 40]))
        new = generator.choice([b"", generator.randbytes(1), generator.randbytes(4), bytes(data[start:stop]) * 2])
        data[start:stop] = new
    return bytes(data)


def changed_words(generator, text):
    """Replace a word, or insert one anywhere, also at the beginning of a line."""
    for _ in range(generator.randint(1, 3)):
        starts = [i for i, c in enumerate(text) if c in " \n:[{,"] or [0]
        start = generator.choice(starts) + 1
        stop = start + generator.choice([0, 0, len(text[start:].split(" ", 1)[0])])
        text = text[:start] + generator.choice(WORDS) + generator.choice(["", " ", "\n"]) + text[stop:]
    return text.encode("utf-8", "surrogatepass")


def changed_values(generator, text):
    """Replace values of the tree, and write it as YAML."""
    tree = yaml.safe_load(text)
    for _ in range(generator.randint(1, 3)):
        *parents, leaf = generator.choice(leaves(tree))
        node = tree
        for parent in parents:
            node = node[parent]
        values = [None, True, -1, 0, 3, 10**30, 1e300, "x", "", [], {}, [[]], [1, "a"], {"a": {}}, {"kind": "file"}]
        node[leaf] = generator.choice([*values, *WORDS])
    return yaml.safe_dump(tree, allow_unicode=True).encode()


@functools.cache
def whole():
    """Return a configuration in which every setting of every section is written."""
    sections = ["ptychography={}", "alignment={}", "brightfield={}", "atoms={elements: [Pt]}"]
    projections = "alignment.projections={path: a.npy, pixel_size: 1, tilt_angles: [-30, 0, 45]}"
    with tempfile.TemporaryDirectory() as folder:
        return config_yaml(load_config(write_config(Path(folder)), [*sections, projections]))


def mutated(seed):
    generator = random.Random(seed)
    match seed % 4:
        case 0:
            return changed_bytes(generator, COMPLETE.encode())
        case 1:
            return changed_words(generator, COMPLETE)
        case 2:
            return changed_values(generator, COMPLETE)
        case _:
            return changed_values(generator, whole())


def outcome(path, overrides=()):
    """Return the configuration, or None after a ConfigError with a message for people; nothing else may be raised."""
    try:
        return load_config(path, overrides)
    except ConfigError as error:
        assert len(str(error)) < 20_000
        str(error).encode("utf-8")
        return None


def test_a_mutated_file_loads_or_is_refused(tmp_path):
    path, loaded = tmp_path / "run.yaml", 0
    for seed in range(COUNT):
        path.write_bytes(mutated(seed))
        try:
            config = outcome(path)
            if isinstance(config, Config):
                loaded += 1
                assert config_from_yaml(config_yaml(config)) == config
        except Exception as error:
            pytest.fail(f"mutation {seed}: {type(error).__name__}: {error}")
    if note := os.environ.get("DPTT_NOTES"):
        with open(note, "a") as file:
            file.write(f"{COUNT} configurations: {COUNT - loaded} refused\n")
    assert COUNT / 50 < loaded < COUNT * 0.9, "mutations that all load or all fail test nothing"


def test_a_mutated_override_is_applied_or_refused(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(COMPLETE)
    places = leaves(yaml.safe_load(whole()))
    generator = random.Random(1)
    for number in range(COUNT // 4):
        key = ".".join(str(part) for part in generator.choice(places))
        override = f"{key}={generator.choice(WORDS)}"
        if number % 3 == 0:
            override = changed_bytes(generator, override.encode()).decode("utf-8", "surrogateescape")
        try:
            outcome(path, [override])
        except Exception as error:
            pytest.fail(f"{override!r}: {type(error).__name__}: {error}")
