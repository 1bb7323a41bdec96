#!/bin/bash
# One rank: rank.sh COMMAND ... , started by srun, torchrun --no-python or mpirun.
#
# SLURM signals every process of a step. dptt handles USR1 and TERM itself; launchers and shells must survive them.
# A rank that stopped cleanly (85) leaves a file and reports success, because torchrun turns any other code into 1,
# and srun --kill-on-bad-exit would kill the ranks that are still stopping.
trap '' USR1 TERM
"$@"
code=$?
if [ "$code" -eq 85 ] && [ -n "${STOPPED:-}" ]; then
    touch "$STOPPED"
    exit 0
fi
exit "$code"
