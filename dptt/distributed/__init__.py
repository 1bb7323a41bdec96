"""Who owns what, and what is sent; knows nothing of microscopy.

    launch, joining, rendezvous    from the launcher's environment to communicators that all ranks have joined
    comm, torch_comm, mpi_comm     what ranks may say to each other, over gloo, NCCL or MPI; one process says nothing
    watch, signs, verdict          a dead or hanging rank ends all, named
    mesh                           the ranks as tilt groups × scan ranks × slabs
    partition, slabs               blocks of an axis, and rows that are fetched from and given back to their owners

One minibatch of a tilt on S scan ranks × Y slabs (Y = 1: scan mode; S = 1: slab mode; 1 × 1: one process):

1. own       rank (s, y) holds the rows `mesh.rows` of the volume and of its momentum, along the tilt axis. Probes and
             poses are held by all. The scan positions are cut into S·Y blocks; a rank reads only its own patterns.
2. turn      a rank fetches the rows of the volume that its own rows of the slices depend on (none where the specimen
             turns about the tilt axis alone, a halo for off-axis angles), and projects its rows of the slices.
3. compute   it fetches the band of slice rows under its scan positions, and computes loss and gradients.
4. sum       the band's gradient and illumination go back to the owners of the rows; the S ranks that hold the same
             rows sum them, and all sum the gradient of the probe and the loss. With one slab that is one all-reduce
             of slices × y × x numbers, not the volume's z × y × x.
5. update    every rank turns its rows of the slice gradient back, gives the halo to its owners, and updates its rows.

Sums are formed in the order of the ranks. Scan positions are refined by the rank that owns them and exchanged once an
epoch. Tilt groups, approximate, run this side by side on different tilts: see `solvers.tomography.tilt_groups`.
"""
