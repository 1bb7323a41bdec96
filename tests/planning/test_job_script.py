"""Whatever a folder, a configuration or an option is called: sbatch and bash read just that and run nothing of it."""

import os
import re
import subprocess
from dataclasses import replace

import pytest
from odd_names import UGLY
from workloads import TELLURIUM

from dptt.planning.container import container_python
from dptt.planning.job_script import SHARED, SHELL_FILES, SITE_OPTIONS, Job, Site, job_script
from dptt.planning.layout import Layout
from dptt.planning.machine import KNOWN
from dptt.planning.recommendation import forecast, time_limit

H100 = KNOWN["h100"]
LINES = ["two\nlines", "\n#SBATCH --partition=other", "a\ntouch x\n"]
each = pytest.mark.parametrize("ugly", UGLY)


def script(site: Site = Site(), machine=H100, **changes) -> str:  # noqa: B008
    one = forecast(TELLURIUM, Layout(slabs=8), H100)
    job = replace(Job(["reconstruct", "a.yaml"], name="dptt-x", folder="/runs/x", chdir="/data"), **changes)
    return job_script(one, job, limit=time_limit(one, 86400.0), machine=machine, site=site)


def read_by_sbatch(text: str) -> dict[str, str]:
    """Return the options of a script, by the rules of `_opt_batch_script` and `get_argument` of SLURM."""
    options: dict[str, str] = {}
    for line in text.split("\n")[1:]:
        if line and not line.startswith("#"):
            break
        if line.startswith("#SBATCH"):
            assert "hetjob" not in line.lower() and "packjob" not in line.lower(), "begins another job"
            word, quote, escaped = "", "", False
            for character in line.removeprefix("#SBATCH").strip(" "):
                assert quote or character != " ", f"a second word in {line}"  # also after a backslash
                if escaped:
                    word, escaped = word + character, False
                elif character == "\\":
                    escaped = True
                elif character == quote:
                    quote = ""
                elif not quote and character in "\"'":
                    quote = character
                else:
                    assert character != "#", f"a comment in {line}"  # older versions: also within quotes
                    word += character
            assert not quote and not escaped, line
            name, _, value = word.removeprefix("--").partition("=")
            options[name] = value
    return options


@each
def test_sbatch_reads_what_was_given(ugly):
    site = Site(partition=ugly, account=ugly, qos=ugly, constraint=ugly)
    asked = read_by_sbatch(script(site, name=f"dptt-{ugly}", folder=f"/runs/{ugly}", chdir=f"/in {ugly}"))
    assert [asked[name] for name in ("partition", "account", "qos", "constraint")] == [ugly] * 4
    assert (asked["job-name"], asked["chdir"]) == (f"dptt-{ugly}", f"/in {ugly}")
    if "\\" in ugly:
        assert asked["output"].replace("\\\\", "\\") == f"/runs/{ugly}/reconstruct.log"
    else:
        assert asked["output"].replace("%%", "%") == f"/runs/{ugly}/reconstruct-%j.log"
        assert asked["output"].replace("%%", "").count("%") == 1, "nothing of a folder is replaced by SLURM"
    assert set(asked) == set(read_by_sbatch(script(site))), "no option more, none less"


@pytest.mark.parametrize("lines", LINES)
def test_a_line_break_is_refused_where_sbatch_allows_none_with_all_places_at_once(lines):
    with pytest.raises(ValueError, match=r"--job-name=.*; --partition=.*line break.*Correct") as refused:
        script(Site(partition=lines, account="fine"), name=lines)
    assert "account" not in str(refused.value) and "\n" not in str(refused.value)


FIELDS = {
    **{name: lambda value, name=name: script(Site(**{name: value})) for name in (*SITE_OPTIONS, "gres")},
    "job-name": lambda value: script(name=value),
    "chdir": lambda value: script(chdir=f"/{value}"),
    "output": lambda value: script(folder=f"/{value}"),
}


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_is_read_as_it_was_given_or_refused_by_name(field):
    """Wherever a value goes, spaces, quotes, %, # and line breaks in it are dealt with."""
    for ugly in UGLY:
        assert re.sub(r"[\\%]", "", ugly) in re.sub(r"[\\%]", "", read_by_sbatch(FIELDS[field](ugly))[field])
    for lines in LINES:
        with pytest.raises(ValueError, match=f"--{field}=.*line break"):
            FIELDS[field](lines)


