"""Text for the two languages of a batch script: the `#SBATCH` lines that sbatch reads, and bash.

sbatch splits a line into words by rules of its own (`get_argument` in its opt.c): quotes keep spaces together, a
backslash makes the next character an ordinary one except for a space outside quotes, `#` begins a comment, and the
words `hetjob` and `packjob` begin another job. No rule allows a line break within a word.
"""

import re

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PLAIN = re.compile(r"[\w@%+=:,./~-]*")


def directives(options: dict[str, str]) -> list[str]:
    """Return a line `#SBATCH --NAME=VALUE` for every option, `#SBATCH --NAME` where the value is empty.

    Raises
    ------
    ValueError
        Values hold control characters; all of them are listed.
    """
    problems = [f"--{name}={value!r}" for name, value in options.items() if _CONTROL.search(value)]
    if problems:
        raise ValueError(
            f"the job script cannot be written: {'; '.join(problems)} has a line break or another control character; "
            "expected one line of text, because sbatch reads one line for each option. Correct the name"
        )
    return [f"#SBATCH --{name}" + (f"={_word(value)}" if value else "") for name, value in options.items()]


def comment(text: str) -> str:
    """Return `text` as one line that bash skips."""
    return "# " + re.sub(r"\s+", " ", text)


def log_pattern(folder: str, name: str) -> str:
    """Return the value of `--output` for a log `name` in `folder`, with the number of the job if possible.

    SLURM replaces `%j` and the like in the folder as well, even if the name is relative to `--chdir`. A backslash
    anywhere makes it replace nothing and drop the backslash.
    """
    if "\\" in folder:
        return folder.replace("\\", "\\\\") + f"/{name}.log"
    return folder.replace("%", "%%") + f"/{name}-%j.log"


def _word(value: str) -> str:
    """Return `value` as sbatch reads it as one word."""
    escaped = re.sub(r"""([\\"'#])""", r"\\\1", value)
    escaped = re.sub(r"(het|pack)(job)", r"\1\\\2", escaped, flags=re.IGNORECASE)
    return escaped if _PLAIN.fullmatch(escaped) else f'"{escaped}"'
