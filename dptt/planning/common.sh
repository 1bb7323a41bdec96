# shellcheck shell=bash disable=SC2034
# Sourced by the job scripts: runs a step, stops it in time, and requeues the job if it is not finished.
#
#   SLURM sends USR1 before the time limit (--signal=B:USR1@LEAD), or TERM before a preemption
#     -> this batch shell sends USR1 to the launcher, which passes it on to every rank
#     -> dptt completes the current epoch and its checkpoint, and exits with 85
#     -> rank.sh leaves the file $STOPPED -> the job is requeued, and the same command resumes
#
# Variables to set: DPTT_JOBS, the folder of this file; DPTT_VENV or DPTT_PYTHON; MOST_RESTARTS.

export DPTT_JOBS=${DPTT_JOBS:-jobs}
export PYTHON=${DPTT_PYTHON:-${DPTT_VENV:-.venv}/bin/python}
export STOPPED=${STOPPED:-$PWD/.stopped-$SLURM_JOB_ID}
export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}  # since SLURM 22.05 srun no longer inherits it from sbatch
RANK=(bash "$DPTT_JOBS/rank.sh")  # precedes the command of every rank
MOST_RESTARTS=${MOST_RESTARTS:-100}

# run_step LAUNCHER ... : run the step in the background, so that this shell receives signals; return its exit code.
run_step() {
    local step code
    rm -f "$STOPPED"
    "$@" &
    step=$!
    trap 'echo "$(date): received a signal to stop; completing the epoch"; kill -USR1 $step' USR1 TERM
    while :; do  # a trapped signal ends `wait` before the step has ended
        wait "$step" && code=0 || code=$?
        kill -0 "$step" 2>/dev/null || break
    done
    trap - USR1 TERM
    if [ -e "$STOPPED" ]; then
        rm -f "$STOPPED"
        requeue
    fi
    return "$code"
}

# Put this job back into the queue. SLURM ends it and starts it again later.
requeue() {
    if [ "${SLURM_RESTART_COUNT:-0}" -ge "$MOST_RESTARTS" ]; then
        echo "not finished after $SLURM_RESTART_COUNT restarts, not requeued. Submit the same command to resume."
        exit 85
    fi
    echo "$(date): requeued, restart $((${SLURM_RESTART_COUNT:-0} + 1))"
    scontrol requeue "$SLURM_JOB_ID" || exit 85
    sleep 120  # SLURM ends this shell in the meantime
    exit 85
}
