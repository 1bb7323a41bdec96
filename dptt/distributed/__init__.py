"""Who owns what, and how it is summed; knows nothing of microscopy.

Scan mode, the exact default, in phases. Every rank holds the volume, the probes and the poses, all equal.

1. own       a minibatch's scan positions are cut into one block a rank (`partition.block_range`); a rank reads only
             the patterns of its blocks.
2. compute   each rank: slices of the tilted volume (the same on all), gradients over its own positions.
3. sum       one all-reduce a minibatch of [slice gradient, illumination, probe gradient, loss]: slices × y × x
             numbers, not the volume's z × y × x.
4. update    every rank applies the same update to its own copy; no broadcast is needed.

Scan positions are refined by the rank that owns them and exchanged once an epoch, for the checkpoint.
One process is the same code with the serial communicator (rank 0 of 1).
"""
