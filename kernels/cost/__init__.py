"""What every estimate counts alike: cycles, memory, calibration."""
