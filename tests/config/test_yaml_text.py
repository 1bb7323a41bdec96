"""What the text of a configuration means: bytes, unquoted words, repeated keys, empty sections, aliases, odd YAML."""

import subprocess
import sys

import pytest
from config_files import COMPLETE, problems_of, write_config

from dptt.config import ConfigError, config_from_yaml, config_yaml, load_config

PLAIN = "series: a.h5\nrun: b\n"


def load_bytes(folder, data):
    path = folder / "run.yaml"
    path.write_bytes(data)
    return load_config(path)


def message_of(folder, text, *overrides):
    with pytest.raises(ConfigError) as failure:
        load_config(write_config(folder, text), overrides)
    return str(failure.value)


@pytest.mark.parametrize(
    ("text", "key", "lines"),
    [
        (PLAIN + "volume: {margin: 3, margin: 4}\n", "volume.margin", "on line 3"),
        (PLAIN + "volume:\n  margin: 3\n\nvolume:\n  thickness: 9\n", "volume", "on lines 3 and 6"),
        (PLAIN + "run: c\n", "run", "on lines 2 and 3"),
        (PLAIN + "import: {aberrations: {C10: 1, 'C10': 2}}\n", "import.aberrations.C10", "on line 3"),
        (PLAIN + "import: {data: [{path: a, path: b}]}\n", "import.data.0.path", "on line 3"),
    ],
)
def test_a_repeated_key_is_refused_with_its_lines(tmp_path, text, key, lines):
    assert f"  - {key}: appears twice ({lines}); keep one of them" in message_of(tmp_path, text)


def test_repeated_and_misspelt_keys_are_listed_together(tmp_path):
    message = message_of(tmp_path, PLAIN + "volume: {margin: 3, margin: 4, thicknes: 5}\n", "analysis={x: 1, x: 2}")
    assert "4 errors" in message
    parts = ("volume.margin: appears twice", "did you mean `thickness`", "x: appears twice", "analysis.x: unknown")
    for part in parts:
        assert part in message


def test_the_same_key_in_two_sections_is_not_repeated(tmp_path):
    config = load_config(write_config(tmp_path, PLAIN + "ptychography: {epochs: 3}\nreconstruction: {epochs: 4}\n"))
    assert (config.ptychography.epochs, config.reconstruction.epochs) == (3, 4)


@pytest.mark.parametrize("name", ["brightfield", "ptychography", "alignment", "reconstruction", "volume", "analysis"])
def test_a_section_with_nothing_in_it_is_the_same_as_an_empty_mapping(tmp_path, name):
    nothing = load_config(write_config(tmp_path, f"{PLAIN}{name}:\n  # epochs: 3\n"))
    mapping = load_config(write_config(tmp_path, f"{PLAIN}{name}: {{}}\n"))
    assert nothing == mapping
    assert getattr(nothing, name) is not None


def test_a_section_with_nothing_in_it_is_told_which_keys_it_needs(tmp_path):
    message = message_of(tmp_path, PLAIN + "import:\n")
    assert "import.data: missing" in message


@pytest.mark.parametrize("off", ["null", "~"])
def test_null_switches_an_optional_section_off(tmp_path, off):
    assert load_config(write_config(tmp_path, f"{PLAIN}brightfield: {off}\n")).brightfield is None


def test_an_override_fills_a_section_with_nothing_in_it(tmp_path):
    path = write_config(tmp_path, PLAIN + "brightfield:\n")
    assert load_config(path, ["brightfield.method=parallax"]).brightfield.method == "parallax"


def test_an_empty_optional_value_is_left_out_and_an_empty_required_one_is_refused(tmp_path):
    assert load_config(write_config(tmp_path, PLAIN + "volume: {thickness: }\n")).volume.thickness is None
    assert "reconstruction.epochs" in message_of(tmp_path, PLAIN + "reconstruction:\n  epochs:\n")


@pytest.mark.parametrize(
    "word", ["yes", "no", "on", "off", "true", "false", "Yes", "1:30", "2024-01-01", "0x10", "0o7"]
)
@pytest.mark.parametrize(
    "key", ["reconstruction.epochs", "reconstruction.step", "volume.margin", "simulation.scan.rotation", "import.phi"]
)
def test_a_word_is_no_number(tmp_path, key, word):
    value = f"[{word}]" if key == "import.phi" else word
    (problem,) = problems_of(tmp_path, f"{key}={value}")
    assert problem.startswith(key)


