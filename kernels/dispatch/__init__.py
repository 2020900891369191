"""From a problem to a plan: estimates, measurements, choices and what is remembered of them."""
