"""What goes into a workload: a clip, front ends, arrays; and what has to come out, in float64."""
