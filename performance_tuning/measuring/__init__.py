"""What measuring programs share: the machine, fresh targets, one load as a program, and statistics."""
