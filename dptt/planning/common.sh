# shellcheck shell=bash disable=SC2034
# Sourced by the job scripts: run a step, stop it in time, requeue the job if work is left.
#
#   SLURM's --signal=B:USR1@LEAD, or SIGTERM before a preemption
#     -> this batch shell -> SIGUSR1 to the launcher, which passes it on to every rank
#     -> dptt completes the epoch in hand and its checkpoint, and exits with 85
#     -> rank.sh leaves the file $STOPPED -> the job is requeued, and the same command resumes
#
# May be set before: DPTT_JOBS, the folder of this file; DPTT_VENV or DPTT_PYTHON; MOST_RESTARTS.

export DPTT_JOBS=${DPTT_JOBS:-jobs}
export PYTHON=${DPTT_PYTHON:-${DPTT_VENV:-.venv}/bin/python}
export STOPPED=${STOPPED:-$PWD/.stopped-$SLURM_JOB_ID}
export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}  # srun does not take it from sbatch by itself since SLURM 22.05
RANK=(bash "$DPTT_JOBS/rank.sh")  # in front of what a rank executes
MOST_RESTARTS=${MOST_RESTARTS:-100}

# run_step LAUNCHER ... : run the step in the background, so that this shell hears signals, and end as it ends.
run_step() {
    local step code
    rm -f "$STOPPED"
    "$@" &
    step=$!
    trap 'echo "$(date): told to stop; the epoch in hand is completed first"; kill -USR1 $step' USR1 TERM
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

# Put this job back into the queue; SLURM ends it here and starts it anew.
requeue() {
    if [ "${SLURM_RESTART_COUNT:-0}" -ge "$MOST_RESTARTS" ]; then
        echo "restarted $SLURM_RESTART_COUNT times and not done yet: not requeued. The same command resumes."
        exit 85
    fi
    echo "$(date): requeued, restart $((${SLURM_RESTART_COUNT:-0} + 1))"
    scontrol requeue "$SLURM_JOB_ID" || exit 85
    sleep 120  # until SLURM ends this shell
    exit 85
}
