"""The components of a MoSEAR as exporter configurations of the optional library `optimum`."""
