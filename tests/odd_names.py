"""What a folder, a partition or an option may be called: all that shells, sbatch and HDF5 read in their own way."""

UGLY = [
    *("a b", "it's", 'say "x"', "100%j", "%%", "#1", "a#b", "back\\slash", "$HOME", "`touch x`", "$(touch x)"),
    *("a;touch x", "a&b|c", "[r1|r2]*2", "-x", "Å 3", "a=b,c:d", "a hetjob", "packjob"),
]
