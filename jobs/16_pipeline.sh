#!/bin/bash
# The whole workflow as a chain of jobs; each starts when the previous one has succeeded. Run it on a login node:
#   bash jobs/16_pipeline.sh CONFIG [section.key=value ...]
# STEPS names the steps for which the configuration has a section. A job that fails cancels those after it.
set -eu
STEPS=${STEPS:-brightfield ptycho align reconstruct analyze}
TILT_JOBS=${TILT_JOBS:-8}   # number of jobs that share the tilts
PARALLEL=${PARALLEL:-jobs/12_many_nodes_srun.sbatch}   # for align and reconstruct
ONE=${ONE:-jobs/10_one_gpu.sbatch}   # for the other steps

last=""
submit() {  # submit COMMAND SBATCH-ARGUMENTS ...
    last=$(COMMAND=$1 sbatch --parsable --job-name="dptt-$1" ${last:+--dependency=afterok:$last} \
        --kill-on-invalid-dep=yes "${@:2}" | cut -d';' -f1)
    echo "$1: job $last"
}
for step in $STEPS; do
    case $step in
        ptycho)
            submit ptycho --array=0-$((TILT_JOBS - 1)) jobs/15_array_over_tilts.sbatch "$@"
            submit ptycho "$ONE" "$@"   # all tilts are finished: only links them
            ;;
        align | reconstruct) submit "$step" "$PARALLEL" "$@" ;;
        *) submit "$step" "$ONE" "$@" ;;
    esac
done
