"""Vision without torch: images in, results out. Reading and preparing, decoding, metrics, calibration, drawing."""
