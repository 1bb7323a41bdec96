#!/bin/bash
# The ranks of one node: torchrun.sh RANKS COMMAND ... , started by srun once per node.
#
# The rendezvous is on the first node. SLURM signals every process of a step: torchrun must neither end its ranks on
# TERM nor die of USR1, because dptt handles both itself.
trap '' USR1 TERM
export TORCHELASTIC_SIGNALS_TO_HANDLE=SIGINT
ulimit -Sn "$(ulimit -Hn)"  # the store that torchrun keeps has two connections from every rank
threads=$((${SLURM_CPUS_PER_TASK:-$1} / $1))
export OMP_NUM_THREADS=$((threads > 0 ? threads : 1))
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
exec "$PYTHON" -m torch.distributed.run --nnodes="$SLURM_NNODES" --nproc-per-node="$1" \
    --rdzv-backend=c10d --rdzv-endpoint="$first:$((20000 + SLURM_JOB_ID % 10000))" \
    --rdzv-id="$SLURM_JOB_ID-${SLURM_RESTART_COUNT:-0}" \
    --no-python bash "$DPTT_JOBS/rank.sh" "${@:2}"
