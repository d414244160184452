"""Human preference between the reasons of two runs."""
