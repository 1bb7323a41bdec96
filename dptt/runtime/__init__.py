"""What all commands share about a run.

folders           the run's folder, made and known to be writable
steps             the steps of a run and the identity of each: which results are up to date
earlier_results   what earlier steps found, handed to the next one
checkpoints       the state of a reconstruction, written and restored
row_output        one file from the rows of all ranks
stopping          signals and time limits end a run with everything complete
alike             all ranks were given the same configuration, version and series
together          what fails on one rank fails on all, with one message
first_rank        work that rank 0 does for all
failures          messages and exit codes
device            where a rank computes, and how much of its GPU it may use
machine_rates     how fast this machine is, for `dptt plan`
health            figures of every tilt after a reconstruction
provenance        versions, command and checksums that go into every output
"""