def test_gpus_can_be_asked_for_as_generic_resources():
    asked = read_by_sbatch(script(Site(gres="gpu:a100")))
    assert asked["gres"] == "gpu:a100:4" and "gpus-per-node" not in asked
    assert read_by_sbatch(script())["gpus-per-node"] == "4"
    with pytest.raises(ValueError, match="--gres: got gpu, but the machine ours has no GPUs"):
        script(Site(gres="gpu"), H100.changed(unit="core", name="ours"))


@pytest.fixture
def run_by_bash(tmp_path, monkeypatch):
    """Run a script in a folder with the shell files; return what `srun` and `module` were called with."""
    programs, folder = tmp_path / "bin", tmp_path / "plan"
    note = f'#!/bin/bash\nprintf "%s\\0" "$@" > "{tmp_path}/$(basename "$0")"\n'
    for path in (programs, folder):
        path.mkdir()
    for name in ("srun", "module", "apptainer"):
        (programs / name).write_text(note)
        (programs / name).chmod(0o755)
    for name in SHARED:
        (folder / name).write_bytes((SHELL_FILES / name).read_bytes())
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "SLURM_JOB_ID": "7", "HOME": str(tmp_path)}

    def run(text: str, *arguments: str) -> dict[str, list[str]]:
        (tmp_path / "job").write_text(text)
        done = subprocess.run(
            ["bash", str(tmp_path / "job"), *arguments], env=environment, cwd=folder, capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, ""), done
        called = (tmp_path / name for name in ("srun", "module", "apptainer"))
        return {path.name: path.read_text().split("\0")[:-1] for path in called if path.exists()}

    return run, folder


@pytest.mark.parametrize("ugly", [*UGLY, *LINES])
@pytest.mark.parametrize("launcher", ["srun", "torchrun"])
def test_bash_passes_on_what_was_given(ugly, launcher, run_by_bash):
    run, folder = run_by_bash
    machine = H100.changed(name=f"ours {ugly}")
    job = {"command": ["reconstruct", ugly, f"run={ugly}"], "folder": str(folder), "chdir": "/data"}
    before = sorted(path.name for path in folder.iterdir())
    called = run(script(Site(modules=(ugly, "cuda/12"), launcher=launcher), machine, **job))
    words = called["srun"]
    assert words[-4:] == ["dptt", "reconstruct", ugly, f"run={ugly}"]
    assert called["module"] == ["load", "cuda/12"]
    assert sorted(path.name for path in folder.iterdir()) == before, "nothing else ran"


@each
def test_the_python_of_a_container_gets_its_folders_and_arguments(ugly, run_by_bash):
    run, folder = run_by_bash
    if "," in ugly:
        with pytest.raises(ValueError, match="apptainer cannot bind"):
            container_python("x.sif", [f"/data/{ugly}"], gpu=False)
        return
    program = container_python(f"{ugly}.sif", ["/runs", f"/data/{ugly}", "/runs"], gpu=True)
    called = run(program, "-m", "dptt", ugly)["apptainer"]
    assert called[:4] == ["exec", "--nv", "--bind=/runs", f"--bind=/data/{ugly}"]
    assert called[4:] == [f"{ugly}.sif", "python", "-m", "dptt", ugly]


def test_a_job_in_a_container_starts_the_program_beside_its_script(run_by_bash):
    run, folder = run_by_bash
    job = {"folder": str(folder), "chdir": str(folder)}
    words = run(script(Site(container="x.sif"), **job))["srun"]
    assert words[-5:] == [f"{folder}/python.sh", "-m", "dptt", "reconstruct", "a.yaml"]
