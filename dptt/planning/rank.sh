#!/bin/bash
# One rank: rank.sh COMMAND ... , started by srun, torchrun --no-python or mpirun.
#
# SLURM signals every process of a step. dptt answers USR1 and TERM by itself; launchers and shells must not die of
# them. A rank that stopped cleanly (85) says so with a file and reports success: torchrun turns any other code into 1,
# and srun --kill-on-bad-exit would kill the ranks that are a moment behind.
trap '' USR1 TERM
"$@"
code=$?
if [ "$code" -eq 85 ] && [ -n "${STOPPED:-}" ]; then
    touch "$STOPPED"
    exit 0
fi
exit "$code"
