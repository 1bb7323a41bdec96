"""The figures of the page, one file for each family: plain data in, a Matplotlib `Figure` out."""
