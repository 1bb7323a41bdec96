"""What a reconstruction will cost before it is begun: plain arithmetic on a few numbers, without torch or files.

workload       what is to be computed
layout         how ranks may share it
memory         peak of a rank
traffic        what a rank sends
machine        rates of processors and networks, each with its source
duration       seconds of an epoch
recommendation the layout to take, and the time limit to ask for
job_script     SLURM scripts with all of it filled in

Every formula mirrors an array or a message of `solvers` and `distributed.slabs`; `docs/scaling.md` compares them with
what was measured.
"""
