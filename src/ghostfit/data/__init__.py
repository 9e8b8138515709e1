"""Labelled images: readers, splits, checks, the decoded cache (none of which need torch), augmentation and batches."""
