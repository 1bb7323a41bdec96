"""Which rank owns what, and what the ranks exchange; knows nothing of microscopy.

    launch, joining, rendezvous    from the launcher's environment to communicators that all ranks have joined
    roster, seal, descriptors      how they meet: the list of all ranks, sealed messages, enough connections
    comm, torch_comm, mpi_comm     the messages between ranks, over gloo, NCCL or MPI; none for a single process
    watch, signs, verdict          a dead or hanging rank ends all ranks, with a message that names it
    failures                       what ends a run because of its ranks
    mesh                           the ranks as tilt groups × scan ranks × slabs
    partition, slabs               blocks of an axis; rows that are fetched from their owners and scattered to them
    share                          a part of independent work for a process without peers

One minibatch of a tilt on S scan ranks × Y slabs (Y = 1: scan mode; S = 1: slab mode; 1 × 1: one process):

1. own       rank (s, y) holds the rows `mesh.rows` of the volume and of its momentum, along the tilt axis. Probes and
             poses are held by all. The scan positions are cut into S·Y blocks; a rank reads only its own patterns.
2. rotate    a rank fetches the rows of the volume that its own rows of the slices depend on (none if the specimen
             rotates about the tilt axis alone, a halo for off-axis angles), and projects its rows of the slices.
3. compute   it fetches the band of slice rows under its scan positions, and computes loss and gradients.
4. sum       it scatters the gradient and illumination of its band to the owners of the rows. The S ranks that hold
             the same rows sum them; all ranks sum the loss and the gradient of the probe. With one slab this is a
             single all-reduce of slices × y × x numbers, not of the z × y × x of the volume.
5. update    every rank back-projects its rows of the slice gradient, scatters the halo to its owners, and updates its
             own rows.

Sums are formed in the order of the ranks. Each rank refines its own scan positions; the ranks exchange them once per
epoch. Tilt groups, which are approximate, do this at the same time for different tilts: see
`solvers.tomography.tilt_groups`.
"""
