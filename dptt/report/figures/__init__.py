"""The figures of the page, one file a family: plain data in, a Matplotlib `Figure` out."""
