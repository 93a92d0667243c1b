"""What this machine can run, and the one line that would fix what it cannot."""
