"""The edge runtime, without torch: bundles, backends, prediction, measuring and scoring."""
