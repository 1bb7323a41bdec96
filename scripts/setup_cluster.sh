#!/usr/bin/env bash
# Install what tests/cluster needs: Open MPI with parallel HDF5, MPICH, SLURM, network namespaces.
# What cannot be installed here is named, and its tests are skipped with the reason; nothing else depends on it.
# DPTT_VENV is the environment of the tests (default .venv); the two for MPI are made beside it.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${DPTT_VENV:-.venv}
stamp="$venv/.dptt-setup-cluster"
if [ -f "$stamp" ] && [ "$stamp" -nt scripts/setup_cluster.sh ] && [ "$stamp" -nt scripts/setup_mpi.sh ] &&
    [ -x "$venv-mpi/bin/python" ] && [ -x "$venv-mpich/bin/python" ]; then
    exit 0
fi
say() { printf '\n== %s\n' "$*"; }
incomplete=

present() { local tool; for tool; do command -v "$tool" >/dev/null || return 1; done; }
slurm_tools=(slurmctld slurmd srun sbatch munged unshare setpriv ip)
if ! present "${slurm_tools[@]}"; then
    if [ "$(id -u)" = 0 ] && present apt-get; then
        say "installing SLURM, munge and iproute2 with apt-get"
        export DEBIAN_FRONTEND=noninteractive
        apt-get -o DPkg::Lock::Timeout=300 update -qq &&
            apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends \
                slurmctld slurmd slurm-client munge iproute2 >/dev/null || echo "warning: apt-get failed"
    fi
    if ! present "${slurm_tools[@]}"; then
        incomplete=yes
        say "NO SLURM: tests that need it are skipped"
        echo "missing: one of ${slurm_tools[*]}"
        echo "         as root on Debian or Ubuntu: apt-get install slurmctld slurmd slurm-client munge iproute2"
    fi
fi
for mpi in "" --mpich; do
    if ! DPTT_VENV='' bash scripts/setup_mpi.sh --beside "$venv" $mpi; then
        incomplete=yes
        say "NO MPI ${mpi:-with parallel HDF5}: tests that need it are skipped"
    fi
done
[ -n "$incomplete" ] || touch "$stamp"
