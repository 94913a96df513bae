"""Training: one trainer for any process, objective and number of players."""
