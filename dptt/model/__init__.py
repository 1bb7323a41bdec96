"""The forward model of [P] eq. 14-15, composed from `physics`: volume and pose -> slices -> intensities -> loss."""
