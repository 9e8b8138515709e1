"""Tasks: the loss, the targets and the metric of each kind of training, one file each."""
