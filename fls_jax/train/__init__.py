"""The training job: resume, loop, record, checkpoints, signals."""
