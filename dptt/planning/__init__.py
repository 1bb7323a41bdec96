"""What a reconstruction will cost, before it starts: plain arithmetic on a few numbers, without torch or files.

workload       what is computed
layout         how ranks may share it
memory         peak memory of a rank
gpu            what stays on a GPU
traffic        what a rank sends
machine        rates of processors and networks, each with its source
duration       seconds per epoch
recommendation the best layout and the time limit of its job
job_script     SLURM scripts with all of it filled in

Every formula mirrors an array or a message of `solvers` and `distributed.slabs`; `docs/scaling.md` compares them with
measurements.
"""
