"""What all commands share about a run.

environment       variables that have to be set before libraries are imported
session           the ranks of one command, joined
same_input        all ranks have the same version, configuration and series
shared_folder     all ranks see the same folder of results, and in it the secret of their start
early_failure     a rank that fails before the ranks have joined tells the others
agreement         what fails on one rank fails on all, with one message; work that rank 0 does for all
stopping          signals and time limits end a run early with everything complete
failures          messages and exit codes
folders           folders of results, created and checked to be writable
steps             the steps of a run and the identity of each: which results are up to date
earlier_results   results of earlier steps: where the next step starts
pace              when the next checkpoint is due
checkpoints       the state of a reconstruction, saved and restored
row_output        one file from the rows of all ranks
results           the volume and its analysis, for the commands that judge and show them
provenance        versions, command and checksums that go into every output
device            where a rank computes, and how much of its GPU it may use
health            what shows whether a tilt can be trusted, after a reconstruction
machine_rates     how fast this machine is, for `dptt plan`
"""