@pytest.mark.parametrize(
    "override",
    [
        "import.tilt_sign=true",
        "import.tilt_angles=[0, true, 3]",
        "simulation.microscope.aberrations={C10: true}",
        "simulation.scan.shape=[true, 2]",
        "alignment.background=true",
        "reconstruction.probe=true",
    ],
)
def test_true_and_false_are_no_numbers(tmp_path, override):
    assert problems_of(tmp_path, override)[0].startswith(override.partition("=")[0])


@pytest.mark.parametrize("word", ["yes", "on", "true", "True"])
@pytest.mark.parametrize("opposite", [False, True])
def test_a_switch_takes_the_usual_words(tmp_path, word, opposite):
    word = {"yes": "no", "on": "off", "true": "false", "True": "False"}[word] if opposite else word
    config = load_config(write_config(tmp_path), [f"reconstruction.weigh_tilts={word}"])
    assert config.reconstruction.weigh_tilts is not opposite


@pytest.mark.parametrize("name", ["probe", "angles"])
@pytest.mark.parametrize("word", ["no", "off", "No"])
def test_no_and_off_switch_a_refinement_off(tmp_path, name, word):
    config = load_config(write_config(tmp_path), [f"reconstruction.{name}={word}"])
    assert getattr(config.reconstruction, name).from_epoch is None


@pytest.mark.parametrize(("digits", "value"), [("010", 10), ("0008", 8), ("0", 0), ("+7", 7), ("1_0", 10)])
def test_digits_are_decimal(tmp_path, digits, value):
    config = load_config(write_config(tmp_path), [f"volume.margin={digits}", f"simulation.scan.rotation={digits}"])
    assert (config.volume.margin, config.simulation.scan.rotation) == (value, value)


def test_names_stay_as_they_are_written(tmp_path):
    names = "[0006, 0010, 0008, 12, '0011', 1e3, no, 2024-01-01, 1:30, a_01]"
    config = load_config(write_config(tmp_path), [f"reconstruction.exclude={names}"])
    expected = ["0006", "0010", "0008", "12", "0011", "1e3", "no", "2024-01-01", "1:30", "a_01"]
    assert config.reconstruction.exclude == expected
    assert config_from_yaml(config_yaml(config)) == config


def test_a_name_that_yaml_reads_as_a_fraction_is_refused_and_not_changed(tmp_path):
    (problem,) = problems_of(tmp_path, "reconstruction.exclude=[1.50]")
    assert "reconstruction.exclude.0" in problem and "1.5" in problem


def test_elements_that_are_words_of_yaml_keep_their_symbols(tmp_path):
    specimen = "{kind: alloy, fractions: {No: 1, Y: 2, N: 3}, diameter: 9, lattice_constant: 4}"
    config = load_config(write_config(tmp_path), [f"simulation.specimen={specimen}"])
    assert config.simulation.specimen.fractions == {"No": 1, "Y": 2, "N": 3}


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: text.encode("utf-16"),
        lambda text: b"\xfe\xff" + text.encode("utf-16-be"),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: text.replace("\n", "\r").encode(),
    ],
    ids=["UTF-8 with a mark", "UTF-16", "big-endian UTF-16", "CRLF", "CR"],
)
def test_text_of_other_editors_is_read(tmp_path, encode):
    text = COMPLETE + "# 5 Å schön\n"
    plain = load_bytes(tmp_path, text.encode())
    assert load_bytes(tmp_path, encode(text)) == plain


def test_other_encodings_are_refused_with_the_line_and_the_cure(tmp_path):
    with pytest.raises(ConfigError, match=r"run\.yaml: is not UTF-8 text \(line 3: .*\)\. Save it as UTF-8\."):
        load_bytes(tmp_path, (PLAIN + "# 5 Å\n").encode("latin-1"))


def test_a_locale_without_the_characters_of_the_file_changes_nothing(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("series: a.h5\nrun: b\nimport: {source: Größe 5 Å}\n", encoding="utf-8")
    program = (
        "import sys; from dptt.config.yaml_text import parse_yaml, read_text\n"
        "print(ascii(parse_yaml(read_text(sys.argv[1]))[0]['import']['source']))"
    )
    environment = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONPATH": ":".join(sys.path)}
    printed = subprocess.run(
        [sys.executable, "-c", program, str(path)], env=environment, capture_output=True, text=True, check=True
    )
    assert printed.stdout.strip() == ascii("Größe 5 Å")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (PLAIN + "volume: &a {margin: *a}\n", "contains itself"),
        (PLAIN + "volume: &a [*a]\n", "contains itself"),
        (PLAIN + "? [a, b]\n: 3\n", "line 3 has a key that is not a word"),
        (PLAIN + "? {a: b}\n: 3\n", "line 3 has a key that is not a word"),
        (PLAIN + "?\n: 3\n", "line 3 has a key that is not a word"),
        (PLAIN + "volume: !!timestamp 2024-99-99\n", "has the YAML tag tag:yaml.org,2002:timestamp"),
        (PLAIN + "volume: !!python/object:os.system {}\n", "has the YAML tag"),
        (PLAIN + "volume: !!binary ====\n", "has the YAML tag"),
        (PLAIN + 'volume: {kind: "\\ud800"}\n', "lone surrogate"),
        (PLAIN + "volume: {<<: 3}\n", "has `<<` without a section"),
        (PLAIN + 'volume: {kind: "\\UFFFFFFFF"}\n', "is not valid YAML"),
        (PLAIN + "a: " + "[" * 3000 + "]" * 3000, "nested too deeply"),
        (PLAIN + "---\nrun: c\n", "is not valid YAML: line 3, column 1"),
        (PLAIN + "volume:\n\tmargin: 3\n", "line 4, column 1: .* Indent with spaces"),
        (PLAIN + "a: \x00\n", "is not valid YAML"),
        (f"%YAML {'9' * 5000}.1\n---\n{PLAIN}", "is not valid YAML"),
    ],
)
def test_what_yaml_allows_beyond_sections_and_values_is_refused(tmp_path, text, reason):
    with pytest.raises(ConfigError, match=reason) as failure:
        load_config(write_config(tmp_path, text))
    assert "run.yaml" in str(failure.value)
    assert len(str(failure.value)) < 1500


def test_a_number_of_any_length_is_answered_in_one_short_line(tmp_path):
    for number in ("9" * 5000, "9" * 30, "1" + "0" * 400, "1e999"):
        for key in ("reconstruction.epochs", "reconstruction.step", "reconstruction.batches"):
            if key == "reconstruction.step" and number == "9" * 30:
                continue
            (problem,) = problems_of(tmp_path, f"{key}={number}")
            assert problem.startswith(key) and len(problem) < 400


def test_aliases_that_multiply_are_refused_before_they_fill_the_memory(tmp_path):
    doubling = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
    assert "more than 20000 values" in message_of(tmp_path, f"a0: &a0 [x]\n{doubling}")


def test_an_alias_copies_a_section_and_its_own_keys_take_precedence(tmp_path):
    text = PLAIN + "ptychography: &a {epochs: 3, batches: 5}\nreconstruction: {<<: *a, batches: 2}\n"
    config = load_config(write_config(tmp_path, text), ["ptychography.epochs=9"])
    assert (config.reconstruction.epochs, config.reconstruction.batches) == (3, 2)
    assert (config.ptychography.epochs, config.ptychography.batches) == (9, 5)


def test_an_override_of_one_section_leaves_its_alias_as_it_was(tmp_path):
    text = PLAIN + "ptychography: &a {epochs: 3}\nreconstruction: *a\n"
    config = load_config(write_config(tmp_path, text), ["ptychography.epochs=9"])
    assert (config.ptychography.epochs, config.reconstruction.epochs) == (9, 3)


def test_spaces_around_the_key_of_an_override_do_not_count(tmp_path):
    assert load_config(write_config(tmp_path), ["reconstruction.epochs = 7"]).reconstruction.epochs == 7


def test_a_file_of_another_kind_is_not_read_whole(tmp_path):
    path = tmp_path / "series.h5"
    with path.open("wb") as file:
        file.truncate(2**34)
    with pytest.raises(ConfigError, match="larger than 16 MiB"):
        load_config(path)
